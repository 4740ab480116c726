//! The rules of signatures, row by row of the project's list of bad input, and the published vectors.

use std::collections::HashMap;

use super::*;

const APP: &str = "app";
const KEY: &str = "a key of 16 byte";
const OLD_KEY: &str = "an older master key";
/// A whole second, so that timestamps in seconds meet the ends of the window.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn peer(id: &str) -> PeerId {
    PeerId::new(id).unwrap()
}

fn peers(ids: &[&str]) -> Vec<PeerId> {
    ids.iter().copied().map(peer).collect()
}

fn group(id: &str) -> ConversationId {
    ConversationId::new(id).unwrap()
}

fn verifier(keys: &[&str]) -> Verifier {
    Verifier::new(APP, Keys::new(keys).unwrap()).unwrap()
}

fn signer() -> Signer {
    Signer::new(APP, KEY).unwrap()
}

/// Signs any text at all, as somebody would who finds a text that two requests share.
fn sign_raw(text: &str, timestamp: &str, nonce: &str) -> Signature {
    let signature = encode_hex(&Keys::new([KEY]).unwrap().sign(text.as_bytes()));
    Signature { timestamp: timestamp.into(), nonce: nonce.into(), signature }
}

fn open<'a>(peer: &'a PeerId, watch: &'a [PeerId]) -> Action<'a> {
    Action::Open { peer, watch, super_peer: false }
}

fn super_open<'a>(peer: &'a PeerId, watch: &'a [PeerId]) -> Action<'a> {
    Action::Open { peer, watch, super_peer: true }
}

#[derive(serde::Deserialize)]
struct Vector {
    app_id: String,
    key: String,
    action: String,
    peer: String,
    group: Option<String>,
    peers: Vec<String>,
    timestamp: String,
    nonce: String,
    text: String,
    signature: String,
    /// Whether a signer makes exactly this one, and not one of the other forms that are accepted.
    documented: bool,
}

impl Vector {
    fn check(&self) {
        let peer = peer(&self.peer);
        let list: Vec<PeerId> = self.peers.iter().map(|id| PeerId::new(id).unwrap()).collect();
        let group = self.group.as_deref().map(group);
        let action = match (self.action.as_str(), &group) {
            ("open", _) => open(&peer, &list),
            ("super", _) => super_open(&peer, &list),
            ("watch", _) => Action::Watch { peer: &peer, watch: &list },
            ("join", Some(group)) => Action::Join { peer: &peer, group },
            ("join", None) => Action::Create { peer: &peer, members: &list },
            ("invite", Some(group)) => Action::Invite { peer: &peer, group, peers: &list },
            ("kick", Some(group)) => Action::Kick { peer: &peer, group, peers: &list },
            (other, _) => panic!("no action {other}"),
        };
        let verifier = Verifier::new(&self.app_id, Keys::new([OLD_KEY, &self.key]).unwrap()).unwrap();
        let signature = Signature {
            timestamp: self.timestamp.clone(),
            nonce: self.nonce.clone(),
            signature: self.signature.clone(),
        };
        let key = Keys::new([&self.key]).unwrap().ids().next().unwrap();
        assert_eq!(verifier.verify(&action, &signature, NOW).map(|verified| verified.key), Ok(key), "{}", self.text);

        let signed =
            Signer::new(&self.app_id, &self.key).unwrap().sign_at(&action, self.timestamp.clone(), &self.nonce);
        assert_eq!(signed == Ok(signature.clone()), self.documented, "{}", self.text);

        let elsewhere = Verifier::new("other", Keys::new([&self.key]).unwrap()).unwrap();
        assert_eq!(elsewhere.verify(&action, &signature, NOW), Err(Cause::Mismatch));
    }
}

#[test]
fn published_vectors_verify_and_are_what_a_signer_makes() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../../tests/vectors/signatures.json")).unwrap();
    assert!(vectors.len() >= 25);
    vectors.iter().for_each(Vector::check);
}

