//! The same calls with the same seed give the same outputs, byte for byte: a long random life, lived twice.

use switchboard::Config;
use switchboard::store::Durability;
use switchboard::store::faulty::FaultyStore;

use crate::world::World;

/// Scattered bits from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

const PEERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const SESSIONS: [&str; 9] = ["a", "b", "c", "d", "e", "a/phone", "a/desk", "b/phone", "f/phone"];
const GROUPS: [&str; 8] = ["G1", "G2", "U1", "U2", "R1", "R2", "T1", "T2"];

/// The next step of a random life. `at` makes texts and tokens new.
fn step(random: &mut Random, world: &World, at: usize) -> String {
    let (who, peer, other, group) = (random.of(&SESSIONS), random.of(&PEERS), random.of(&PEERS), random.of(&GROUPS));
    let seen: Vec<&String> = world.seen.keys().collect();
    let text = if seen.is_empty() { None } else { Some(seen[random.below(seen.len())].clone()) };
    let words = |text: &String| !text.is_empty() && !text.contains(' ');
    match random.below(44) {
        0..4 => {
            format!("{who} opens {}", random.of(&["", "", "tag t", "tag t reconnecting", "watch a, b, c", "account x"]))
        }
        4 => format!("{who} resumes"),
        5 => format!("{who} drops"),
        6 => match random.below(4) {
            0 => format!("host kicks {peer}"),
            _ => format!("{who} closes"),
        },
        7 => format!("{who} watches {peer}, {other}x"),
        8 => format!("{who} {} {peer}", random.of(&["unwatches", "asks for"])),
        9..17 => {
            let options = random.of(&["", "", "", " (receipt)", " (transient)", " (push hey)", " (receipt, retry t1)"]);
            let to = random.of(&["", ", a", ", c, d"]);
            format!("{who}> {peer}{to}{options}: m{at}")
        }
        17..22 => format!("{who}> @{group}{}: g{at}", random.of(&["", "", " (transient)", " (retry g1)"])),
        22 => {
            format!("{who} makes {} of {peer}, {other}", random.of(&["group G1", "group G2", "unique U1", "unique U2"]))
        }
        23 => format!(
            "{who} makes {}",
            random.of(&["room R1", "room R2", "temporary T1 for 50s of a, b", "temporary T2 for 90s of b"])
        ),
        24..26 => format!("{who} joins {group}"),
        26 => format!("{who} leaves {group}"),
        27 => format!("{who} invites {peer}, {other} to {group}"),
        28 => format!("{who} kicks {peer} from {group}"),
        29 => format!("{who} {} {group}", random.of(&["members", "describes", "counts"])),
        30 => format!("{who} {}", random.of(&["lists", "unread"])),
        31 => format!("{who} history {group} {} {}", random.of(&["newest", "oldest"]), random.of(&["1", "5", "100"])),
        32..34 => format!("{who} {}", random.of(&["acks", "acks and reads"])),
        34 => format!("{who} reads {group}"),
        35 => format!(
            "hook message {}",
            random.of(&["default", "default", "drops", "defers", "panics", "narrows to a, b", "says so"])
        ),
        36 => format!(
            "hook {}",
            random.of(&["offline default", "offline skips", "offline defers", "sign-in yes", "sign-in defers"])
        ),
        37 => format!("resolve {}", random.of(&["default", "drops", "yes", "no", "push skips"])),
        38 => random
            .of(&["filter m", "filter off", "host history of everyone newest 20", "host history by a oldest 9"])
            .to_owned(),
        39 => format!("wait {}", random.of(&["1ms", "300ms", "1s", "3s", "6s", "45s", "5m", "31m"])),
        40 => random.of(&["commits off", "commits on", "commits on", "commit"]).to_owned(),
        41 => random
            .of(&["store fails 2", "store full", "store has space", "store has space", "host confirms time"])
            .to_owned(),
        42 => match random.below(12) {
            0 => "restart".to_owned(),
            1 => "jump 2h".to_owned(),
            2..5 => text.filter(words).map_or("commit".to_owned(), |text| format!("host deletes {text}")),
            _ => format!("host as {peer}> {other}: h{at}"),
        },
        _ => format!("{who} {}", random.of(&["stops reading at 3", "reads on", "reads freely"])),
    }
}

/// A life of some steps: a number that stands for all its outputs, how many they were, and its log.
fn live(seed: u64, steps: usize) -> (u64, u64, Vec<String>) {
    let config = Config { offline_messages_max: 8, chunk_bytes_max: 512, batch_rows_max: 16, ..Config::default() };
    let mut world = World::on(config, FaultyStore::new(Durability::Fsync));
    world.tells_events = true;
    let mut random = Random(seed);
    let mut log = Vec::new();
    // Shown by the test runner where the life ends badly.
    for at in 0..steps {
        let step = step(&mut random, &world, at);
        println!("{seed}.{at} {step}");
        let seen = world.run(&step);
        seen.iter().for_each(|line| println!("    {line}"));
        log.push(step);
        log.extend(seen);
    }
    (world.fingerprint(), world.outputs_seen, log)
}

#[test]
fn the_same_life_twice_is_the_same_to_the_last_byte() {
    let (first, outputs, log) = live(1, 4_000);
    let (second, _, again) = live(1, 4_000);
    let differs = log.iter().zip(&again).position(|(one, other)| one != other);
    assert_eq!(differs, None, "{:?}", differs.map(|at| (&log[at], &again[at])));
    assert_eq!(first, second);
    assert!(outputs > 4_000, "only {outputs} outputs: that is no life");
}

#[test]
fn another_seed_is_another_life() {
    assert_ne!(live(2, 300).0, live(3, 300).0);
}

/// `LIVES=500 cargo test --test it no_life` looks harder. A world checks by itself that every session sees each conversation
/// in order and nothing twice, and hears first of all that it is open.
#[test]
fn no_life_ends_in_a_panic() {
    let lives = std::env::var("LIVES").ok().and_then(|lives| lives.parse().ok()).unwrap_or(8);
    (10..10 + lives).for_each(|seed| drop(live(seed, 1_200)));
}
