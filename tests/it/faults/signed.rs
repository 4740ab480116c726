//! Rows 14 to 20: watch lists and signatures.

use std::time::Duration;

use switchboard::signature::{Action, Signer};
use switchboard::{Config, Credentials, Open, PeerId, Request, Signature, SignatureChecks};

use crate::world::{World, peer};

const REFUSED: &str = "refused: 4102 signature failed";
const KEY: &[u8] = b"the master key of the tests";

fn signing() -> World {
    World::with(Config { signatures: SignatureChecks::ALL, ..Config::default() })
}

/// What opening with this signature shows, without the reason that only the host hears.
fn open_with(world: &mut World, name: &str, signature: Signature) -> String {
    let open = Open { credentials: Credentials::Signature(signature), ..world.opening(name) };
    let from = world.log.len();
    world.open(name, open);
    world.log.split_off(from).into_iter().find(|line| !line.starts_with("host:")).unwrap_or_default()
}

fn signed_open(id: &str, watch: &[PeerId], nonce: &str, world: &World) -> Signature {
    let action = Action::Open { peer: &peer(id), watch, super_peer: false };
    Signer::new("app", KEY).unwrap().sign(&action, nonce, world.now).unwrap()
}

#[test]
fn row_14_a_watch_list_is_taken_whole_or_not_at_all() {
    let mut world = World::new();
    world.run("alice opens");
    let limit = "refused: 4318 over the limit watched_per_request_max (100)";
    assert_eq!(world.run("alice watches p1..p100000"), [limit]);
    assert_eq!(world.run("alice watches bob, bob"), ["refused: 4114 unparseable message"]);
    assert_eq!(world.engine.metrics().peers, 1);
    for hundred in 0..10 {
        let range = format!("alice watches q{}..q{}", hundred * 100 + 1, hundred * 100 + 100);
        assert_eq!(world.run(&range), ["alice <- online: -"]);
    }
    assert_eq!(world.run("alice watches alice"), ["refused: 4318 over the limit watched_max (1000)"]);
    assert_eq!(world.run("alice unwatches q7\nalice watches alice"), ["alice <- done", "alice <- online: alice"]);
}

#[test]
fn row_14_a_list_that_does_not_fit_changes_nothing_of_what_was_watched() {
    let mut world = World::new();
    // At the door: no session, no peer.
    let everyone: Vec<PeerId> = (0..100_000).map(|n| peer(&format!("p{n}"))).collect();
    for watch in [everyone.clone(), vec![peer("bob"), peer("carol"), peer("bob")]] {
        let open = Open { watch, ..world.opening("alice") };
        assert!(world.engine.open(open, world.now).is_err());
        let metrics = world.engine.metrics();
        assert_eq!((metrics.peers, metrics.sessions), (0, 0));
    }
    // With one place left: of two none is watched, then one is.
    world.run("alice opens\nbob opens\ncarol opens");
    (0..10).for_each(|n| drop(world.run(&format!("alice watches q{}..q{}", n * 100 + 1, n * 100 + 100))));
    world.run("alice unwatches q7");
    let peers = world.engine.metrics().peers;
    let full = ["refused: 4318 over the limit watched_max (1000)"];
    assert_eq!(world.run("alice watches bob, carol"), full);
    let mut request = |peers| {
        let from = world.log.len();
        world.request("alice", Request::Watch { peers, signature: None });
        world.log.split_off(from)
    };
    assert_eq!(request(everyone), ["refused: 4318 over the limit watched_per_request_max (100)"]);
    assert_eq!(request(vec![peer("carol"), peer("carol")]), full);
    assert_eq!(world.engine.metrics().peers, peers);
    world.run("alice unwatches q8, q9");
    assert_eq!(world.run("alice watches carol, bob, carol"), ["refused: 4114 unparseable message"]);
    assert_eq!(world.run("bob drops\nwait 2s"), [""; 0], "bob was never watched");
    assert_eq!(world.run("alice watches carol"), ["alice <- online: carol"]);
    assert_eq!(world.run("carol drops\nwait 2s"), ["alice <- presence: online -, offline carol"]);
}

#[test]
fn row_14_the_order_of_a_signed_list_does_not_matter() {
    let mut world = signing();
    let signature = signed_open("alice", &[peer("bob"), peer("Carol"), peer("dave")], "n", &world);
    let watch = vec![peer("dave"), peer("bob"), peer("Carol")];
    let open = Open { credentials: Credentials::Signature(signature), watch, ..world.opening("alice") };
    world.open("alice", open);
    assert_eq!(world.log, ["alice <- opened, online: -"]);
}

#[test]
fn row_15_a_replayed_signature_is_as_bad_as_a_wrong_one() {
    let mut world = signing();
    let signature = signed_open("alice", &[], "once", &world);
    assert_eq!(open_with(&mut world, "alice", signature.clone()), "alice <- opened, online: -");
    assert_eq!(open_with(&mut world, "alice", signature.clone()), REFUSED);
    assert_eq!(open_with(&mut world, "alice/other", signature.clone()), REFUSED);
    world.restart();
    assert_eq!(open_with(&mut world, "alice", signature.clone()), REFUSED);
    world.wait(Duration::from_secs(6 * 3600 + 3600));
    assert_eq!(open_with(&mut world, "alice", signature), REFUSED);
    let mut wrong = signed_open("alice", &[], "other", &world);
    wrong.signature = "0".repeat(40);
    assert_eq!(open_with(&mut world, "alice", wrong), REFUSED);
}

