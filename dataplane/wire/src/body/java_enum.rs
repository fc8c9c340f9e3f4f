//! Java enums in JSON: written by name; read by name or by number, and as the default when unknown.

macro_rules! java_enum {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$variant, $text),)*];

            /// The name on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::body::java_enum::read(deserializer, Self::ALL)
            }
        }
    };
}

use serde::Deserializer;
use serde::de::{Error, Visitor};

pub(super) fn read<'de, D: Deserializer<'de>, T: Copy + Default>(
    deserializer: D,
    all: &'static [(T, &'static str)],
) -> Result<T, D::Error> {
    struct ByNameOrNumber<T: 'static>(&'static [(T, &'static str)]);

    impl<T: Copy + Default> Visitor<'_> for ByNameOrNumber<T> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an enum name or number")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            Ok(self.0.iter().find(|(_, name)| *name == text).map_or_else(T::default, |(value, _)| *value))
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
            let found = usize::try_from(number).ok().and_then(|index| self.0.get(index));
            Ok(found.map_or_else(T::default, |(value, _)| *value))
        }

        fn visit_unit<E: Error>(self) -> Result<T, E> {
            Ok(T::default())
        }
    }

    deserializer.deserialize_any(ByNameOrNumber(all))
}

pub(super) use java_enum;
