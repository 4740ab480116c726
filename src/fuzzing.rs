//! The bodies of the fuzz targets, as plain functions of bytes: `fuzz/` runs them on what it invents, the tests on what it
//! found. Each panics where a promise is broken.

use crate::id::{ConversationId, PeerId};
use crate::rows::conversation::ConversationRow;
use crate::rows::deletion::DeletionRow;
use crate::rows::device::DeviceRow;
use crate::rows::entry;
use crate::rows::index::IndexRow;
use crate::rows::member::MemberRow;
use crate::rows::nonce::NonceRow;
use crate::rows::peer::PeerRow;
use crate::rows::reads::ReadsRow;
use crate::rows::recipients::RecipientsRow;
use crate::rows::record::{self, Chunk, ChunkBuilder, Kind, RecordError};
use crate::rows::token::TokenRow;
use crate::rows::{keys, meta};
use crate::signature::{Action, Keys, Signature, Signer, Verifier};
use crate::time::Timestamp;

mod client;
mod frames;
mod hubs;
mod ledger;
mod moods;
#[cfg(feature = "sled")]
mod salvage;
mod sessions;
mod storms;

pub use frames::frames;
pub use hubs::hubs;
#[cfg(feature = "sled")]
pub use salvage::salvage;
pub use sessions::sessions;
pub use storms::{hooks, restarts};

/// A target: its name, which is its corpus folder's too, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("filter", filter),
    ("frames", frames),
    ("hooks", hooks),
    ("hubs", hubs),
    ("keys", keys),
    ("peer_ids", peer_ids),
    ("records", records),
    ("restarts", restarts),
    #[cfg(feature = "sled")]
    ("salvage", salvage),
    ("sessions", sessions),
    ("signatures", signatures),
];

/// Bytes as decisions; zeros where there are none left.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    fn number(&mut self) -> u64 {
        let bytes = std::array::from_fn(|_| self.byte());
        u64::from_be_bytes(bytes)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Rows: what was written is read, whatever else is an error. Arbitrary bytes and single flipped bits alike.
pub fn records(data: &[u8]) {
    let (key, row) = data.split_at(data.len().min(9));
    read_anything(key, row);
    let mut choices = Choices(data);
    let (flipped, bit) = (choices.number(), choices.below(8));
    let rest = choices.0;
    let numbers: Vec<u64> = rest.iter().map(|byte| u64::from(*byte) << (byte % 57)).collect();
    let Ok(sealed) = record::seal(Kind::Index, key, &numbers) else { return };
    assert_eq!(record::open::<Vec<u64>>(Kind::Index, key, &sealed), Ok(numbers), "a row is what was written");
    assert!(record::open::<Vec<u64>>(Kind::Peer, key, &sealed).is_err(), "a row is of its kind");
    let damaged = flip(&sealed, flipped, bit);
    assert!(record::open::<Vec<u64>>(Kind::Index, key, &damaged).is_err(), "a flipped bit is found");
    chunks(key, rest, flipped, bit);
}

fn read_anything(key: &[u8], row: &[u8]) {
    let _: Result<Vec<u64>, RecordError> = record::open(Kind::Index, key, row);
    let _: Result<&str, RecordError> = record::open(Kind::Peer, key, row);
    let _: Result<(u64, Option<&[u8]>), RecordError> = record::open(Kind::Tokens, key, row);
    let Ok(chunk) = Chunk::parse(key, row) else { return };
    for at in 0..chunk.len() {
        let _: Option<Result<&[u8], RecordError>> = chunk.record(at);
        let _: Option<Result<(u64, &str), RecordError>> = chunk.decode(at);
    }
}

/// The records of a chunk one by one: a flipped bit costs at most what it hits, and never changes what is read.
fn chunks(key: &[u8], rest: &[u8], flipped: u64, bit: usize) {
    let written: Vec<&[u8]> = rest.chunks(7).collect();
    let mut builder = ChunkBuilder::new();
    for record in &written {
        builder.push(record).expect("small records fit");
    }
    if builder.is_empty() {
        return;
    }
    let row = builder.finish(key);
    let read = |row: &[u8]| {
        let chunk = Chunk::parse(key, row).ok()?;
        Some((0..chunk.len()).map(|at| chunk.decode::<&[u8]>(at)?.ok().map(<[u8]>::to_vec)).collect::<Vec<_>>())
    };
    let whole: Vec<_> = written.iter().map(|record| Some(record.to_vec())).collect();
    assert_eq!(read(&row).as_ref(), Some(&whole), "a chunk is what was written");
    for (record, original) in read(&flip(&row, flipped, bit)).unwrap_or_default().iter().zip(&whole) {
        assert!(record.is_none() || record == original, "a damaged record is never another one");
    }
}

