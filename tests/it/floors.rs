//! The floors of the house: a file imports only from floors below its own, or from its own folder; and the three floors of
//! the engine call only downwards. `src/lib.rs` shows the same floors as a map.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the ground up: what stands on each, by the name of its root file or folder, and why it stands there.
const FLOORS: &[(&[&str], &str)] = &[
    (&["time", "slots", "table", "runs", "store"], "ground: numbers, tables and bytes, no word of the domain"),
    (&["timers", "cursor", "id", "config"], "ground: deadlines, cursors; words: parsed ids and limits"),
    (&["error", "filter"], "words: the codes, for which an id is refused; rules that know ids alone"),
    (&["signature", "conversation", "page"], "words: a conversation's kind and fields; rules: who may"),
    (&["message"], "words: a message names its conversation's kind"),
    (&["rows"], "all that is stored: rows are made of words, and their envelope tells the host what is damaged"),
    (&["request", "update", "hooks"], "words: what is said to the engine and to a client; questions to the host"),
    (&["event"], "words: what the host is told, the answers to what it asked among them"),
    (&["output"], "words: work for the host carries updates and events"),
    (&["log"], "one conversation's log: entries are messages, what cannot be read is a gap"),
    (&["state"], "the nouns"),
    (&["gate", "connection"], "what is staged and what waits for it; the wire, which knows words alone"),
    (&["engine"], "the verbs join the nouns"),
    (&["hub"], "the face for many threads"),
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

fn floor_of(house: &str) -> usize {
    let floor = FLOORS.iter().position(|(houses, _)| houses.contains(&house));
    floor.unwrap_or_else(|| panic!("{house} has no floor: give it one in tests/it/floors.rs"))
}

#[test]
fn every_file_imports_from_below() {
    let exports = exports();
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| !OUTSIDE.contains(&file.house.as_str())) {
        for import in imports(&file.code, &exports) {
            if import != file.house && floor_of(&import) >= floor_of(&file.house) {
                wrong.push(format!("{} imports {import}, which does not stand below it", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_floor_is_taken_and_every_reason_given() {
    let houses: BTreeSet<String> = files().into_iter().map(|file| file.house).collect();
    for house in FLOORS.iter().flat_map(|(houses, _)| houses.iter()) {
        assert!(houses.contains(*house), "{house} is gone");
    }
    assert!(FLOORS.iter().all(|(_, reason)| !reason.is_empty()));
}

/// The floors of the engine, from below: a part calls parts, a verb calls parts and its own file, flow calls all.
const ENGINE: &[&str] = &["parts", "verbs", "flow"];

/// Where a file of the engine stands, by its path below `src`.
fn engine_floor(path: &Path) -> Option<usize> {
    let floor = path.strip_prefix("engine").ok()?.iter().next()?.to_str()?;
    ENGINE.iter().position(|name| floor.trim_end_matches(".rs") == *name)
}

/// The methods that a file gives the engine.
fn methods(code: &str) -> BTreeSet<String> {
    let names = code.split("\n    ").filter_map(|line| {
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ").trim_start_matches("const ");
        Some(first_word(line.strip_prefix("fn ")?))
    });
    names.collect()
}

/// The methods that a file calls on the engine, whatever it calls it, by `Self::` too.
fn calls(code: &str) -> BTreeSet<String> {
    let joined: String = code.split_whitespace().collect::<Vec<_>>().join(" ").replace(" .", ".");
    let mut called = BTreeSet::new();
    for name in ["self.", "engine.", "Self::", "Engine::"] {
        for rest in joined.split(name).skip(1) {
            let method = first_word(rest);
            if rest[method.len()..].starts_with('(') {
                called.insert(method);
            }
        }
    }
    called
}

#[test]
fn the_engine_calls_downwards() {
    let engine: Vec<(File, usize)> =
        files().into_iter().filter_map(|file| engine_floor(&file.path).map(|floor| (file, floor))).collect();
    let mut home = BTreeMap::new();
    for (file, floor) in &engine {
        for method in methods(&file.code) {
            home.insert(method, (file.path.clone(), *floor));
        }
    }
    let mut wrong = Vec::new();
    for (file, floor) in &engine {
        for called in calls(&file.code) {
            let Some((path, below)) = home.get(&called).filter(|(path, _)| *path != file.path) else { continue };
            let is_verb_of_another = *below == 1 && *floor == 1;
            if below > floor || is_verb_of_another {
                wrong.push(format!("{} calls {called}, which is at home in {}", file.path.display(), path.display()));
            }
        }
        for (name, above) in ENGINE.iter().zip(0..).filter(|(_, above)| above > floor) {
            if file.code.contains(&format!("engine::{name}::")) {
                wrong.push(format!("{} imports from {name}, floor {above} of the engine", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn calls_are_read_as_they_are_written() {
    let code =
        "impl Engine {\n    pub(crate) fn a(&self) {\n        self\n            .b(1);\n        self.c;\n    }\n}";
    assert_eq!(methods(code), BTreeSet::from(["a".to_owned()]));
    assert_eq!(calls(code), BTreeSet::from(["b".to_owned()]));
}

/// What only some files may name, with where they are.
const RESERVED: &[(&str, &[&str])] = &[
    ("bincode", &["rows"]),
    ("sled::", &["store", "lib"]),
    ("serde_json", &["connection", "conversation", "engine", "filter"]),
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
        if file.house == "rows" && !file.path.ends_with("record.rs") && file.code.contains("bincode") {
            wrong.push(format!("{} names bincode", file.path.display()));
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
