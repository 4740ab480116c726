//! The word filter: what a host does not want to be said is masked with `***`.
//!
//! A word is found anywhere in the text, also inside a longer word, since many scripts do not put spaces between theirs.
//! It is seen through upper and lower case, full-width and other compatibility forms, invisible characters and loose
//! diacritics; what is not hit stays as it came, byte by byte.

mod fold;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use fold::Folded;

/// Why a list of words cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// More words than [`WordFilter::WORDS_MAX`].
    #[error("over {max} words")]
    TooManyWords {
        /// The limit.
        max: usize,
    },
    /// A word of more than [`WordFilter::WORD_BYTES_MAX`] bytes.
    #[error("word {at} over {max} bytes")]
    WordTooLong {
        /// The word's place in the list, from zero.
        at: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// More than [`WordFilter::WORDS_BYTES_MAX`] bytes in all words together.
    #[error("words over {max} bytes together")]
    TooManyBytes {
        /// The limit in bytes.
        max: usize,
    },
}

/// A compiled list of words.
///
/// Cheap to clone and never changed: to change the words of a running engine, build another and swap it.
///
/// Accented letters are letters of their own (`schwul` does not hit `schwül`, nor `sik` the Turkish `sık`), written in one
/// character or two; strokes and marks that belong to no letter are seen through. Case follows Unicode's case folding in
/// every language: `ß` is `ss`, `İ` is `i`, and the dotless `ı` is not.
///
/// ```
/// use switchboard::filter::WordFilter;
///
/// let filter = WordFilter::new(["darn", "\u{6b7b}"])?;
/// let bytes_max = 5120;
/// assert_eq!(filter.mask("oh D\u{200b}ａrn, you", bytes_max).as_deref(), Some("oh ***, you"));
/// assert_eq!(filter.mask("all is well", bytes_max), None);
/// assert_eq!(
///     filter.mask_message(r#"{"_lctype":-1,"_lctext":"darn", "name":"darn"}"#, bytes_max).as_deref(),
///     Some(r#"{"_lctype":-1,"_lctext":"***", "name":"darn"}"#),
/// );
/// # Ok::<(), switchboard::filter::FilterError>(())
/// ```
#[derive(Clone)]
pub struct WordFilter(Arc<Compiled>);

struct Compiled {
    words: usize,
    automaton: AhoCorasick,
}

impl WordFilter {
    /// Words at most.
    pub const WORDS_MAX: usize = 100_000;
    /// Bytes of one word at most: what nests inside each other is looked at once per length.
    pub const WORD_BYTES_MAX: usize = 256;
    /// Bytes of all words together at most; the automaton takes a multiple of that.
    pub const WORDS_BYTES_MAX: usize = 2 << 20;

    /// What stands for a hit.
    pub const MASK: &'static str = "***";

    /// Compiles `words`. White space around them is ignored, and so is a word in which nothing is visible.
    ///
    /// # Errors
    /// [`FilterError`] where a limit is passed; an endless list is not read to its end.
    pub fn new(words: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, FilterError> {
        let mut folded = Vec::new();
        let mut bytes = 0;
        for (at, word) in words.into_iter().enumerate() {
            let word = word.as_ref().trim();
            if at == Self::WORDS_MAX {
                return Err(FilterError::TooManyWords { max: Self::WORDS_MAX });
            }
            if word.len() > Self::WORD_BYTES_MAX {
                return Err(FilterError::WordTooLong { at, max: Self::WORD_BYTES_MAX });
            }
            let word = Folded::of(word).into_text();
            bytes += word.len();
            if bytes > Self::WORDS_BYTES_MAX {
                return Err(FilterError::TooManyBytes { max: Self::WORDS_BYTES_MAX });
            }
            if !word.trim().is_empty() {
                folded.push(word);
            }
        }
        // Folded text is in lower case already; this spares plain ASCII text the folding.
        let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(&folded);
        let automaton = automaton.map_err(|_| FilterError::TooManyBytes { max: Self::WORDS_BYTES_MAX })?;
        Ok(Self(Arc::new(Compiled { words: folded.len(), automaton })))
    }

    /// The text with every hit masked, or `None` where nothing was hit.
    ///
    /// Hits that overlap or touch become one `***`. Should that make the text longer than `bytes_max`, hits shorter than
    /// three bytes become as many `*` as they had bytes, and the result is never longer than `text`. A word with `*` in it
    /// may be found again in what was masked.
    #[must_use]
    pub fn mask(&self, text: &str, bytes_max: usize) -> Option<String> {
        let hits = self.hits(text);
        if hits.is_empty() {
            return None;
        }
        let masked = replace(text, &hits, full_mask);
        Some(if masked.len() <= bytes_max { masked } else { replace(text, &hits, short_mask) })
    }

    /// The content of a message with every hit masked, or `None` where nothing was hit.
    ///
    /// Of a typed message, a JSON object with a key `_lctype`, only the text in `_lctext` is looked at, escapes decoded;
    /// around it nothing changes, not even a space. Of anything else all is looked at, as it stands: a hit inside an escape
    /// or a key is masked too, after which other JSON may be none. `bytes_max` is as in [`mask`](Self::mask), for the whole
    /// content. (Second generation's guide, "word filter".)
    #[must_use]
    pub fn mask_message(&self, content: &str, bytes_max: usize) -> Option<String> {
        // Without an escape, what is not in the content is not in a part of it.
        if is_plain(content) && !content.as_bytes().contains(&b'\\') && self.hits(content).is_empty() {
            return None;
        }
        let typed = serde_json::from_str::<TypedMessage<'_>>(content).ok().filter(|message| message.is_typed);
        let Some(typed) = typed else { return self.mask(content, bytes_max) };

        let texts: Vec<_> = typed.texts.iter().filter_map(|raw| self.hits_in_json(content, raw)).collect();
        if texts.is_empty() {
            return None;
        }
        let masked = replace_json(content, &texts, full_mask);
        Some(if masked.len() <= bytes_max { masked } else { replace_json(content, &texts, short_mask) })
    }

    fn hits_in_json(&self, content: &str, raw: &RawValue) -> Option<JsonText> {
        let LenientText(text) = serde_json::from_str(raw.get()).ok()?;
        let hits = self.hits(&text);
        let start = raw.get().as_ptr() as usize - content.as_ptr() as usize;
        let span = start..start + raw.get().len();
        (!hits.is_empty()).then_some(JsonText { span, text, hits })
    }

    /// Where words are hit, in order and apart from each other.
    fn hits(&self, text: &str) -> Hits {
        if is_plain(text) {
            return self.matches(text);
        }
        let folded = Folded::of(text);
        let mut hits = Hits::new();
        for hit in self.matches(folded.text()) {
            push_merged(&mut hits, folded.original(hit));
        }
        hits
    }

    fn matches(&self, folded: &str) -> Hits {
        let mut hits = Hits::new();
        for hit in self.0.automaton.find_overlapping_iter(folded) {
            push_merged(&mut hits, hit.range());
        }
        hits
    }
}

impl fmt::Debug for WordFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordFilter").field("words", &self.0.words).finish_non_exhaustive()
    }
}

