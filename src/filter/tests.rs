//! Tricks, limits, and properties of masking.

use proptest::prelude::*;

use super::*;

const MAX: usize = 5120;

fn filter(words: &[&str]) -> WordFilter {
    WordFilter::new(words).unwrap()
}

/// Masks with room to spare; what is not hit comes back as it is.
fn mask(words: &[&str], text: &str) -> String {
    filter(words).mask(text, MAX).unwrap_or_else(|| text.to_owned())
}

#[test]
fn words_are_seen_through_every_disguise() {
    for (word, disguise) in [
        ("word", "WoRD"),
        ("word", "ｗｏｒｄ"),
        ("ＷＯＲＤ", "word"),
        ("word", "𝓌𝓸𝗿𝚍"),
        ("word", "ⓦⓞⓡⓓ"),
        ("word", "w\u{200b}o\u{200d}r\u{feff}d"),
        ("word", "w\u{ad}o\u{2060}r\u{e0041}d"),
        ("word", "w\0o\u{7f}r\u{85}d"),
        ("word", "w\u{336}o\u{489}r\u{20dd}d\u{336}"),
        ("word", "w\u{308}\u{308}\u{308}ord".replace('\u{308}', "\u{334}").as_str()),
        ("Straße", "STRASSE"),
        ("STRASSE", "straße"),
        ("ΟΔΟΣ", "οδος"),
        ("οδος", "ΟΔΟΣ"),
        ("istanbul", "İSTANBUL"),
        ("ﬁsh", "FISH"),
        ("fish", "ﬁsh"),
        ("é", "e\u{301}"),
        ("e\u{301}", "\u{c9}"),
        ("ế", "e\u{301}\u{302}".replace("\u{301}\u{302}", "\u{302}\u{301}").as_str()),
        ("ガ", "ｶﾞ"),
        ("각", "\u{1100}\u{1161}\u{11a8}"),
        ("傻瓜", "傻\u{200b}瓜"),
    ] {
        assert_eq!(mask(&[word], &format!("<{disguise}>")), "<***>", "{word} in {disguise:?}");
    }
}

#[test]
fn what_only_looks_similar_stays() {
    for (word, other) in [
        ("schwul", "schwül"),
        ("schwul", "schwu\u{308}l"),
        ("sik", "s\u{131}k"),
        ("か", "が"),
        ("か", "か\u{3099}"),
        ("가", "각"),
        ("word", "w\nord"),
        ("word", "w ord"),
        ("ก", "ข"),
    ] {
        assert_eq!(filter(&[word]).mask(other, MAX), None, "{word} in {other:?}");
    }
}

#[test]
fn around_a_hit_every_byte_stays() {
    assert_eq!(
        mask(&["bad"], "Ａ\u{200b}\u{ad}é ＢＡＤ e\u{301}\u{200d}Ｚ"),
        "Ａ\u{200b}\u{ad}é *** e\u{301}\u{200d}Ｚ"
    );
    assert_eq!(mask(&["bad"], "\u{feff}bad\u{feff}"), "\u{feff}***\u{feff}");
    assert_eq!(mask(&["bad"], "bad\u{336}\u{301}!"), "***!", "a mark goes with its letter");
    assert_eq!(mask(&["f"], "ﬁ"), "***", "a ligature goes as a whole");
    assert_eq!(mask(&["死"], "生死之间死"), "生***之间***");
}

/// An iota with an accent, written with a mark between the two: masking just the mark parted them, and the bare iota was a
/// word of the list.
#[test]
fn a_mark_inside_of_a_letter_takes_the_letter_along() {
    assert_eq!(mask(&["\u{345}", "\u{3099}"], "\u{345}\u{3099}\u{301}"), "***");
    assert_eq!(mask(&["\u{3099}"], "xι\u{3099}\u{301}y"), "x***y");
}

#[test]
fn hits_that_overlap_or_touch_are_one() {
    assert_eq!(mask(&["abc", "bcd", "d", "de"], "xabcdez"), "x***z");
    assert_eq!(mask(&["ab", "cd"], "abcd"), "***");
    assert_eq!(mask(&["ab", "cd"], "ab\u{200b}cd"), "***", "nothing that shows is between them");
    assert_eq!(mask(&["ab", "cd"], "ab cd"), "*** ***");
    assert_eq!(mask(&["a"], &"a".repeat(MAX)), "***");
}

