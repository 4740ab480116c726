//! The table of rows: which tests show what each row of faults.md requires (`rows.txt`, beside this file).
//!
//! A row is its number and topic, then a line for each test: the test binary it is in, and its name. `unit` are the tests in
//! `src`; a binary without the test harness is one test, its `main`; `scenario` is a text in `tests/it/scenarios`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("rows.txt");
/// The rows of faults.md.
const ROWS: std::ops::RangeInclusive<u32> = 1..=70;
/// Rows without a test: each says in the table why. Whoever writes its first test takes it from here.
const MISSING: &[u32] = &[37];

/// A binary and a test in it.
type Named = (String, String);

#[derive(Debug, Default)]
struct Row {
    tests: Vec<Named>,
    missing: Option<String>,
}

fn table(text: &str) -> BTreeMap<u32, Row> {
    let mut rows: BTreeMap<u32, Row> = BTreeMap::new();
    let mut current = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let Some(entry) = line.strip_prefix("    ") else {
            current = line.split(' ').next().and_then(|number| number.parse().ok()).expect(line);
            assert!(rows.insert(current, Row::default()).is_none(), "row {current} is there twice");
            continue;
        };
        let row = rows.get_mut(&current).expect(line);
        match entry.split_once(' ').expect(line) {
            ("missing", reason) => row.missing = Some(reason.to_owned()),
            (binary, test) => row.tests.push((binary.to_owned(), test.to_owned())),
        }
    }
    rows
}

/// Every test that `cargo test` runs: those that are ignored are not among them.
fn all_tests() -> BTreeSet<Named> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    let unit = sources(&root.join("src")).into_iter().map(|path| ("unit".to_owned(), path));
    let tests = root.join("tests");
    let others = sources(&tests).into_iter().map(|path| (binary_of(path.strip_prefix(&tests).unwrap()), path));
    for (binary, path) in unit.chain(others) {
        let source = fs::read_to_string(path).unwrap();
        found.extend(tests_in(&source).into_iter().map(|test| (binary.clone(), test)));
    }
    let scenarios = fs::read_dir(tests.join("it/scenarios")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    found.extend(scenarios.map(|path| ("scenario".to_owned(), name(path))));
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files.into_iter().filter(is_rust).chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

/// `store.rs` and all in `store/` are of the binary `store`.
fn binary_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str();
    Path::new(first).file_stem().unwrap().to_str().unwrap().to_owned()
}

/// The names after `#[test]`, other attributes and comments passed over, and a `main` at the outermost level.
fn tests_in(source: &str) -> Vec<String> {
    let (mut names, mut attributes) = (Vec::new(), Vec::new());
    for line in source.lines() {
        let text = line.trim_start();
        if text.starts_with("#[") {
            attributes.push(text);
        } else if let Some(rest) = text.strip_prefix("fn ") {
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            let is_test =
                attributes.contains(&"#[test]") && !attributes.iter().any(|held| held.starts_with("#[ignore"));
            if is_test || line.starts_with("fn main(") {
                names.push(name.to_owned());
            }
            attributes.clear();
        } else if !text.starts_with("//") && !attributes.is_empty() {
            attributes.clear();
        }
    }
    names
}

/// The row that a test is named after.
fn row_named_by(test: &str) -> Option<u32> {
    test.strip_prefix("row_")?.split('_').next()?.parse().ok()
}

#[test]
fn every_row_of_faults_has_a_test_that_exists() {
    let (rows, tests) = (table(TABLE), all_tests());
    assert!(rows.keys().copied().eq(ROWS), "every row once, in order");
    for (number, row) in &rows {
        let unknown: Vec<_> = row.tests.iter().filter(|test| !tests.contains(test)).collect();
        assert!(unknown.is_empty(), "row {number} names what is no test: {unknown:?}");
        assert_eq!(row.tests.is_empty(), row.missing.is_some(), "row {number} has tests, or says why not");
        let reason = row.missing.as_deref().unwrap_or("-");
        assert!(!reason.trim().is_empty(), "row {number} is missing without a reason");
    }
    let missing: Vec<u32> = rows.iter().filter(|(_, row)| row.missing.is_some()).map(|(number, _)| *number).collect();
    println!("rows of faults without a test: {} {missing:?}", missing.len());
    assert_eq!(missing, MISSING, "the rows that are missing are known");
}

#[test]
fn every_test_named_after_a_row_is_in_the_table() {
    let rows = table(TABLE);
    let is_listed = |test: &Named| {
        let row = row_named_by(&test.1).and_then(|number| rows.get(&number));
        row.is_some_and(|row| row.tests.contains(test))
    };
    let named = all_tests().into_iter().filter(|test| row_named_by(&test.1).is_some());
    let unlisted: Vec<Named> = named.filter(|test| !is_listed(test)).collect();
    assert!(unlisted.is_empty(), "not in their rows: {unlisted:#?}");
}

#[test]
fn tests_are_read_as_they_are_written() {
    let source = "#[test]\n#[cfg(unix)]\n/// Story.\nfn one() {}\nfn two() {}\n#[test]\n#[ignore = \"a child\"]\nfn three() {}\n\
                  proptest! {\n    #[test]\n    fn four(x: u8) {}\n}\nfn main() {}\nmod m {\n    fn main() {}\n}\n";
    assert_eq!(tests_in(source), ["one", "four", "main"]);
    assert_eq!(binary_of(Path::new("it/faults/rows.rs")), "it");
    assert_eq!(binary_of(Path::new("store.rs")), "store");
    assert_eq!((row_named_by("row_07_login"), row_named_by("rows_of")), (Some(7), None));
}
