//! Rows 54 and 55: pages of history that skip nothing, and what counts as read and unread.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use switchboard::{Bound, Config, Event, Message, MessageId, Order, Output, Page, PeerId, Reply, Ticket, Timestamp};

use crate::world::{World, peer};

const DAY: Duration = Duration::from_secs(86_400);

/// Whose history is paged.
#[derive(Clone, Copy, Debug)]
enum Scope {
    Member(&'static str),
    Host(&'static str),
    Sender(&'static str),
    Application,
}

impl Scope {
    fn page(self, world: &mut World, page: Page) -> (Vec<Arc<Message>>, bool) {
        let sender = |name: &str| -> PeerId { peer(name) };
        let ticket = match self {
            Self::Member(label) => {
                let request = switchboard::Request::History { conversation: world.conversation(label), page };
                return match world.ask("alice", request) {
                    Ok(Reply::History { messages, more }) => (messages, more),
                    other => panic!("{other:?}"),
                };
            }
            Self::Host(label) => {
                let id = world.conversation(label);
                world.engine.history_of(&id, page, world.now)
            }
            Self::Sender(name) => world.engine.history_by(Some(&sender(name)), page, world.now),
            Self::Application => world.engine.history_by(None, page, world.now),
        };
        let ticket = ticket.unwrap();
        while let Some(read) = world.engine.begin_read() {
            world.engine.finish_read(read.run(), world.now);
        }
        answer(world, ticket)
    }

    /// All pages of seven, one after the other, from one end to the other.
    fn pages(self, world: &mut World, order: Order) -> Vec<MessageId> {
        let mut all = Vec::new();
        let mut page = Page { order, ..Page::newest(7) };
        loop {
            let (messages, more) = self.page(world, page);
            assert!(!(messages.is_empty() && more), "an empty page with more in {self:?}");
            all.extend(messages.iter().map(|message| message.id));
            let Some(last) = messages.last().filter(|_| more) else { return all };
            page = page.after(last.timestamp, last.id);
        }
    }
}

/// The page that the host asked for under this ticket.
fn answer(world: &mut World, ticket: Ticket) -> (Vec<Arc<Message>>, bool) {
    let mut outputs = std::iter::from_fn(|| world.engine.poll_output());
    let page = outputs.find_map(|output| match output {
        Output::Event(Event::Answered { ticket: answered, result: Ok(Reply::History { messages, more }) }) => {
            (answered == ticket).then_some((messages, more))
        }
        _ => None,
    });
    page.unwrap()
}

/// Thirty messages of alice in one millisecond, over five conversations; how many each got.
fn thirty(world: &mut World) {
    world.run("alice opens\nbob opens\nalice makes temporary T for 60s of bob");
    for n in 0..30 {
        let to = ["bob", "bob, carol", "bob, dave", "carol", "@T"][n * n % 5];
        world.run(&format!("alice> {to}: m{n}"));
    }
}

fn each_once(world: &mut World, scope: Scope, count: usize) {
    let oldest = scope.pages(world, Order::OldestFirst);
    let mut newest = scope.pages(world, Order::NewestFirst);
    assert_eq!(oldest.iter().collect::<BTreeSet<_>>().len(), count, "{scope:?}");
    assert!(oldest.is_sorted(), "{scope:?}");
    newest.reverse();
    assert_eq!(newest, oldest, "{scope:?}");
}

fn counts_in(world: &mut World, label: &'static str) -> usize {
    Scope::Host(label).page(world, Page::newest(100)).0.len()
}

#[test]
fn row_54_pages_of_one_millisecond_skip_nothing_in_any_scope() {
    // Pages began after a time, so that what was sent in the same millisecond as the last of a page was on none.
    let mut world = World::new();
    thirty(&mut world);
    for written in [false, true] {
        // The index is in memory, then in rows.
        if written {
            world.run("wait 6s");
        }
        for label in ["alice+bob", "alice+bob+carol", "T"] {
            let count = counts_in(&mut world, label);
            assert!(label == "T" || count > 7 || count == 6, "{label} has {count}");
            each_once(&mut world, Scope::Member(label), count);
            each_once(&mut world, Scope::Host(label), count);
        }
        each_once(&mut world, Scope::Sender("alice"), 30);
        each_once(&mut world, Scope::Application, 30);
    }
}

#[test]
fn row_54_what_ended_leaves_no_empty_page() {
    // Messages of a temporary conversation that had ended were counted and not given: a page could be empty and have more,
    // and the client that paged by its last message stood still.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nalice makes temporary T for 60s of bob\nalice> bob: first");
    (0..20).for_each(|n| drop(world.run(&format!("alice> @T: t{n}"))));
    world.run("alice> bob: last\nwait 6s");
    each_once(&mut world, Scope::Application, 22);
    world.run("wait 60s");
    for scope in [Scope::Application, Scope::Sender("alice")] {
        each_once(&mut world, scope, 2);
    }
    // It ends while its end is not written yet, and while a page is read.
    world.run("alice makes temporary U for 60s of bob");
    (0..20).for_each(|n| drop(world.run(&format!("alice> @U: u{n}"))));
    world.run("alice> bob: very last\nwait 6s\ncommits off");
    let page = Page { order: Order::OldestFirst, ..Page::newest(7) };
    let ticket = world.engine.history_by(None, page, world.now).unwrap();
    let read = world.engine.begin_read().unwrap();
    let done = read.run();
    world.now = world.now + Duration::from_secs(61);
    world.engine.handle_timeout(world.now);
    world.engine.finish_read(done, world.now);
    while let Some(read) = world.engine.begin_read() {
        world.engine.finish_read(read.run(), world.now);
    }
    world.engine.commit(world.now).unwrap();
    let (messages, more) = answer(&mut world, ticket);
    assert_eq!((messages.len(), more), (3, false));
}

#[test]
fn row_54_an_index_row_on_its_way_to_the_store_is_seen() {
    // While a row of the index was staged and not durable, the messages in it were in no page, though everyone had them.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nalice> bob: m1\nalice> bob: m2\ncommits off\nwait 5s");
    let ticket = world.engine.history_by(None, Page::newest(10), world.now).unwrap();
    let read = world.engine.begin_read().unwrap().run();
    world.engine.finish_read(read, world.now);
    world.engine.commit(world.now).unwrap();
    assert_eq!(answer(&mut world, ticket).0.len(), 2);
    // Where the row is written between the plan and the read, nothing comes twice.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nalice> bob: m1\nalice> bob: m2\ncommits off");
    let ticket = world.engine.history_by(None, Page::newest(10), world.now).unwrap();
    world.run("wait 5s");
    world.engine.commit(world.now).unwrap();
    assert_eq!(answer(&mut world, ticket).0.len(), 2);
}

#[test]
fn row_54_a_bound_without_an_id_leaves_out_or_takes_its_whole_millisecond() {
    let mut world = World::new();
    thirty(&mut world);
    let at: Timestamp = world.now;
    for (included, count) in [(false, 0), (true, 30)] {
        let start = Some(Bound { timestamp: at, id: None, included });
        let page = Page { start, ..Page::newest(100) };
        assert_eq!(Scope::Application.page(&mut world, page).0.len(), count);
    }
}

#[test]
fn row_55_reading_up_to_a_message_of_an_earlier_start_works() {
    // A client that remembered where its user had read was refused after each restart, and the badge stayed.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nbob> alice: m1\nbob> alice: m2\nbob> alice: m3");
    world.restart();
    world.run("alice opens\nalice acks");
    world.restart();
    world.run("alice opens");
    assert!(world.run("alice reads alice+bob up to m2").is_empty());
    assert_eq!(world.run("alice unread"), ["alice <- unread: alice+bob 1"]);
    // What the log does not have is told, once it was searched.
    world.run("bob opens\ncarol opens\ncarol> bob: elsewhere");
    assert_eq!(world.run("alice reads alice+bob up to elsewhere"), ["alice <- failed: 4404 message not found"]);
    assert_eq!(world.run("alice unread"), ["alice <- unread: alice+bob 1"]);
}

#[test]
fn row_55_unread_counts_what_can_be_read() {
    // A badge counted messages that retention had removed: nothing that its owner opened made it go away.
    let config = Config { retention_age: Some(DAY), chunk_bytes_max: 256, ..Config::default() };
    let mut world = World::with(config);
    world.run("alice opens\nbob opens\nbob drops");
    (0..40).for_each(|n| drop(world.run(&format!("alice> bob: m{n}"))));
    assert_eq!(world.engine.unread_count(&peer("bob")), 40);
    world.wait(2 * DAY);
    world.run("alice> bob: fresh\nwait 100s");
    let kept = Scope::Host("alice+bob").page(&mut world, Page::newest(100)).0.len() as u64;
    assert!((1..40).contains(&kept), "{kept}");
    assert_eq!(world.engine.unread_count(&peer("bob")), kept);
    world.restart();
    assert_eq!(world.engine.unread_count(&peer("bob")), kept);
    // What the end of a conversation took counts no more; what was deleted still shows its place.
    world.run("alice opens\nalice makes temporary T for 60s of bob\nalice> @T: soon gone");
    assert_eq!(world.engine.unread_count(&peer("bob")), kept + 1);
    world.now = world.now + Duration::from_secs(61);
    world.engine.handle_timeout(world.now);
    assert_eq!(world.engine.unread_count(&peer("bob")), kept);
    world.run("alice history alice+bob newest 1\nhost deletes fresh");
    assert_eq!(world.engine.unread_count(&peer("bob")), kept);
}