#[test]
fn a_masked_text_never_passes_the_limit() {
    let alternating = "ab".repeat(MAX / 2);
    let masked = filter(&["a"]).mask(&alternating, MAX).unwrap();
    assert_eq!(masked, "*b".repeat(MAX / 2));
    assert_eq!(filter(&["a"]).mask("ab", MAX).unwrap(), "***b");
    assert_eq!(filter(&["a"]).mask("ab", 4).unwrap(), "***b");
    assert_eq!(filter(&["a"]).mask("ab", 3).unwrap(), "*b");
    assert_eq!(filter(&["é"]).mask("éb", 3).unwrap(), "**b");

    let typed = format!(r#"{{"_lctype":-1,"_lctext":"{}"}}"#, "\\u0061\\ud800".repeat(420));
    assert!(typed.len() <= MAX);
    let masked = filter(&["a"]).mask_message(&typed, MAX).unwrap();
    assert!(masked.len() <= MAX && !masked.contains('a'), "{} bytes", masked.len());
    let quoted = format!(r#"{{"_lctype":-1,"_lctext":"{}"}}"#, "a\\n".repeat(1690));
    assert!(filter(&["a"]).mask_message(&quoted, MAX).unwrap().len() <= MAX);
}

#[test]
fn of_a_typed_message_only_the_text_is_masked() {
    let filter = filter(&["bad", "死"]);
    let masked = |content: &str| filter.mask_message(content, MAX);
    assert_eq!(
        masked(r#" { "z" : 1.0e3, "_lctext" : "so BAD \n" , "_lctype":-1,"_lcattrs":{"a":"bad","n":12345678901234567890123}}"#).unwrap(),
        r#" { "z" : 1.0e3, "_lctext" : "so *** \n" , "_lctype":-1,"_lcattrs":{"a":"bad","n":12345678901234567890123}}"#,
    );
    assert_eq!(
        masked(r#"{"_lctype":-1,"_lctext":"b\u0061d \u6b7b"}"#).unwrap(),
        r#"{"_lctype":-1,"_lctext":"*** ***"}"#
    );
    assert_eq!(masked(r#"{"_lctype":-1,"\u005flctext":"bad"}"#).unwrap(), r#"{"_lctype":-1,"\u005flctext":"***"}"#);
    assert_eq!(
        masked(r#"{"_lctype":-1,"_lctext":"bad","_lctext":"x bad"}"#).unwrap(),
        r#"{"_lctype":-1,"_lctext":"***","_lctext":"x ***"}"#
    );
    assert_eq!(
        masked(r#"{"\ud800":1,"_lctype":-1,"_lctext":"b\u0061d\ud800"}"#).unwrap(),
        "{\"\\ud800\":1,\"_lctype\":-1,\"_lctext\":\"***\u{fffd}\"}"
    );
    for clean in [
        r#"{"_lctype":-2,"url":"bad"}"#,
        r#"{"_lctype":-1,"_lctext":["bad"]}"#,
        r#"{"_lctype":-1,"_lctext":null,"x":"bad"}"#,
        r#"{"_lctype":-1,"_lctext":"fine","x":"bad"}"#,
        r#"{"_lctype":-1,"_lctext":"\ud800","x":"bad"}"#,
        "",
        "{}",
    ] {
        assert_eq!(masked(clean), None, "{clean}");
    }
}

#[test]
fn of_anything_else_all_is_masked() {
    let filter = filter(&["bad"]);
    for (content, masked) in [
        (r#"{"_lctext":"bad","x":"bad"}"#, r#"{"_lctext":"***","x":"***"}"#),
        (r#"{"x":{"_lctype":1},"_lctext":"bad"}"#, r#"{"x":{"_lctype":1},"_lctext":"***"}"#),
        (r#"[{"_lctype":-1,"_lctext":"bad"},"bad"]"#, r#"[{"_lctype":-1,"_lctext":"***"},"***"]"#),
        (r#"{"_lctype":-1,"_lctext":"bad"} bad"#, r#"{"_lctype":-1,"_lctext":"***"} ***"#),
        ("{ bad", "{ ***"),
        ("bad", "***"),
    ] {
        assert_eq!(filter.mask_message(content, MAX).as_deref(), Some(masked));
    }
    // A key that only begins like `_lctype` makes no typed message: a word is found inside an escape too.
    let number = self::filter(&["41"]);
    assert_eq!(number.mask_message(r#"{"_lctypes":"\u4116"}"#, MAX).as_deref(), Some(r#"{"_lctypes":"\u***16"}"#));
    let deep = format!("{{\"_lctype\":{}1{},\"_lctext\":\"bad\"}}", "[".repeat(2_000), "]".repeat(2_000));
    assert!(filter.mask_message(&deep, MAX).unwrap().ends_with("\"***\"}"));
    assert!(filter.mask_message(&"[".repeat(5_000), MAX).is_none());
}

#[test]
fn lists_have_limits() {
    let endless = std::iter::repeat("word");
    assert_eq!(WordFilter::new(endless).unwrap_err(), FilterError::TooManyWords { max: 100_000 });
    let long = "x".repeat(257);
    assert_eq!(WordFilter::new(["a", &long]).unwrap_err(), FilterError::WordTooLong { at: 1, max: 256 });
    let wide = (0..100_000).map(|at| format!("{at:0>200}"));
    assert_eq!(WordFilter::new(wide).unwrap_err(), FilterError::TooManyBytes { max: 2 << 20 });
    assert!(WordFilter::new(["x".repeat(256)]).is_ok());

    let none = filter(&[]);
    assert_eq!(none.mask("anything", MAX), None);
    let blank = filter(&["", "  ", "\u{200b}", "\n", " word "]);
    assert_eq!(blank.mask("a word, a \u{200b} blank", MAX).unwrap(), "a ***, a \u{200b} blank");
    assert_eq!(format!("{blank:?}"), "WordFilter { words: 1, .. }");
}

/// What every place of `text` that a word covers looks like, found the slow way.
fn naive(words: &[String], text: &str) -> String {
    let mut hit = vec![false; text.len()];
    for word in words {
        for at in (0..text.len()).filter(|&at| text[at..].starts_with(word.as_str())) {
            hit[at..at + word.len()].fill(true);
        }
    }
    let mut masked = String::new();
    for (at, c) in text.char_indices() {
        match (hit[at], at > 0 && hit[at - 1]) {
            (true, true) => {}
            (true, false) => masked.push_str("***"),
            (false, _) => masked.push(c),
        }
    }
    masked
}

/// Letters, their disguises, and what comes between them.
fn tricky() -> impl Strategy<Value = char> {
    let letters = "abAB ａＢﬁ𝐛éeE\u{131}İiIßsSςΣ각가\u{1100}\u{1161}\u{11a8}ｶﾞガ死ก\u{e38}\u{e48}\u{5b0}\u{5bc}א";
    let others = "\u{200b}\u{ad}\u{301}\u{308}\u{336}\u{302}\u{327}\u{345}\u{3099}\u{20dd}\u{489}\0\n\u{feff}";
    prop_oneof![
        8 => proptest::sample::select(letters.chars().chain(others.chars()).collect::<Vec<_>>()),
        1 => any::<char>(),
    ]
}

fn tricky_text(chars: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(tricky(), chars).prop_map(String::from_iter)
}

fn tricky_words() -> impl Strategy<Value = Vec<String>> {
    let word = tricky_text(1..4).prop_filter("masking makes stars", |word| !Folded::of(word).text().contains('*'));
    proptest::collection::vec(word, 1..5)
}

/// Among the shortcuts of folding none may change what a character without case becomes.
#[test]
fn what_has_no_case_folds_to_its_compatibility_composition() {
    use unicode_normalization::UnicodeNormalization;
    let has_no_case = |c: char| c.to_lowercase().eq([c]) && c.to_uppercase().eq([c]);
    for c in ('\u{80}'..=char::MAX).filter(|&c| !c.is_control() && !crate::id::is_zero_width(c)) {
        let composed: String = std::iter::once(c).nfkc().collect();
        if has_no_case(c) && composed.chars().all(has_no_case) {
            let composed = composed.replace(fold::is_loose_mark, "");
            assert_eq!(Folded::of(&String::from(c)).into_text(), composed, "{c:?}");
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_left_to_mask(words in tricky_words(), text in tricky_text(0..40), bytes_max in 0..200_usize) {
        let filter = WordFilter::new(&words).unwrap();
        if let Some(masked) = filter.mask(&text, bytes_max) {
            prop_assert_eq!(filter.mask(&masked, bytes_max), None, "{:?}", masked);
            prop_assert!(masked.len() <= text.len().max(bytes_max));
        }
    }

    #[test]
    fn ascii_is_masked_as_the_slow_way_does(
        words in proptest::collection::vec("[abc]{1,4}", 1..6),
        text in "[abc]{0,30}",
    ) {
        let filter = WordFilter::new(&words).unwrap();
        let masked = filter.mask(&text, MAX).unwrap_or_else(|| text.clone());
        prop_assert_eq!(&masked, &naive(&words, &text));
        let widen = |c: char| if c == '*' { c } else { char::from_u32(c as u32 + 0xfee0).unwrap() };
        let wide: String = text.chars().map(widen).collect();
        let expected: String = masked.chars().map(widen).collect();
        prop_assert_eq!(filter.mask(&wide, MAX).unwrap_or(wide), expected);
    }

    #[test]
    fn a_typed_message_stays_one(words in tricky_words(), text in tricky_text(0..30), other in tricky_text(0..5)) {
        let filter = WordFilter::new(&words).unwrap();
        let content = serde_json::json!({ "_lctype": -1, "_lctext": text, "other": other }).to_string();
        let mut expected: serde_json::Value = serde_json::from_str(&content).unwrap();
        match (filter.mask(&text, usize::MAX), filter.mask_message(&content, usize::MAX)) {
            (Some(masked), Some(message)) => {
                expected["_lctext"] = masked.into();
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&message).unwrap(), expected);
            }
            (None, None) => {}
            (text, message) => prop_assert!(false, "{:?} but {:?}", text, message),
        }
    }

    #[test]
    fn any_bytes_of_json_are_survived(content in r#"[{}\[\]":,\\_lctypeextu0061d 89]{0,60}"#) {
        let filter = filter(&["a", "t", "u006"]);
        if let Some(masked) = filter.mask_message(&content, MAX) {
            prop_assert!(masked != content);
        }
    }
}
