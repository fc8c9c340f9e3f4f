//! The language a peer says it is written in.

/// `LanguageCode` of the protocol. Unknown texts and numbers read as `Other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// 0; what this implementation says too, since old clients do not know `RUST`.
    #[default]
    Java,
    /// 1
    Cpp,
    /// 2
    Dotnet,
    /// 3
    Python,
    /// 4
    Delphi,
    /// 5
    Erlang,
    /// 6
    Ruby,
    /// 7
    Other,
    /// 8
    Http,
    /// 9
    Go,
    /// 10
    Php,
    /// 11
    Oms,
    /// 12
    Rust,
    /// 13
    NodeJs,
}

const TABLE: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::Dotnet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

impl Language {
    /// The number of the binary header.
    #[must_use]
    pub fn code(self) -> u8 {
        TABLE.iter().zip(0u8..).find(|((language, _), _)| *language == self).map_or(7, |(_, code)| code)
    }

    /// The text of the JSON header.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|(language, _)| *language == self).map_or("OTHER", |(_, name)| *name)
    }

    /// From the binary header's number.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        TABLE.get(usize::from(code)).map_or(Self::Other, |(language, _)| *language)
    }

    /// From the JSON header's text.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        TABLE.iter().find(|(_, text)| *text == name).map_or(Self::Other, |(language, _)| *language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_reads_back_from_its_code_and_its_name() {
        for (language, name) in TABLE {
            assert_eq!(Language::from_code(language.code()), language);
            assert_eq!(Language::from_name(name), language);
            assert_eq!(language.name(), name);
        }
        assert_eq!(Language::NodeJs.code(), 13);
        assert_eq!(Language::from_code(200), Language::Other);
        assert_eq!(Language::from_name("ADA"), Language::Other);
    }
}