#[test]
fn row_04_an_id_with_a_colon_is_not_signed_for() {
    let (plain, colon) = (peer("a"), peer("a:b"));
    let (list, colons, to) = (peers(&["c"]), peers(&["b:c"]), group("g"));
    for action in [
        open(&colon, &list),
        open(&plain, &colons),
        Action::Watch { peer: &plain, watch: &colons },
        Action::Join { peer: &plain, group: &group("g:h") },
        Action::Create { peer: &colon, members: &[] },
        Action::Create { peer: &plain, members: &colons },
        Action::Invite { peer: &plain, group: &to, peers: &colons },
        Action::Kick { peer: &plain, group: &to, peers: &colons },
    ] {
        assert_eq!(signer().sign(&action, "n", NOW), Err(Cause::Id));
        let signature = sign_raw("whatever", "1700000000", "n");
        assert_eq!(verifier(&[KEY]).verify(&action, &signature, NOW), Err(Cause::Id));
    }
    assert!(is_signable("a.b*>/ c") && !is_signable("a:b") && !is_signable(""));
    for bad in ["", "a:b", ":"] {
        assert_eq!(Verifier::new(bad, Keys::new([KEY]).unwrap()).unwrap_err(), KeyError::AppId);
        assert_eq!(Signer::new(bad, KEY).unwrap_err(), KeyError::AppId);
    }
}

#[test]
fn row_14_the_order_of_a_watch_list_does_not_matter() {
    let alice = peer("alice");
    let signature = signer().sign(&open(&alice, &peers(&["a", "b", "c", "ab"])), "n", NOW).unwrap();
    for order in [["a", "b", "c", "ab"], ["c", "ab", "b", "a"], ["ab", "c", "a", "b"]] {
        assert!(verifier(&[KEY]).verify(&open(&alice, &peers(&order)), &signature, NOW).is_ok());
    }
    for other in [&["a", "b", "c"][..], &["a", "b", "c", "ab", "ab"], &["a", "b", "c", "d"], &[]] {
        let watch = peers(other);
        assert_eq!(verifier(&[KEY]).verify(&open(&alice, &watch), &signature, NOW), Err(Cause::Mismatch));
    }
}

#[test]
fn row_14_a_thousand_ids_are_signed_like_one() {
    let many: Vec<PeerId> = (0..1000).rev().map(|at| peer(&format!("peer-{at}-{}", "x".repeat(30)))).collect();
    let alice = peer("alice");
    let signature = signer().sign(&open(&alice, &many), "n", NOW).unwrap();
    assert!(verifier(&[KEY]).verify(&open(&alice, &many), &signature, NOW).is_ok());
}

#[test]
fn row_15_a_signature_serves_once_and_after_a_restart_neither() {
    let (alice, bob) = (peer("alice"), peer("bob"));
    let signature = signer().sign(&open(&alice, &[]), "n", NOW).unwrap();
    let verified = verifier(&[KEY]).verify(&open(&alice, &[]), &signature, NOW).unwrap();
    let mut nonces = Nonces::new([7; 16], 10);

    let used = nonces.check(&alice, "n", &verified).unwrap();
    assert!(nonces.check(&alice, "n", &verified).is_ok(), "a check alone does not use it up");
    nonces.record(used);
    assert_eq!(nonces.check(&alice, "n", &verified), Err(Cause::Replayed));
    assert!(nonces.check(&bob, "n", &verified).is_ok(), "by peer");
    assert!(nonces.check(&alice, "m", &verified).is_ok());

    let mut restarted = Nonces::new([7; 16], 10);
    restarted.restore([UsedNonce::from_bytes(&used.to_bytes())]);
    assert_eq!(restarted.check(&alice, "n", &verified), Err(Cause::Replayed));
    assert_eq!(restarted.len(), 1);
}

