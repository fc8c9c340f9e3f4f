//! A request's string map, read by name.

use std::borrow::Cow;
use std::str::FromStr;

use bolide_wire::{Command, Ext};
use thiserror::Error;

/// A field is missing or not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FieldError {
    #[error("the request lacks {name}")]
    Missing { name: &'static str },
    #[error("the request's {name} cannot be {value}")]
    Value { name: &'static str, value: String },
}

/// Reads fields of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    ext: &'a Ext,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(request: &'a Command) -> Self {
        Self { ext: &request.ext }
    }

    pub(crate) fn text(self, name: &'static str) -> Result<Cow<'a, str>, FieldError> {
        self.ext.get(name).ok_or(FieldError::Missing { name })
    }

    pub(crate) fn optional_text(self, name: &'static str) -> Option<Cow<'a, str>> {
        self.ext.get(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn number<T: FromStr>(self, name: &'static str) -> Result<Option<T>, FieldError> {
        let Some(text) = self.optional_text(name) else { return Ok(None) };
        let parsed = text.trim().parse();
        parsed.map(Some).map_err(|_| FieldError::Value { name, value: text.chars().take(64).collect() })
    }

    pub(crate) fn flag(self, name: &'static str) -> bool {
        self.ext.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}
