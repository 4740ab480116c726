//! How keys are built and read.

use std::ops::Range;

/// A letter and numbers after it.
pub(crate) fn numbered(letter: u8, numbers: &[u64]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 8 * numbers.len());
    key.push(letter);
    numbers.iter().for_each(|number| key.extend_from_slice(&number.to_be_bytes()));
    key
}

/// All keys of a letter.
pub(crate) fn all(letter: u8) -> Range<Vec<u8>> {
    vec![letter]..vec![letter + 1]
}

/// The integer at place `at` of a numbered key; zero where the key is too short to have one.
pub(crate) fn number(key: &[u8], at: usize) -> u64 {
    let start = 1 + 8 * at;
    key.get(start..start + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::entry;

    #[test]
    fn order_of_keys_is_order_of_numbers() {
        assert!(entry::key(1, u64::MAX) < entry::key(2, 0));
        assert!(entry::key(7, 255) < entry::key(7, 256));
        assert!(all(entry::LETTER).contains(&entry::key(u64::MAX, u64::MAX)));
        assert_eq!((number(&entry::key(3, 9), 0), number(&entry::key(3, 9), 1), number(b"m", 0)), (3, 9, 0));
    }
}