fn flip(row: &[u8], at: u64, bit: usize) -> Vec<u8> {
    let mut damaged = row.to_vec();
    let at = usize::try_from(at % row.len().max(1) as u64).unwrap_or_default();
    damaged.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
    damaged
}

/// Keys of rows: the order of bytes is the order of numbers, kinds do not mix, numbers come back.
pub fn keys(data: &[u8]) {
    let mut choices = Choices(data);
    let (a, b) = ([choices.number(), choices.number()], [choices.number(), choices.number()]);
    for make in [entry::key, MemberRow::key, DeletionRow::key, TokenRow::key, NonceRow::key] {
        let (first, second) = (make(a[0], a[1]), make(b[0], b[1]));
        assert_eq!(first.cmp(&second), a.cmp(&b), "order");
        assert_eq!([keys::number(&first, 0), keys::number(&first, 1)], a, "numbers come back");
    }
    for make in [PeerRow::key, ConversationRow::key, IndexRow::key] {
        assert_eq!(make(a[0]).cmp(&make(b[0])), a[0].cmp(&b[0]), "order");
        assert_eq!(keys::number(&make(a[0]), 0), a[0], "numbers come back");
    }
    let letters = *b"pdrcglxitnw";
    let made = [
        PeerRow::key(a[0]),
        DeviceRow::key(a[0], a[1], b[0]),
        ReadsRow::key(a[0], b[0]),
        ConversationRow::key(a[0]),
        MemberRow::key(a[0], a[1]),
        entry::key(a[0], a[1]),
        DeletionRow::key(a[0], a[1]),
        IndexRow::key(a[0]),
        TokenRow::key(a[0], a[1]),
        NonceRow::key(a[0], a[1]),
        RecipientsRow::key(a[0], a[1], b[0]),
    ];
    for letter in letters {
        let within = made.iter().filter(|key| keys::all(letter).contains(*key));
        assert!(within.eq(made.iter().filter(|key| key.first() == Some(&letter))), "kinds do not mix");
    }
    let name = String::from_utf8_lossy(data);
    assert!(keys::all(meta::LETTER).contains(&meta::key(&name)), "names stay among names");
    let at = choices.below(4);
    assert!(data.len() >= 9 + 8 * at || keys::number(data, at) == 0, "a short key has zeros");
}

/// Ids of peers: exactly those that the rules allow, and echoed as they came.
pub fn peer_ids(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match PeerId::new(text) {
        Ok(id) => {
            assert!(is_allowed(text), "{text:?} is accepted");
            assert_eq!((id.as_str(), id.to_string().as_str()), (text, text), "an echo is what came");
            assert!(!format!("{id:?}").chars().any(char::is_control), "a log line stays one line");
        }
        Err(error) => {
            assert!(!is_allowed(text), "{text:?} is refused");
            assert_eq!(crate::Error::from(error).code(), 4103);
        }
    }
}

/// The rules as decisions.md has them, in other words than `id` does: nothing that shows nothing, no blank at an end.
fn is_allowed(text: &str) -> bool {
    let (Some(first), Some(last)) = (text.chars().next(), text.chars().next_back()) else { return false };
    let hidden: [(u32, u32); 20] = [
        (0x0, 0x1F),
        (0x7F, 0x9F),
        (0xAD, 0xAD),
        (0x34F, 0x34F),
        (0x61C, 0x61C),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x200B, 0x200F),
        (0x2028, 0x202E),
        (0x2060, 0x206F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFEFF, 0xFEFF),
        (0xFFA0, 0xFFA0),
        (0xFFF9, 0xFFFB),
        (0xE0000, 0xE0FFF),
        (0x2028, 0x2029),
        (0x0, 0x0),
        (0x7F, 0x7F),
    ];
    let shows = |c: char| hidden.iter().all(|(from, to)| !(*from..=*to).contains(&u32::from(c)));
    let length = text.chars().count();
    (1..=50).contains(&length)
        && text.len() <= 200
        && text.chars().all(shows)
        && !first.is_whitespace()
        && !last.is_whitespace()
}

