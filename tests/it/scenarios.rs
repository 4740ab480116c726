//! Text scenarios: steps with everything that everyone saw after each, indented. A change of behaviour is a change of text.
//!
//! `UPDATE=1 cargo test --test it scenarios` writes what is seen into the files; read the difference before you keep it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::commands::config_of;
use crate::world::World;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

/// The scenario's steps and comments, each followed by what it shows now.
fn play(scenario: &str) -> String {
    let lines: Vec<&str> = scenario.lines().filter(|line| !line.starts_with("  ")).collect();
    let mut world = World::with(config_of(&lines));
    let mut transcript = String::new();
    for line in lines {
        transcript += line;
        transcript += "\n";
        if line.is_empty() || line.starts_with('#') || line.starts_with("config ") {
            continue;
        }
        for seen in world.run(line) {
            transcript += &format!("  {seen}\n");
        }
    }
    transcript
}

#[test]
fn every_scenario_shows_what_it_says() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for file in files() {
        let expected = fs::read_to_string(&file).unwrap();
        let seen = play(&expected);
        if update {
            fs::write(&file, &seen).unwrap();
        } else if seen != expected {
            wrong.push(difference(&file, &expected, &seen));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(file: &Path, expected: &str, seen: &str) -> String {
    let at = expected.lines().zip(seen.lines()).position(|(expected, seen)| expected != seen);
    let at = at.unwrap_or_else(|| expected.lines().count().min(seen.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(the end)").to_owned();
    format!("{}:{}\n  expected {}\n  seen     {}", file.display(), at + 1, line(expected), line(seen))
}

#[test]
fn there_are_scenarios() {
    assert!(files().len() >= 25, "only {}", files().len());
}