#[test]
fn row_15_a_failed_check_uses_no_nonce_up() {
    let mut world = signing();
    let good = signed_open("alice", &[], "n", &world);
    let bad = Signature { signature: "0".repeat(40), ..good.clone() };
    assert_eq!(open_with(&mut world, "alice", bad), REFUSED);
    assert_eq!(open_with(&mut world, "alice", good), "alice <- opened, online: -");
}

#[test]
fn row_16_the_window_holds_to_the_second_and_times_are_plain_numbers() {
    let signer = Signer::new("app", KEY).unwrap();
    let alice = peer("alice");
    let action = Action::Open { peer: &alice, watch: &[], super_peer: false };
    let hour = Duration::from_secs(3600);
    let mut world = signing();
    let at = world.now;
    let cases = [
        (at - 6 * hour, true),
        (at - 6 * hour - Duration::from_secs(1), false),
        (at + Duration::from_secs(300), true),
        (at + Duration::from_secs(301), false),
    ];
    for (n, (time, accepted)) in cases.into_iter().enumerate() {
        let signature = signer.sign(&action, &format!("n{n}"), time).unwrap();
        let seen = open_with(&mut world, "alice", signature);
        assert_eq!(seen == "alice <- opened, online: -", accepted, "{time}: {seen}");
    }
    for text in ["-1700000000", "+1700000000", " 1700000000", "01700000000", "", "1e9", "17000000000000000000"] {
        let signature = Signature { timestamp: text.to_owned(), ..signed_open("alice", &[], "m", &world) };
        assert_eq!(open_with(&mut world, "alice", signature), REFUSED, "{text:?}");
    }
}

#[test]
fn row_17_only_the_right_signature_under_a_listed_key_is_accepted() {
    let mut world = signing();
    let good = signed_open("alice", &[], "n", &world);
    let with = |text: String| Signature { signature: text, ..good.clone() };
    let flipped = format!("{}{}", if good.signature.starts_with('0') { '1' } else { '0' }, &good.signature[1..]);
    for wrong in [good.signature[1..].to_owned(), format!("{}0", good.signature), "g".repeat(40), flipped] {
        assert_eq!(open_with(&mut world, "alice", with(wrong.clone())), REFUSED, "{wrong}");
    }
    assert_eq!(open_with(&mut world, "alice", with(good.signature.to_uppercase())), "alice <- opened, online: -");

    let new = b"another key of sixteen bytes".to_vec();
    world.engine.set_master_keys(&[new.clone(), KEY.to_vec()]).unwrap();
    let old = signed_open("alice", &[], "n2", &world);
    assert_eq!(open_with(&mut world, "alice", old), "alice <- opened, online: -");
    world.engine.set_master_keys(&[new]).unwrap();
    let removed = signed_open("alice", &[], "n3", &world);
    assert_eq!(open_with(&mut world, "alice", removed), REFUSED);
}

#[test]
fn row_18_a_signature_serves_one_peer_one_action_once() {
    let mut world = signing();
    let alices = signed_open("alice", &[], "n1", &world);
    assert_eq!(open_with(&mut world, "bob", alices.clone()), REFUSED);
    assert_eq!(open_with(&mut world, "alice", alices.clone()), "alice <- opened, online: -");
    let seen = |world: &mut World, request| {
        let from = world.log.len();
        world.request("alice", request);
        world.log.split_off(from)[0].clone()
    };
    let watch = Request::Watch { peers: Vec::new(), signature: Some(alices.clone()) };
    assert_eq!(seen(&mut world, watch), REFUSED);
    let fresh = signed_open("alice", &[], "n2", &world);
    let create = switchboard::Create {
        signature: Some(fresh.clone()),
        ..switchboard::Create::new(switchboard::Shape::Group, Vec::new())
    };
    assert_eq!(seen(&mut world, Request::Create(create)), "refused: 4302 conversation signature failed");
    let open = Open { super_peer: true, credentials: Credentials::Signature(fresh), ..world.opening("alice/root") };
    let from = world.log.len();
    world.open("alice/root", open);
    assert_eq!(world.log.split_off(from)[0], REFUSED);
}

#[test]
fn row_19_no_request_passes_with_another_s_signature() {
    // Watch `b` and `c`, or watch `b:c`; the peer `a:b` who watches `c`, or `a` who watches `b` and `c`; a nonce that ends
    // like an action.
    let mut world = signing();
    let signature = signed_open("a", &[peer("b"), peer("c")], "n", &world);
    for (id, watch) in [("a", vec![peer("b:c")]), ("a:b", vec![peer("c")]), ("a:b:c", vec![])] {
        let open = Open { watch, credentials: Credentials::Signature(signature.clone()), ..Open::new(peer(id)) };
        assert_eq!(world.engine.open(open, world.now).unwrap_err().code(), 4103, "{id}");
    }
    let alice = peer("alice");
    let action = Action::Open { peer: &alice, watch: &[], super_peer: true };
    let su = Signer::new("app", KEY).unwrap().sign(&action, "n", world.now).unwrap();
    let split = Signature { nonce: "n:su".to_owned(), ..su };
    assert_eq!(open_with(&mut world, "alice", split), REFUSED);
}

#[test]
fn row_20_who_is_not_watched_is_not_messaged() {
    let mut world = signing();
    world.run("bob opens signed b\nalice opens signed a\nroot opens as super peer signed r");
    assert_eq!(world.run("alice> bob: hello"), ["refused: 4401 invalid messaging target (bob)"]);
    assert_eq!(world.engine.metrics().messages, 0);
    let told = world.run("root> bob: hello");
    assert!(told.contains(&"host: super peer root sent to one it does not watch".to_owned()), "{told:?}");
    assert!(told.contains(&"bob <- root in bob+root #1: hello".to_owned()), "{told:?}");
}
