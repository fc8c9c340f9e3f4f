//! A message's properties: one string, `name 0x01 value 0x02` repeated, kept as it arrived and looked into in place.
//! Also the hash that Java computes over tags and keys, because it is part of the formats.

pub mod names;

/// Between a property's name and its value.
pub const NAME_VALUE_SEPARATOR: char = '\u{1}';
/// After each property.
pub const PROPERTY_SEPARATOR: char = '\u{2}';
/// Longest property string of a record, in bytes.
pub const PROPERTIES_MAX_BYTES: usize = 32_767;

/// A view of an encoded property string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PropertiesRef<'a>(&'a str);

impl<'a> PropertiesRef<'a> {
    /// Looks into `encoded`; nothing is checked or copied.
    #[must_use]
    pub fn new(encoded: &'a str) -> Self {
        Self(encoded)
    }

    /// The encoded string.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Name and value of each property that has both; anything else between separators is passed over.
    #[must_use]
    pub fn iter(self) -> PropertiesIter<'a> {
        PropertiesIter { rest: self.0 }
    }

    /// The value of `name`; the last one when it occurs twice, as in the original, which reads into a map.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter().filter(|(found, _)| *found == name).last().map(|(_, value)| value)
    }

    /// The value of `name` read as Java's `Boolean.parseBoolean`: absent is `default`.
    #[must_use]
    pub fn flag(self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| value.eq_ignore_ascii_case("true"))
    }

    /// The tag of the message.
    #[must_use]
    pub fn tags(self) -> Option<&'a str> {
        self.get(names::TAGS)
    }

    /// The number that stands for the tag in a consume queue: the tag's hash, 0 without a tag.
    #[must_use]
    pub fn tags_code(self) -> i64 {
        self.tags().map_or(0, tags_code)
    }
}

impl<'a> IntoIterator for PropertiesRef<'a> {
    type Item = (&'a str, &'a str);
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

/// Iterator over the properties of a [`PropertiesRef`].
#[derive(Clone, Debug)]
pub struct PropertiesIter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (item, rest) = self.rest.split_once(PROPERTY_SEPARATOR).unwrap_or((self.rest, ""));
            self.rest = rest;
            if let Some((name, value)) = item.split_once(NAME_VALUE_SEPARATOR)
                && !name.is_empty()
                && !value.is_empty()
            {
                return Some((name, value));
            }
        }
        None
    }
}

/// A property string that can be changed. Every change leaves it well-formed; what was not changed keeps its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(String);

impl Properties {
    /// No properties.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts from an encoded string; a missing separator at its end is added.
    #[must_use]
    pub fn from_encoded(mut encoded: String) -> Self {
        if !encoded.is_empty() && !encoded.ends_with(PROPERTY_SEPARATOR) {
            encoded.push(PROPERTY_SEPARATOR);
        }
        Self(encoded)
    }

    /// A view of the string.
    #[must_use]
    pub fn view(&self) -> PropertiesRef<'_> {
        PropertiesRef(&self.0)
    }

    /// The encoded string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The encoded string.
    #[must_use]
    pub fn into_encoded(self) -> String {
        self.0
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.view().get(name)
    }

    /// Sets `name`, at the end, replacing former values. An empty value removes, since the format cannot hold it.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.push(name, value);
    }

    /// Adds a property that is known not to be there yet.
    pub fn push(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.0.push_str(name);
        self.0.push(NAME_VALUE_SEPARATOR);
        self.0.push_str(value);
        self.0.push(PROPERTY_SEPARATOR);
    }

    /// Takes `name` out. True when it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let is_it =
            |item: &str| item.split_once(NAME_VALUE_SEPARATOR).is_some_and(|(found, _)| found == name);
        if !self.0.split(PROPERTY_SEPARATOR).any(is_it) {
            return false;
        }
        let mut kept = String::with_capacity(self.0.len());
        for item in self.0.split_inclusive(PROPERTY_SEPARATOR).filter(|item| !is_it(item)) {
            kept.push_str(item);
        }
        self.0 = kept;
        true
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Properties {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(items: I) -> Self {
        let mut properties = Self::new();
        for (name, value) in items {
            properties.set(name, value);
        }
        properties
    }
}

/// Java's `String.hashCode`: over UTF-16 code units, wrapping.
#[must_use]
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The number that stands for a tag in a consume queue: its hash, widened; 0 for an empty tag.
#[must_use]
pub fn tags_code(tag: &str) -> i64 {
    i64::from(java_hash(tag))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        // Taken from java.lang.String.hashCode of OpenJDK 17.
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("größe"), 98_762_257);
        assert_eq!(java_hash("标签"), 857_175);
        assert_eq!(java_hash("😀x"), 54_959_989);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
    }

    #[test]
    fn a_missing_last_separator_and_empty_values_are_tolerated() {
        let view = PropertiesRef::new("TAGS\u{1}a\u{2}EMPTY\u{1}\u{2}\u{1}x\u{2}junk\u{2}KEYS\u{1}k1 k2");
        assert_eq!(view.iter().collect::<Vec<_>>(), [("TAGS", "a"), ("KEYS", "k1 k2")]);
        assert_eq!(view.get("EMPTY"), None);
        assert_eq!(view.tags_code(), 97);
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        assert_eq!(PropertiesRef::new("a\u{1}1\u{2}a\u{1}2\u{2}").get("a"), Some("2"));
    }

    #[test]
    fn changes_leave_other_properties_byte_for_byte() {
        let mut properties = Properties::from_encoded("x\u{1}1\u{2}POP_CK\u{1}9\u{2}y\u{1}2".to_owned());
        assert!(properties.remove("POP_CK"));
        assert!(!properties.remove("POP_CK"));
        properties.set("x", "3");
        assert_eq!(properties.as_str(), "y\u{1}2\u{2}x\u{1}3\u{2}");
        properties.set("x", "");
        assert_eq!(properties.as_str(), "y\u{1}2\u{2}");
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_back(items in prop::collection::btree_map("[^\u{1}\u{2}]{1,8}", "[^\u{1}\u{2}]{1,8}", 0..8)) {
            let properties: Properties = items.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let read: std::collections::BTreeMap<_, _> =
                properties.view().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            prop_assert_eq!(read, items);
        }

        #[test]
        fn any_text_is_viewed_without_a_panic(text in any::<String>(), name in any::<String>()) {
            let _ = PropertiesRef::new(&text).get(&name);
            let mut properties = Properties::from_encoded(text);
            properties.remove(&name);
            prop_assert_eq!(properties.get(&name), None);
        }
    }
}
