//! The compiled form. Depth is bounded by the parser, so walking it may recurse.

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Where a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Literal(Literal),
    Property(Box<str>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// Minus before anything but a number: unknown for every value.
    Negated(Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// `negated` is `NOT BETWEEN`.
    Between {
        value: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        negated: bool,
    },
    In {
        property: Box<str>,
        texts: Vec<Box<str>>,
        negated: bool,
    },
    Find {
        place: Place,
        value: Box<Expr>,
        needle: Box<str>,
        negated: bool,
    },
    /// `negated` is `IS NOT NULL`.
    IsNull {
        value: Box<Expr>,
        negated: bool,
    },
}

impl Expr {
    /// True when the value is a truth value by form; `NULL` counts.
    pub(super) fn is_condition(&self) -> bool {
        match self {
            Self::Literal(literal) => matches!(literal, Literal::Null | Literal::Bool(_)),
            Self::Property(_) | Self::Negated(_) => false,
            Self::And(_)
            | Self::Or(_)
            | Self::Not(_)
            | Self::Compare(..)
            | Self::Between { .. }
            | Self::In { .. }
            | Self::Find { .. }
            | Self::IsNull { .. } => true,
        }
    }
}
