//! Tokens to the compiled form, by recursive descent. What can be judged without a message is judged here: that the
//! whole is a condition, that operands can be compared, that limits are in order.

use super::ast::{Comparison, Expr, Literal, Place};
use super::lexer::{Keyword, Token, TokenKind};
use super::{Fault, MAX_DEPTH};

pub(super) fn parse(tokens: &[Token<'_>], end: usize) -> Result<Expr, Fault> {
    let mut parser = Parser { tokens, next: 0, depth: 0, end };
    let at = parser.at();
    let expr = parser.or()?;
    if parser.peek().is_some() {
        return parser.unexpected("the end of the expression");
    }
    condition(expr, at)
}

struct Parser<'a> {
    tokens: &'a [Token<'a>],
    next: usize,
    depth: usize,
    end: usize,
}

/// Accepts a condition, or a bare property, which is one that is never true.
fn condition(expr: Expr, at: usize) -> Result<Expr, Fault> {
    if expr.is_condition() || matches!(expr, Expr::Property(_)) {
        Ok(expr)
    } else {
        Err(Fault::new(at, "this is not true or false"))
    }
}

/// Refuses what cannot be ordered: a text, a truth value, NULL.
fn ordered(expr: Expr, at: usize) -> Result<Expr, Fault> {
    let fault = match &expr {
        Expr::Literal(Literal::Int(_) | Literal::Float(_)) | Expr::Property(_) | Expr::Negated(_) => {
            return Ok(expr);
        }
        Expr::Literal(Literal::Text(_)) => "a text cannot be compared by size",
        Expr::Literal(Literal::Null) => "NULL cannot be compared; write IS NULL",
        _ => "true and false cannot be compared by size",
    };
    Err(Fault::new(at, fault))
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a TokenKind<'a>> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |token| token.at)
    }

    fn advance(&mut self) {
        self.next = self.next.saturating_add(1);
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T, Fault> {
        let what = match self.tokens.get(self.next) {
            Some(token) => {
                format!("expected {expected}, found `{}`", token.text.chars().take(40).collect::<String>())
            }
            None => format!("expected {expected}, but the expression ends"),
        };
        Err(Fault::new(self.at(), what))
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(TokenKind::Symbol(next)) if *next == symbol);
        if found {
            self.advance();
        }
        found
    }

    fn keyword(&mut self, keyword: Keyword) -> bool {
        let found = matches!(self.peek(), Some(TokenKind::Keyword(next)) if *next == keyword);
        if found {
            self.advance();
        }
        found
    }

    /// Counts one more level that the compiled form gets.
    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(self.at(), format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    fn or(&mut self) -> Result<Expr, Fault> {
        self.deeper()?;
        let depth = self.depth;
        let at = self.at();
        let first = self.and()?;
        if !matches!(self.peek(), Some(TokenKind::Keyword(Keyword::Or))) {
            self.depth = depth.saturating_sub(1);
            return Ok(first);
        }
        let mut terms = vec![condition(first, at)?];
        while self.keyword(Keyword::Or) {
            let at = self.at();
            terms.push(condition(self.and()?, at)?);
        }
        self.depth = depth.saturating_sub(1);
        Ok(Expr::Or(terms))
    }

    fn and(&mut self) -> Result<Expr, Fault> {
        let at = self.at();
        let first = self.equality()?;
        if !matches!(self.peek(), Some(TokenKind::Keyword(Keyword::And))) {
            return Ok(first);
        }
        let mut terms = vec![condition(first, at)?];
        while self.keyword(Keyword::And) {
            let at = self.at();
            terms.push(condition(self.equality()?, at)?);
        }
        Ok(Expr::And(terms))
    }

    fn equality(&mut self) -> Result<Expr, Fault> {
        let depth = self.depth;
        let mut left_at = self.at();
        let mut left = self.comparison()?;
        loop {
            let at = self.at();
            let comparison = if self.symbol("=") {
                Comparison::Equal
            } else if self.symbol("<>") {
                Comparison::NotEqual
            } else if self.keyword(Keyword::Is) {
                let negated = self.keyword(Keyword::Not);
                if !self.keyword(Keyword::Null) {
                    return self.unexpected("NULL");
                }
                self.deeper()?;
                left = Expr::IsNull { value: Box::new(left), negated };
                left_at = at;
                continue;
            } else {
                self.depth = depth;
                return Ok(left);
            };
            self.deeper()?;
            let right_at = self.at();
            let right = self.comparison()?;
            for (side, at) in [(&left, left_at), (&right, right_at)] {
                if matches!(side, Expr::Literal(Literal::Null)) {
                    return Err(Fault::new(at, "NULL cannot be compared; write IS NULL"));
                }
            }
            left = Expr::Compare(comparison, Box::new(left), Box::new(right));
        }
    }

    fn comparison(&mut self) -> Result<Expr, Fault> {
        let depth = self.depth;
        let left_at = self.at();
        let mut left = self.unary()?;
        loop {
            let order = [
                (">=", Comparison::GreaterOrEqual),
                ("<=", Comparison::LessOrEqual),
                (">", Comparison::Greater),
                ("<", Comparison::Less),
            ];
            if let Some((_, comparison)) = order.into_iter().find(|(symbol, _)| self.symbol(symbol)) {
                self.deeper()?;
                let right_at = self.at();
                let right = ordered(self.unary()?, right_at)?;
                left = Expr::Compare(comparison, Box::new(ordered(left, left_at)?), Box::new(right));
                continue;
            }
            let negated = self.keyword(Keyword::Not);
            let next = match self.peek() {
                Some(TokenKind::Keyword(keyword)) => Some(*keyword),
                _ => None,
            };
            let place = match next {
                Some(Keyword::Between) => {
                    self.advance();
                    self.deeper()?;
                    left = self.between(ordered(left, left_at)?, negated)?;
                    continue;
                }
                Some(Keyword::In) => {
                    self.advance();
                    self.deeper()?;
                    left = self.in_list(left, left_at, negated)?;
                    continue;
                }
                Some(Keyword::Contains) => Place::Anywhere,
                Some(Keyword::StartsWith) => Place::Start,
                Some(Keyword::EndsWith) => Place::End,
                _ if negated => return self.unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH"),
                _ => {
                    self.depth = depth;
                    return Ok(left);
                }
            };
            self.advance();
            self.deeper()?;
            left = Expr::Find { place, value: Box::new(left), needle: self.text()?, negated };
        }
    }

    fn text(&mut self) -> Result<Box<str>, Fault> {
        let Some(TokenKind::Text(text)) = self.peek() else {
            return self.unexpected("a text in quotes");
        };
        self.advance();
        Ok(Box::from(&**text))
    }

    fn between(&mut self, value: Expr, negated: bool) -> Result<Expr, Fault> {
        let low_at = self.at();
        let low = ordered(self.unary()?, low_at)?;
        if !self.keyword(Keyword::And) {
            return self.unexpected("AND");
        }
        let high_at = self.at();
        let high = ordered(self.unary()?, high_at)?;
        if let (Expr::Literal(low), Expr::Literal(high)) = (&low, &high)
            && super::eval::literals_out_of_order(low, high)
        {
            return Err(Fault::new(low_at, "the lower limit is above the upper one"));
        }
        Ok(Expr::Between { value: Box::new(value), low: Box::new(low), high: Box::new(high), negated })
    }

    fn in_list(&mut self, left: Expr, at: usize, negated: bool) -> Result<Expr, Fault> {
        let Expr::Property(property) = left else {
            return Err(Fault::new(at, "IN needs a property on its left"));
        };
        if !self.symbol("(") {
            return self.unexpected("`(`");
        }
        let mut texts = vec![self.text()?];
        while self.symbol(",") {
            texts.push(self.text()?);
        }
        if !self.symbol(")") {
            return self.unexpected("`,` or `)`");
        }
        Ok(Expr::In { property, texts, negated })
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let depth = self.depth;
        self.deeper()?;
        let expr = if self.symbol("+") {
            self.unary()?
        } else if self.symbol("-") {
            self.negated()?
        } else if self.keyword(Keyword::Not) {
            let at = self.at();
            Expr::Not(Box::new(condition(self.unary()?, at)?))
        } else {
            self.primary()?
        };
        self.depth = depth;
        Ok(expr)
    }

    fn negated(&mut self) -> Result<Expr, Fault> {
        // The smallest integer exists only with its sign.
        if self.peek() == Some(&TokenKind::Int(i64::MIN.unsigned_abs())) {
            self.advance();
            return Ok(Expr::Literal(Literal::Int(i64::MIN)));
        }
        let at = self.at();
        Ok(match self.unary()? {
            Expr::Literal(Literal::Int(value)) => {
                let negated = value.checked_neg().ok_or_else(|| Fault::new(at, "the number is too large"))?;
                Expr::Literal(Literal::Int(negated))
            }
            Expr::Literal(Literal::Float(value)) => Expr::Literal(Literal::Float(-value)),
            other => Expr::Negated(Box::new(other)),
        })
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let literal = match self.peek() {
            Some(TokenKind::Keyword(Keyword::True)) => Literal::Bool(true),
            Some(TokenKind::Keyword(Keyword::False)) => Literal::Bool(false),
            Some(TokenKind::Keyword(Keyword::Null)) => Literal::Null,
            Some(TokenKind::Int(value)) => match i64::try_from(*value) {
                Ok(value) => Literal::Int(value),
                Err(_) => return Err(Fault::new(self.at(), "the number is too large")),
            },
            Some(TokenKind::Float(value)) => Literal::Float(*value),
            Some(TokenKind::Text(text)) => Literal::Text(Box::from(&**text)),
            Some(TokenKind::Property(name)) => {
                self.advance();
                return Ok(Expr::Property(Box::from(*name)));
            }
            Some(TokenKind::Symbol("(")) => {
                self.advance();
                let expr = self.or()?;
                return if self.symbol(")") { Ok(expr) } else { self.unexpected("`)`") };
            }
            _ => return self.unexpected("a property, a value or `(`"),
        };
        self.advance();
        Ok(Expr::Literal(literal))
    }
}
