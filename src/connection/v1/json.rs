//! Pieces of JSON frames: a writer of fields, and readers that are lenient where clients differ.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::ser::Serialize;

/// The fields of a frame, written once for all who get it: everything but whom it is for.
#[derive(Debug)]
pub(super) struct Body(Vec<u8>);

impl Body {
    pub(super) fn new(command: &str) -> Self {
        Self(Vec::with_capacity(64)).with("cmd", command)
    }

    pub(super) fn op(command: &str, op: &str) -> Self {
        Self::new(command).with("op", op)
    }

    pub(super) fn with(mut self, name: &'static str, value: &(impl Serialize + ?Sized)) -> Self {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
        let written = serde_json::to_writer(&mut self.0, value);
        debug_assert!(written.is_ok(), "texts, numbers and lists of them can always be written");
        self
    }

    pub(super) fn with_some(self, name: &'static str, value: Option<&(impl Serialize + ?Sized)>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// A flag is there only when it is set.
    pub(super) fn with_flag(self, name: &'static str, flag: bool) -> Self {
        self.with_some(name, flag.then_some(&true))
    }

    /// The fields, between braces that are not there yet.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// A text, borrowed from the frame unless it has escapes.
#[derive(Debug, PartialEq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A list of ids. Those beyond the limit are not kept: a frame of ten thousand ids costs no more than one of a thousand.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ids<'a> {
    pub(super) listed: Vec<Text<'a>>,
    pub(super) is_over: bool,
}

impl Ids<'_> {
    /// Ids in one list of a frame: twice the members that a group may have, far above every other limit.
    pub(super) const MAX: usize = 1_000;
}

impl<'de: 'a, 'a> Deserialize<'de> for Ids<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdsVisitor;
        impl<'de> Visitor<'de> for IdsVisitor {
            type Value = Ids<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }
            fn visit_unit<E>(self) -> Result<Ids<'de>, E> {
                Ok(Ids::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ids<'de>, A::Error> {
                let mut ids = Ids::default();
                while ids.listed.len() < Ids::MAX {
                    match list.next_element()? {
                        Some(id) => ids.listed.push(id),
                        None => return Ok(ids),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    ids.is_over = true;
                }
                Ok(ids)
            }
        }
        deserializer.deserialize_any(IdsVisitor)
    }
}

/// A flag: `true` or `1`, as the documents' clients differ.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flag(pub(super) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, 1 or 0")
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }
            fn visit_u64<E: serde::de::Error>(self, flag: u64) -> Result<Flag, E> {
                match flag {
                    0 | 1 => Ok(Flag(flag == 1)),
                    _ => Err(E::custom("neither 0 nor 1")),
                }
            }
            fn visit_unit<E>(self) -> Result<Flag, E> {
                Ok(Flag(false))
            }
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

/// A number, or the same digits as a text: kept as text, because that is what was signed.
#[derive(Debug, PartialEq)]
pub(super) struct Digits(pub(super) String);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DigitsVisitor;
        impl Visitor<'_> for DigitsVisitor {
            type Value = Digits;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or its digits")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Digits, E> {
                Ok(Digits(number.to_string()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Digits, E> {
                Ok(Digits(number.to_string()))
            }
            fn visit_f64<E: serde::de::Error>(self, _number: f64) -> Result<Digits, E> {
                Err(E::custom("not a whole number"))
            }
            fn visit_str<E>(self, digits: &str) -> Result<Digits, E> {
                Ok(Digits(digits.to_owned()))
            }
        }
        deserializer.deserialize_any(DigitsVisitor)
    }
}

/// Reads an object. A list is none, although a derived reader would take its elements for fields.
pub(super) fn read_object<'a, T: Deserialize<'a>>(frame: &'a str) -> Result<T, serde_json::Error> {
    if frame.trim_start().starts_with('{') {
        serde_json::from_str(frame)
    } else {
        Err(serde_json::Error::custom("not an object"))
    }
}

/// The bytes that a text stands for, where it is the one text of them.
pub(super) fn bytes(base64: &str) -> Option<Vec<u8>> {
    BASE64.decode(base64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_base64_of_the_standard_alphabet_with_padding() {
        for (expected, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(bytes(text).as_deref(), Some(expected.as_bytes()));
        }
        assert_eq!(bytes("+/8="), Some(vec![0xfb, 0xff]));
        for bad in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Z g=", "Zg-_", "Zé=="] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_the_one_text_of_its_bytes(text in "[A-Za-z0-9+/=é]{0,12}") {
            if let Some(bytes) = bytes(&text) {
                prop_assert_eq!(BASE64.encode(bytes), text);
            }
        }
    }

    #[test]
    fn ids_beyond_the_limit_are_not_kept() {
        let list = |count: usize| format!("[{}]", vec!["\"a\""; count].join(","));
        let full = list(Ids::MAX);
        let ids: Ids<'_> = serde_json::from_str(&full).unwrap();
        assert_eq!((ids.listed.len(), ids.is_over), (Ids::MAX, false));
        let more = list(16 * Ids::MAX);
        let ids: Ids<'_> = serde_json::from_str(&more).unwrap();
        assert_eq!((ids.listed.len(), ids.is_over), (Ids::MAX, true));
        assert_eq!(serde_json::from_str::<Ids<'_>>("null").unwrap(), Ids::default());
        assert!(serde_json::from_str::<Ids<'_>>("[1]").is_err());
        assert!(serde_json::from_str::<Ids<'_>>("\"a\"").is_err());
    }

    #[test]
    fn flags_and_digits_are_lenient_within_reason() {
        for (text, flag) in [("true", Some(true)), ("1", Some(true)), ("0", Some(false)), ("null", Some(false))] {
            assert_eq!(serde_json::from_str::<Flag>(text).ok().map(|flag| flag.0), flag);
        }
        assert!(serde_json::from_str::<Flag>("2").is_err() && serde_json::from_str::<Flag>("\"true\"").is_err());
        for (text, digits) in [("17", "17"), ("\"17\"", "17"), ("-1", "-1"), ("\"+1\"", "+1")] {
            assert_eq!(serde_json::from_str::<Digits>(text).unwrap().0, digits);
        }
        assert!(serde_json::from_str::<Digits>("1e400").is_err() && serde_json::from_str::<Digits>("1.5").is_err());
    }

    #[test]
    fn a_list_is_no_object() {
        #[derive(serde::Deserialize)]
        struct Any {}
        assert!(read_object::<Any>(" {\"a\":[[1]]}").is_ok());
        for bad in ["[]", "", "  ", "1", "null", "{}{}", "{", "{\"a\":}"] {
            assert!(read_object::<Any>(bad).is_err(), "{bad:?}");
        }
    }
}