/// Signatures: one that was made for one thing never serves for another.
pub fn signatures(data: &[u8]) {
    const KEY: &str = "the master key of the fuzzed application";
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    let (Ok(signer), Ok(keys)) = (Signer::new("app", KEY), Keys::new([KEY])) else { return };
    let Ok(verifier) = Verifier::new("app", keys) else { return };
    let mut choices = Choices(data);
    let (first, second) = (Wish::choose(&mut choices), Wish::choose(&mut choices));
    let Ok(signature) = signer.sign(&first.action(), &first.nonce, NOW) else { return };
    assert!(verifier.verify(&first.action(), &signature, NOW).is_ok(), "what was signed is accepted");
    let presented =
        Signature { nonce: second.nonce.clone(), timestamp: second.timestamp(&signature), ..signature.clone() };
    if verifier.verify(&second.action(), &presented, NOW).is_ok() {
        assert_eq!(first.meaning(), second.meaning(), "two wishes share a signature");
        assert_eq!(
            (&first.nonce, &signature.timestamp),
            (&second.nonce, &presented.timestamp),
            "and its once-only parts"
        );
    }
}

/// Something that one may want signed, out of few and awkward parts.
struct Wish {
    kind: usize,
    peer: PeerId,
    group: ConversationId,
    list: Vec<PeerId>,
    nonce: String,
    late: bool,
}

/// What a wish comes to: its kind, who, where, and whom in any order.
type Meaning<'a> = (usize, &'a str, &'a str, Vec<&'a str>);

impl Wish {
    const WORDS: [&'static str; 12] =
        ["a", "b", "a:b", "su", "sp", "join", "invite", "kick", "1700000000", "n", "\u{ff21}", "\u{10000}"];

    fn choose(choices: &mut Choices<'_>) -> Self {
        let word = |choices: &mut Choices<'_>| Self::WORDS[choices.below(Self::WORDS.len())];
        let peer = |choices: &mut Choices<'_>| PeerId::new(word(choices)).expect("a legal id");
        Self {
            kind: choices.below(6),
            peer: peer(choices),
            group: ConversationId::new(word(choices)).expect("a legal id"),
            list: (0..choices.below(4)).map(|_| peer(choices)).collect(),
            nonce: word(choices).to_owned(),
            late: choices.below(8) == 0,
        }
    }

    fn action(&self) -> Action<'_> {
        let (peer, group, list) = (&self.peer, &self.group, &self.list[..]);
        match self.kind {
            0 => Action::Open { peer, watch: list, super_peer: false },
            1 => Action::Open { peer, watch: list, super_peer: true },
            2 => Action::Join { peer, group },
            3 => Action::Create { peer, members: list },
            4 => Action::Invite { peer, group, peers: list },
            _ => Action::Kick { peer, group, peers: list },
        }
    }

    fn timestamp(&self, signature: &Signature) -> String {
        if self.late { "1700000001".to_owned() } else { signature.timestamp.clone() }
    }

    fn meaning(&self) -> Meaning<'_> {
        let mut list: Vec<&str> = self.list.iter().map(PeerId::as_str).collect();
        list.sort_unstable();
        let (group, list) = match self.kind {
            0 | 1 => ("", list),
            2 => (self.group.as_str(), Vec::new()),
            3 => ("", list.into_iter().filter(|id| *id != self.peer.as_str()).collect()),
            _ => (self.group.as_str(), list),
        };
        (self.kind, self.peer.as_str(), group, list)
    }
}

/// The word filter: never longer than allowed, quiet where nothing is hit, and JSON stays JSON.
pub fn filter(data: &[u8]) {
    use crate::filter::WordFilter;
    let text = String::from_utf8_lossy(data);
    let (words, content) = text.split_once('\n').unwrap_or(("bad\tworse", &text));
    let Ok(filter) = WordFilter::new(words.split('\t').take(16)) else { return };
    let max = content.len().max(8);
    for masked in [filter.mask(content, max), filter.mask_message(content, max)].into_iter().flatten() {
        assert!(masked.len() <= max, "a masked text is no longer than it may be");
        assert!(masked.contains('*') && masked != content || content.contains('*'), "something was masked");
    }
    // Of what is no typed message all is masked as it stands, which may leave no JSON.
    let Some(typed) = typed_message(content) else { return };
    let Some(masked) = filter.mask_message(content, max) else { return };
    let masked = typed_message(&masked).expect("a typed message stays one");
    assert_eq!(around_the_text(masked), around_the_text(typed), "only the text is masked");
}

type Fields = serde_json::Map<String, serde_json::Value>;

/// A JSON object that has a key `_lctype`: one that only contains the word is a text like any other.
fn typed_message(content: &str) -> Option<Fields> {
    serde_json::from_str(content).ok().filter(|fields: &Fields| fields.contains_key("_lctype"))
}

fn around_the_text(mut fields: Fields) -> Fields {
    fields.remove("_lctext");
    fields
}