#[test]
fn row_16_timestamps_at_both_ends_of_the_window() {
    let alice = peer("alice");
    let seconds = NOW.as_millis() / 1000;
    let verify = |timestamp: String| {
        let signature = signer().sign_at(&open(&alice, &[]), timestamp, "n").unwrap();
        verifier(&[KEY]).verify(&open(&alice, &[]), &signature, NOW).map(|verified| verified.valid_until)
    };
    assert_eq!(verify((seconds - 6 * 3600).to_string()), Ok(NOW));
    assert_eq!(verify((seconds - 6 * 3600 - 1).to_string()), Err(Cause::Window));
    assert_eq!(verify((seconds + 300).to_string()), Ok(NOW + Duration::from_secs(6 * 3600 + 300)));
    assert_eq!(verify((seconds + 301).to_string()), Err(Cause::Window));
    assert_eq!(verify((seconds * 1000 - 6 * 3_600_000).to_string()), Ok(NOW));
    assert_eq!(verify((seconds * 1000 - 6 * 3_600_000 - 1).to_string()), Err(Cause::Window));
    assert!(verify((seconds * 1000 + 300_000).to_string()).is_ok());
    assert_eq!(verify((seconds * 1000 + 300_001).to_string()), Err(Cause::Window));
}

#[test]
fn row_16_timestamps_are_plain_decimal_numbers() {
    let alice = peer("alice");
    for bad in [
        "",
        "0",
        "01",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "1e9",
        "0x1",
        "\u{661}",
        "1700000000:1",
        "12345678901234",
        "99999999999999999999",
        "1_000",
        "170000000\0",
    ] {
        let signature = sign_raw(&format!("{APP}:alice::{bad}:n"), bad, "n");
        assert_eq!(verifier(&[KEY]).verify(&open(&alice, &[]), &signature, NOW), Err(Cause::Timestamp), "{bad:?}");
    }
    for extreme in ["1", "9", "999999999999", "9999999999999", "1000000000000"] {
        let signature = sign_raw(&format!("{APP}:alice::{extreme}:n"), extreme, "n");
        assert_eq!(verifier(&[KEY]).verify(&open(&alice, &[]), &signature, NOW), Err(Cause::Window), "{extreme}");
        for now in [Timestamp::ZERO, Timestamp::from_millis(u64::MAX)] {
            let _no_overflow = verifier(&[KEY]).verify(&open(&alice, &[]), &signature, now);
        }
    }
}

#[test]
fn row_17_hex_of_either_case_and_nothing_else() {
    let alice = peer("alice");
    let signature = signer().sign(&open(&alice, &[]), "n", NOW).unwrap();
    let verify = |hex: String| {
        let signature = Signature { signature: hex, ..signature.clone() };
        verifier(&[KEY]).verify(&open(&alice, &[]), &signature, NOW).map(|_| ())
    };
    let hex = &signature.signature;
    assert_eq!(verify(hex.clone()), Ok(()));
    assert_eq!(verify(hex.to_uppercase()), Ok(()));
    for bad in [
        String::new(),
        hex[..39].into(),
        hex[..38].into(),
        format!("{hex}0"),
        format!("{hex}00"),
        format!(" {}", &hex[1..]),
        format!("{}g", &hex[..39]),
        format!("{}/", &hex[..39]),
        format!("{}\u{e9}", &hex[..38]),
        format!("0x{}", &hex[2..]),
    ] {
        assert_eq!(verify(bad.clone()), Err(Cause::Malformed), "{bad}");
    }
    let mac = decode_hex(hex).unwrap();
    for bit in 0..160 {
        let mut off = mac;
        off[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verify(encode_hex(&off)), Err(Cause::Mismatch), "bit {bit}");
    }
}

