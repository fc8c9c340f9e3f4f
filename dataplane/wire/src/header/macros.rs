//! The macro that declares headers.

/// Declares a header: `required "wireName" field: Type`, `optional ...` (an `Option`), or
/// `defaulted ... = value` (absent reads as the value). A header with a lifetime borrows its `Cow` fields.
macro_rules! header {
    ($(#[$doc:meta])* pub struct $name:ident<$life:lifetime> { $($fields:tt)* }) => {
        header!(@emit [$(#[$doc])*] $name [$life] [<$life>] { $($fields)* });
    };
    ($(#[$doc:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        header!(@emit [$(#[$doc])*] $name ['ext] [] { $($fields)* });
    };

    (@type required $type:ty) => { $type };
    (@type optional $type:ty) => { Option<$type> };
    (@type defaulted $type:ty) => { $type };

    (@take required $wire:literal $field:ident) => {
        $field.ok_or($crate::header::HeaderError::Missing { field: $wire })?
    };
    (@take optional $wire:literal $field:ident) => { $field };
    (@take defaulted $wire:literal $field:ident $default:expr) => { $field.unwrap_or($default) };

    (@write optional $wire:literal $value:expr, $ext:ident) => {
        if let Some(value) = &$value {
            $ext.append($wire, |text| $crate::header::FieldValue::write(value, text));
        }
    };
    (@write $kind:ident $wire:literal $value:expr, $ext:ident) => {
        $ext.append($wire, |text| $crate::header::FieldValue::write(&$value, text))
    };

    (@emit [$(#[$doc:meta])*] $name:ident [$life:lifetime] [$($generics:tt)*] {
        $($(#[$field_doc:meta])* $kind:ident $wire:literal $field:ident : $type:ty $(= $default:expr)?,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name $($generics)* {
            $(
                #[doc = concat!("`", $wire, "` on the wire.")]
                $(#[$field_doc])*
                pub $field: header!(@type $kind $type),
            )*
        }

        impl<$life> $crate::header::DecodeHeader<$life> for $name $($generics)* {
            fn decode(ext: &$life $crate::ext::Ext) -> Result<Self, $crate::header::HeaderError> {
                $(let mut $field: Option<$type> = None;)*
                for (key, value) in ext {
                    match &*key {
                        $($wire => $field = Some($crate::header::field::read($wire, value)?),)*
                        _ => {}
                    }
                }
                Ok(Self { $($field: header!(@take $kind $wire $field $($default)?),)* })
            }
        }

        impl<$life> $name $($generics)* {
            /// Reads the header from a command's string map.
            pub fn decode(ext: &$life $crate::ext::Ext) -> Result<Self, $crate::header::HeaderError> {
                $crate::header::DecodeHeader::decode(ext)
            }
        }

        impl<$life> $crate::header::EncodeHeader for $name $($generics)* {
            fn encode(&self, ext: &mut $crate::ext::Ext) {
                $(header!(@write $kind $wire self.$field, ext);)*
            }
        }
    };
}

pub(super) use header;
