//! What does not count as unread, counted in the log.

use super::found::{Found, Reader};
use super::reader::LogReader;
use super::view::LogView;
use crate::store::StoreError;

/// How many numbers after `after`, up to the last of the view, do not count as unread for a member with these spans: what it sent
/// itself, what was not for it, and what was sent while it was away.
pub(crate) fn count_uncounted(
    reader: &mut LogReader<'_>,
    view: &LogView,
    who: &Reader,
    spans: &[(u64, u64)],
    after: u64,
) -> Result<u64, StoreError> {
    let inside = |number: u64| spans.iter().any(|span| (span.0..=span.1).contains(&number));
    let within = |span: &(u64, u64)| (span.1.min(view.last) + 1).saturating_sub(span.0.max(after + 1));
    let mut count = view.last.saturating_sub(after) - spans.iter().map(within).sum::<u64>();
    reader.each_from(view, after + 1, &mut |found| {
        let is_own = match &found {
            Found::Stored(stored) => stored.from == who.number,
            Found::Shared(message) => message.from == who.peer,
        };
        let is_asked = found.number() > after && found.number() <= view.last && inside(found.number());
        count += u64::from(is_asked && (is_own || !found.is_for(who)));
    })?;
    Ok(count)
}