#[test]
fn row_17_an_old_key_serves_while_it_is_listed() {
    let alice = peer("alice");
    let old = Signer::new(APP, OLD_KEY).unwrap().sign(&open(&alice, &[]), "n", NOW).unwrap();
    let mut both = verifier(&[KEY, OLD_KEY]);
    let key = both.verify(&open(&alice, &[]), &old, NOW).unwrap().key;
    assert!(both.keys().contains(key));

    both.set_keys(Keys::new([KEY]).unwrap());
    assert_eq!(both.verify(&open(&alice, &[]), &old, NOW), Err(Cause::Mismatch));
    assert!(!both.keys().contains(key), "sessions that rest on it are found by its name");
    assert_eq!(KeyId::from_bytes(*key.as_bytes()), key);
}

#[test]
fn row_18_another_peer_or_another_action_never_passes() {
    let (alice, bob, to) = (peer("alice"), peer("bob"), group("g"));
    let list = peers(&["carol"]);
    let actions = [
        open(&alice, &list),
        open(&bob, &list),
        open(&alice, &[]),
        super_open(&alice, &list),
        Action::Create { peer: &alice, members: &[] },
        Action::Create { peer: &alice, members: &list },
        Action::Join { peer: &alice, group: &to },
        Action::Invite { peer: &alice, group: &to, peers: &list },
        Action::Kick { peer: &alice, group: &to, peers: &list },
        Action::Kick { peer: &bob, group: &to, peers: &list },
    ];
    for (at, signed) in actions.iter().enumerate() {
        let signature = signer().sign(signed, "n", NOW).unwrap();
        for (other, asked) in actions.iter().enumerate() {
            let verified = verifier(&[KEY]).verify(asked, &signature, NOW);
            assert_eq!(verified.is_ok(), at == other, "{signed:?} used as {asked:?}");
        }
    }
}

/// A signature of an empty list made a group with any members: the signed string did not name them.
#[test]
fn row_47_a_creation_is_signed_with_its_members() {
    let (alice, bob) = (peer("alice"), peers(&["bob"]));
    let (both, carol) = (peers(&["bob", "alice"]), peers(&["bob", "carol"]));
    let create = |members| Action::Create { peer: &alice, members };
    let signed = signer().sign(&create(&bob), "n", NOW).unwrap();
    assert_eq!(signed, sign_raw("app:alice::bob:1700000000:n:join", "1700000000", "n"));
    let verify = |action: &Action<'_>, signature| verifier(&[KEY]).verify(action, signature, NOW).map(drop);
    assert_eq!(verify(&create(&bob), &signed), Ok(()));
    assert_eq!(verify(&create(&both), &signed), Ok(()), "the creator is a member, named or not");
    for members in [&[][..], &carol] {
        assert_eq!(verify(&create(members), &signed), Err(Cause::Mismatch), "{members:?}");
    }
    let all = sign_raw("app:alice::alice:bob:1700000000:n:join", "1700000000", "n");
    assert_eq!(verify(&create(&bob), &all), Ok(()), "signed with the creator in the list");
}

#[test]
fn row_18_an_open_that_was_used_is_no_watch() {
    let alice = peer("alice");
    let list = peers(&["bob"]);
    let signature = signer().sign(&open(&alice, &list), "n", NOW).unwrap();
    let mut nonces = Nonces::new([7; 16], 10);
    let opened = verifier(&[KEY]).verify(&open(&alice, &list), &signature, NOW).unwrap();
    nonces.record(nonces.check(&alice, &signature.nonce, &opened).unwrap());

    let watch = Action::Watch { peer: &alice, watch: &list };
    let watched = verifier(&[KEY]).verify(&watch, &signature, NOW).unwrap();
    assert_eq!(nonces.check(&alice, &signature.nonce, &watched), Err(Cause::Replayed));
}

