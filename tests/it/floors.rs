//! The floors of the house: a file imports only from floors below its own, or from its own folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of the library's root, or folder of such a file, with the floor that it stands on.
const FLOORS: &[(u8, &[&str], &str)] = &[
    (
        0,
        &["time", "slots", "table", "cursor", "keys", "record", "store"],
        "numbers, tables and bytes: no word of the domain",
    ),
    (1, &["id", "timers"], "parsed ids, whose refusal is the one error; deadlines"),
    (1, &["error"], "the codes; an error names the peers that failed, an id is refused with an error: one floor"),
    (2, &["config", "signature", "filter", "recent", "peer"], "rules and data that know ids alone"),
    (
        3,
        &["message", "conversation", "request", "output", "hooks", "session", "retry", "log"],
        "the nouns and their words: \
        a message knows its conversation's kind, a conversation its log, a log its messages and what a gap is called",
    ),
    (4, &["gate", "connection"], "what holds outputs back, and what writes them for a wire"),
    (5, &["engine"], "the verbs join the nouns"),
    (6, &["hub"], "the face for many threads"),
];

/// Pairs on one floor that may import each other, with the reason. No other two may.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("error", "id", "an error names peers; parsing an id fails with an error"),
    ("conversation", "message", "a message carries its conversation's kind; a conversation keeps the tail of its log"),
    ("conversation", "output", "an update carries a conversation's fields; a conversation keeps its audience"),
];

/// Probes for measurements and the bodies of the fuzz targets stand outside the house.
const OUTSIDE: &[&str] = &["lib", "probes", "fuzzing"];

struct File {
    path: PathBuf,
    /// The root file that it is, or in whose folder it is.
    house: String,
    /// Its code, without tests and comments.
    code: String,
}

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap().to_owned();
                let house = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
                let code = code_of(&fs::read_to_string(&path).unwrap());
                files.push(File { path: inside, house, code });
            }
        }
    }
    files.retain(|file| !file.path.to_str().unwrap().ends_with("tests.rs"));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The code of a file up to its tests, without comments.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The root files that a file names by `crate::`, whether in a `use` or in place. A name that the crate re-exports is
/// looked up where it comes from.
fn imports(code: &str, exports: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(group) => top_level(group),
            None => vec![first_word(rest)],
        };
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            found.insert(exports.get(&name).cloned().unwrap_or(name));
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first words of a list in braces, up to its end.
fn top_level(group: &str) -> Vec<String> {
    let (mut depth, mut parts, mut part) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    parts.push(part);
    parts.iter().map(|part| first_word(part)).collect()
}

/// Where each name at the crate's root comes from.
fn exports() -> BTreeMap<String, String> {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let mut exports = BTreeMap::new();
    for line in lib.split("pub use ").skip(1) {
        let Some((module, rest)) = line.split_once("::") else { continue };
        let list = rest.split(';').next().unwrap_or_default().trim_matches(|c| c == '{' || c == '}');
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            exports.insert(name.trim_end_matches('}').trim().to_owned(), module.to_owned());
        }
    }
    exports
}

fn floor_of(house: &str) -> u8 {
    let row = FLOORS.iter().find(|(_, houses, _)| houses.contains(&house));
    row.unwrap_or_else(|| panic!("{house} has no floor: give it one in tests/it/floors.rs")).0
}

#[test]
fn every_file_imports_from_below() {
    let exports = exports();
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| !OUTSIDE.contains(&file.house.as_str())) {
        for import in imports(&file.code, &exports) {
            if import != file.house && floor_of(&import) > floor_of(&file.house) {
                wrong.push(format!("{} imports {import}, which stands above it", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_two_files_import_each_other_but_the_neighbours_named() {
    let exports = exports();
    let mut edges: BTreeSet<(String, String)> = BTreeSet::new();
    for file in files().into_iter().filter(|file| !OUTSIDE.contains(&file.house.as_str())) {
        let imports = imports(&file.code, &exports).into_iter().filter(|import| *import != file.house);
        edges.extend(imports.map(|import| (file.house.clone(), import)));
    }
    let mutual: Vec<_> = edges.iter().filter(|(a, b)| a < b && edges.contains(&(b.clone(), a.clone()))).collect();
    let named: Vec<_> = NEIGHBOURS.iter().map(|(a, b, _)| ((*a).to_owned(), (*b).to_owned())).collect();
    let unnamed: Vec<_> = mutual.iter().filter(|pair| !named.contains(pair)).collect();
    assert!(unnamed.is_empty(), "import each other: {unnamed:?}");
    let gone: Vec<_> = named.iter().filter(|pair| !mutual.contains(pair)).collect();
    assert!(gone.is_empty(), "no longer import each other, so need no exception: {gone:?}");
}

#[test]
fn every_floor_is_taken_and_every_reason_given() {
    let houses: BTreeSet<String> = files().into_iter().map(|file| file.house).collect();
    for house in FLOORS.iter().flat_map(|(_, houses, _)| houses.iter()) {
        assert!(houses.contains(*house), "{house} is gone");
    }
    assert!(FLOORS.iter().all(|(_, _, reason)| !reason.is_empty()));
}

/// What only some files may name, with where they are.
const RESERVED: &[(&str, &[&str])] = &[
    ("bincode", &["record"]),
    ("sled::", &["store", "lib"]),
    ("serde_json", &["connection", "request", "engine", "filter"]),
    ("std::thread", &["hub", "store"]),
    ("thread::spawn", &["hub", "store"]),
    ("Instant::now", &["time", "hub", "store"]),
    ("SystemTime::now", &["time", "store"]),
    ("std::net::Tcp", &[]),
    ("tokio", &[]),
    ("println!", &[]),
];

/// What is compiled for tests and measurements alone.
const TOOLS: &[&str] = &["probes", "fuzzing"];

#[test]
fn what_is_reserved_stays_where_it_is() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| !TOOLS.contains(&file.house.as_str())) {
        for (word, houses) in RESERVED {
            if file.code.contains(word) && !houses.contains(&file.house.as_str()) {
                wrong.push(format!("{} names {word}", file.path.display()));
            }
        }
        // Within the store, only its sled side has threads, clocks and a database.
        let path = file.path.to_str().unwrap();
        let is_sled = path.starts_with("store/sled");
        let is_tool = ["store/faulty.rs", "store/conformance.rs"].contains(&path);
        let is_store = file.house == "store" && !is_sled && !is_tool;
        for word in ["std::thread", "Instant::now", "SystemTime::now", "use sled"] {
            if is_store && file.code.contains(word) {
                wrong.push(format!("{path} names {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_read_as_they_are_written() {
    let exports = BTreeMap::from([("Event".to_owned(), "output".to_owned())]);
    let code = "use crate::{Event, keys};\nuse crate::log::{self, Found};\nfn f(x: crate::id::PeerId) {}";
    let found: Vec<String> = imports(code, &exports).into_iter().collect();
    assert_eq!(found, ["id", "keys", "log", "output"]);
    assert!(!code_of("use crate::a;\n#[cfg(test)]\nmod tests {\nuse crate::b;\n}").contains("crate::b"));
}