type Hits = Vec<Range<usize>>;

/// Adds a hit that ends no earlier than those before it, as one with those that it overlaps or touches.
fn push_merged(hits: &mut Hits, mut hit: Range<usize>) {
    while let Some(last) = hits.pop_if(|last| last.end >= hit.start) {
        hit = hit.start.min(last.start)..hit.end.max(last.end);
    }
    hits.push(hit);
}

/// Whether folding changes nothing but the case: printable ASCII with line breaks and tabs.
fn is_plain(text: &str) -> bool {
    // Without leaving early, so that it is done many bytes at a time.
    text.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r'))
}

/// What stands for a hit of so many bytes.
type Mask = fn(usize) -> &'static str;

fn full_mask(_bytes: usize) -> &'static str {
    WordFilter::MASK
}

fn short_mask(bytes: usize) -> &'static str {
    &WordFilter::MASK[..bytes.min(WordFilter::MASK.len())]
}

fn replace(text: &str, hits: &[Range<usize>], mask: Mask) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for hit in hits {
        masked.push_str(&text[done..hit.start]);
        masked.push_str(mask(hit.len()));
        done = hit.end;
    }
    masked.push_str(&text[done..]);
    masked
}

/// A JSON string with hits in it.
struct JsonText {
    /// Where its literal stands in the content.
    span: Range<usize>,
    text: String,
    /// Where in `text` the words are.
    hits: Hits,
}

fn replace_json(content: &str, texts: &[JsonText], mask: Mask) -> String {
    let mut masked = String::with_capacity(content.len());
    let mut done = 0;
    for JsonText { span, text, hits } in texts {
        masked.push_str(&content[done..span.start]);
        masked.push_str(&serde_json::Value::from(replace(text, hits, mask)).to_string());
        done = span.end;
    }
    masked.push_str(&content[done..]);
    masked
}

/// What the filter wants to know of a JSON object. A key may come several times: readers differ in which one they take.
struct TypedMessage<'a> {
    is_typed: bool,
    texts: SmallVec<[&'a RawValue; 1]>,
}

impl<'de> Deserialize<'de> for TypedMessage<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = TypedMessage<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut message = TypedMessage { is_typed: false, texts: SmallVec::new() };
                while let Some(LenientText(key)) = map.next_key()? {
                    if key == "_lctext" {
                        message.texts.push(map.next_value()?);
                    } else {
                        message.is_typed |= key == "_lctype";
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(message)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A JSON string in which half a surrogate pair, which JavaScript lets pass, is a replacement character.
struct LenientText(String);

impl<'de> Deserialize<'de> for LenientText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = LenientText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                let mut text = String::with_capacity(bytes.len());
                for chunk in bytes.utf8_chunks() {
                    text.push_str(chunk.valid());
                    // The first of the three bytes of a surrogate; the others are chunks of their own.
                    if chunk.invalid().first() == Some(&0xed) {
                        text.push(char::REPLACEMENT_CHARACTER);
                    }
                }
                Ok(LenientText(text))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests;