/// Asserts that two requests have the same string when nothing is forbidden, and that at most one is accepted with it.
fn assert_collision_refused(one: (&Action<'_>, &str), other: (&Action<'_>, &str), text: &str) {
    let app = AppId(APP.into());
    let mut accepted = 0;
    for (action, nonce) in [one, other] {
        let mut texts = Vec::new();
        Layout::of(action).each_text(&app, "1700000000", nonce, |text| texts.push(text.to_vec()));
        assert!(texts.contains(&text.as_bytes().to_vec()), "{action:?} can be written as {text}");
        let signature = sign_raw(text, "1700000000", nonce);
        accepted += usize::from(verifier(&[KEY]).verify(action, &signature, NOW).is_ok());
    }
    assert!(accepted <= 1, "{text} passes for both");
    let signature = sign_raw(text, "1700000000", other.1);
    assert!(verifier(&[KEY]).verify(other.0, &signature, NOW).is_err(), "{text} passes for the second");
}

#[test]
fn row_19_watching_two_peers_and_watching_one_with_a_colon() {
    let a = peer("a");
    let (two, one) = (peers(&["b", "c"]), peers(&["b:c"]));
    assert_collision_refused((&open(&a, &two), "n"), (&open(&a, &one), "n"), "app:a:b:c:1700000000:n");
}

#[test]
fn row_19_a_peer_with_a_colon_and_a_longer_watch_list() {
    let (a, ab) = (peer("a"), peer("a:b"));
    let (two, one) = (peers(&["b", "c"]), peers(&["c"]));
    assert_collision_refused((&open(&a, &two), "n"), (&open(&ab, &one), "n"), "app:a:b:c:1700000000:n");
}

#[test]
fn row_19_a_nonce_that_ends_like_a_super_peer() {
    let a = peer("a");
    let list = peers(&["b"]);
    assert_collision_refused((&super_open(&a, &list), "n"), (&open(&a, &list), "n:su"), "app:a:b:1700000000:n:su");
    assert_collision_refused((&super_open(&a, &list), "n"), (&open(&a, &list), "n:sp"), "app:a:b:1700000000:n:sp");
}

#[test]
fn row_19_a_nonce_that_ends_like_an_invitation() {
    let (a, g) = (peer("a"), group("g"));
    let (list, with_group) = (peers(&["h"]), peers(&["g", "h"]));
    let invite = Action::Invite { peer: &a, group: &g, peers: &list };
    assert_collision_refused((&invite, "n"), (&open(&a, &with_group), "n:invite"), "app:a:g:h:1700000000:n:invite");
}

#[test]
fn nonces_are_strict() {
    let alice = peer("alice");
    let long = "\u{968f}".repeat(64);
    for good in ["1", "su ", "SU", "joiner", "a b", long.as_str()] {
        assert!(signer().sign(&open(&alice, &[]), good, NOW).is_ok(), "{good}");
    }
    let (too_long, too_long_wide) = ("x".repeat(65), "\u{968f}".repeat(65));
    for bad in [
        "",
        ":",
        "a:b",
        "su",
        "sp",
        "join",
        "invite",
        "kick",
        "client-block-conversations",
        "client-unblock-conversations",
        "conversation-block-clients",
        "conversation-unblock-clients",
        &too_long,
        &too_long_wide,
    ] {
        let signature = sign_raw(&format!("{APP}:alice::1700000000:{bad}"), "1700000000", bad);
        assert_eq!(verifier(&[KEY]).verify(&open(&alice, &[]), &signature, NOW), Err(Cause::Nonce), "{bad}");
        assert_eq!(signer().sign(&open(&alice, &[]), bad, NOW), Err(Cause::Nonce), "{bad}");
    }
}

/// A request with its parts owned, in a form that two requests share exactly when they ask for the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    word: &'static str,
    peer: String,
    group: Option<String>,
    list: Vec<String>,
    timestamp: &'static str,
    nonce: &'static str,
}

