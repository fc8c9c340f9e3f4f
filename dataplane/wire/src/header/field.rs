//! The value types of header fields and their text form.

use std::borrow::Cow;

use super::HeaderError;
use crate::ids::EpochMillis;

/// A type a header field can have.
pub trait FieldValue<'ext>: Sized {
    /// Reads the text, or hands it back when it is no such value.
    fn read(text: Cow<'ext, str>) -> Result<Self, Cow<'ext, str>>;

    /// Appends the text.
    fn write(&self, text: &mut String);
}

pub(super) fn read<'ext, T: FieldValue<'ext>>(
    field: &'static str,
    text: Cow<'ext, str>,
) -> Result<T, HeaderError> {
    T::read(text).map_err(|text| HeaderError::Invalid { field, value: text.chars().take(64).collect() })
}

impl<'ext> FieldValue<'ext> for Cow<'ext, str> {
    fn read(text: Cow<'ext, str>) -> Result<Self, Cow<'ext, str>> {
        Ok(text)
    }

    fn write(&self, text: &mut String) {
        text.push_str(self);
    }
}

impl<'ext> FieldValue<'ext> for String {
    fn read(text: Cow<'ext, str>) -> Result<Self, Cow<'ext, str>> {
        Ok(text.into_owned())
    }

    fn write(&self, text: &mut String) {
        text.push_str(self);
    }
}

/// Java's `Boolean.parseBoolean`: whatever is not "true" is false.
impl<'ext> FieldValue<'ext> for bool {
    fn read(text: Cow<'ext, str>) -> Result<Self, Cow<'ext, str>> {
        Ok(text.eq_ignore_ascii_case("true"))
    }

    fn write(&self, text: &mut String) {
        text.push_str(if *self { "true" } else { "false" });
    }
}

macro_rules! integer {
    ($type:ty) => {
        impl<'ext> FieldValue<'ext> for $type {
            fn read(text: Cow<'ext, str>) -> Result<Self, Cow<'ext, str>> {
                text.parse().map_err(|_| text)
            }

            fn write(&self, text: &mut String) {
                text.push_str(itoa::Buffer::new().format(*self));
            }
        }
    };
}

integer!(i32);
integer!(i64);
integer!(u64);

impl<'ext> FieldValue<'ext> for EpochMillis {
    fn read(text: Cow<'ext, str>) -> Result<Self, Cow<'ext, str>> {
        i64::read(text).map(Self)
    }

    fn write(&self, text: &mut String) {
        self.0.write(text);
    }
}