/// Every request over a small alphabet that is chosen to collide, `colons` allowing ids and nonces with `:`.
fn small_requests() -> Vec<Asked> {
    let ids = ["a", "b", "a:b", "1", "su", "join"];
    let nonces = ["1", "b", "su", "join", "1:su", "a:join", "b:invite"];
    let mut lists = vec![vec![]];
    for (at, one) in ids.iter().enumerate() {
        lists.push(vec![(*one).to_owned()]);
        lists.extend(ids[at + 1..].iter().map(|two| {
            let mut pair = vec![(*one).to_owned(), (*two).to_owned()];
            pair.sort_unstable();
            pair
        }));
    }
    let mut all = Vec::new();
    for word in ["", "su", "join", "invite", "kick"] {
        let groups: Vec<Option<String>> = match word {
            "" | "su" => vec![None],
            "join" => ids.iter().map(|id| Some((*id).to_owned())).chain([None]).collect(),
            _ => ids.iter().map(|id| Some((*id).to_owned())).collect(),
        };
        for (peer, group) in ids.iter().flat_map(|id| groups.iter().map(move |group| (id, group))) {
            // Who joins names nobody; whether a creator names itself changes nothing.
            let is_join = word == "join" && group.is_some();
            let lists = lists[..if is_join { 1 } else { lists.len() }]
                .iter()
                .filter(|list| word != "join" || !list.iter().any(|id| id == peer));
            for (list, timestamp, nonce) in lists.flat_map(|list| {
                ["1", "2"].into_iter().flat_map(move |t| nonces.into_iter().map(move |n| (list, t, n)))
            }) {
                let (peer, group, list) = ((*peer).to_owned(), group.clone(), list.clone());
                all.push(Asked { word, peer, group, list, timestamp, nonce });
            }
        }
    }
    all
}

impl Asked {
    /// The strings that it may be signed as, and whether the strict rules let it pass.
    fn texts(&self) -> (Vec<Vec<u8>>, bool) {
        let (from, list) = (peer(&self.peer), peers(&self.list.iter().map(String::as_str).collect::<Vec<_>>()));
        let to = group(self.group.as_deref().unwrap_or("none"));
        let action = match self.word {
            "" => open(&from, &list),
            "su" => super_open(&from, &list),
            "join" if self.group.is_none() => Action::Create { peer: &from, members: &list },
            "join" => Action::Join { peer: &from, group: &to },
            "invite" => Action::Invite { peer: &from, group: &to, peers: &list },
            _ => Action::Kick { peer: &from, group: &to, peers: &list },
        };
        let layout = Layout::of(&action);
        let mut texts = Vec::new();
        layout.each_text(&AppId(APP.into()), self.timestamp, self.nonce, |text| texts.push(text.to_vec()));
        (texts, layout.check().is_ok() && check_nonce(self.nonce).is_ok())
    }
}

/// Counts the strings that two different requests share.
fn collisions(strict: bool) -> usize {
    let mut seen: HashMap<Vec<u8>, Asked> = HashMap::new();
    let mut collisions = 0;
    for asked in small_requests() {
        let (texts, passes) = asked.texts();
        for text in texts.into_iter().filter(|_| passes || !strict) {
            let first = seen.entry(text).or_insert_with(|| asked.clone());
            collisions += usize::from(*first != asked);
        }
    }
    collisions
}

#[test]
fn row_19_no_two_requests_share_a_string_under_the_strict_rules() {
    assert!(collisions(false) > 100, "the alphabet is one that collides");
    assert_eq!(collisions(true), 0);
}

#[test]
fn keys_refuse_what_is_too_short_and_tell_nothing() {
    assert_eq!(Keys::new(["15 bytes only .."; 0]).unwrap_err(), KeyError::NoKey);
    assert_eq!(Keys::new(["123456789012345"]).unwrap_err(), KeyError::TooShort { min: 16 });
    assert_eq!(Keys::new([KEY, ""]).unwrap_err(), KeyError::TooShort { min: 16 });
    let many: Vec<String> = (0..17).map(|at| format!("a key of 16 bytes {at}")).collect();
    assert_eq!(Keys::new(&many).unwrap_err(), KeyError::TooMany { max: 16 });
    assert_eq!(Keys::new([KEY, KEY]).unwrap().ids().count(), 1);

    let shown = format!("{:?} {:?}", verifier(&[KEY]), signer());
    assert!(!shown.contains(KEY) && shown.contains("Keys["), "{shown}");
    let signature = signer().sign(&open(&peer("a"), &[]), "n", NOW).unwrap();
    assert!(!format!("{signature:?}").contains(&signature.signature));
}

fn verified(valid_until: u64) -> Verified {
    Verified { key: KeyId::from_bytes([0; 8]), valid_until: Timestamp::from_millis(valid_until) }
}

#[test]
fn a_full_memory_refuses_until_something_expires() {
    let alice = peer("alice");
    let mut nonces = Nonces::new([7; 16], 2);
    for (nonce, until) in [("a", 5_000), ("b", 25_000)] {
        nonces.record(nonces.check(&alice, nonce, &verified(until)).unwrap());
    }
    assert_eq!(nonces.check(&alice, "c", &verified(30_000)), Err(Cause::NoncesFull));
    assert_eq!(nonces.check(&alice, "a", &verified(5_000)), Err(Cause::Replayed), "the true cause where it is known");
    assert_eq!(nonces.next_expiry(), Some(Timestamp::from_millis(10_000)));
    assert_eq!(nonces.expire(Timestamp::from_millis(9_999), 100), 0);
    assert_eq!(nonces.expire(Timestamp::from_millis(10_000), 100), 1);
    assert!(nonces.check(&alice, "c", &verified(30_000)).is_ok());
    assert_eq!(nonces.check(&alice, "a", &verified(5_000)), Err(Cause::Window), "time went back: not used again");
}

#[test]
fn nonces_expire_in_bounded_steps_and_never_early() {
    let mut nonces = Nonces::new([7; 16], 10_000);
    for at in 0..1_000_u64 {
        let until = at * 7_919 % 100_000;
        nonces.record(nonces.check(&peer(&format!("p{at}")), "n", &verified(until)).unwrap());
    }
    let now = Timestamp::from_millis(50_000);
    let mut left = 1_000;
    loop {
        let expired = nonces.expire(now, 64);
        assert!(expired <= 64);
        left -= expired;
        assert_eq!(nonces.len(), left);
        if expired == 0 {
            break;
        }
    }
    for at in 0..1_000_u64 {
        let until = at * 7_919 % 100_000;
        let check = nonces.check(&peer(&format!("p{at}")), "n", &verified(until));
        assert_eq!(check, Err(if until < 50_000 { Cause::Window } else { Cause::Replayed }));
    }
    assert_eq!(nonces.expire(Timestamp::from_millis(u64::MAX), usize::MAX), left);
    assert!(nonces.is_empty() && nonces.next_expiry().is_none());
}

#[test]
fn restoring_more_than_fits_keeps_all_and_refuses_new_ones() {
    let nonces = Nonces::new([7; 16], 1_000);
    let entries: Vec<UsedNonce> =
        (0..3).map(|at| nonces.check(&peer(&format!("p{at}")), "n", &verified(at)).unwrap()).collect();
    let mut small = Nonces::new([7; 16], 2);
    small.restore(entries.iter().chain(&entries).copied());
    assert_eq!(small.len(), 3);
    assert_eq!(small.check(&peer("p2"), "n", &verified(2)), Err(Cause::Replayed));
    assert_eq!(small.check(&peer("p9"), "n", &verified(2)), Err(Cause::NoncesFull));
}

#[test]
fn the_parts_of_a_nonces_hash_do_not_run_together() {
    let nonces = Nonces::new([7; 16], 1);
    assert_ne!(nonces.check(&peer("ab"), "c", &verified(1)), nonces.check(&peer("a"), "bc", &verified(1)));
    assert_ne!(
        Nonces::new([8; 16], 1).check(&peer("a"), "b", &verified(1)),
        nonces.check(&peer("a"), "b", &verified(1))
    );
}
