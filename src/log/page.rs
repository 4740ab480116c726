//! Pages of history.

use super::found::{Found, Reader};
use super::reader::LogReader;
use super::view::LogView;
use super::walk::Walk;
use crate::page::{Bound, Order, Page};
use crate::store::StoreError;

/// A page of one log, in the order asked for, cut to `spans`; and whether there is more.
pub(crate) fn page(
    reader: &mut LogReader<'_>,
    who: Option<&Reader>,
    view: &LogView,
    spans: &[(u64, u64)],
    page: &Page,
) -> Result<(Vec<Found>, bool), StoreError> {
    let (low, high) = bounds(reader, view, page)?;
    let mut found = Vec::new();
    let mut spans: Vec<_> = spans.iter().map(|span| (span.0.max(low), span.1.min(high))).collect();
    if page.order == Order::NewestFirst {
        spans.reverse();
    }
    for (from, to) in spans.into_iter().filter(|span| span.0 <= span.1) {
        let mut walk = match page.order {
            Order::NewestFirst => Walk::down(view, to, from),
            Order::OldestFirst => Walk::up(view, from, to),
        };
        while let Some(message) = walk.take(reader)? {
            if who.is_some_and(|who| !message.is_for(who)) {
                continue;
            }
            if found.len() >= page.limit {
                return Ok((found, true));
            }
            found.push(message);
        }
    }
    Ok((found, false))
}

/// The first and the last number that lie within the page's bounds.
fn bounds(reader: &mut LogReader<'_>, view: &LogView, page: &Page) -> Result<(u64, u64), StoreError> {
    let (older, newer) = page.bounds();
    let low = match older {
        Some(bound) => reader.search(view, view.first, &|message| !is_before(message, &bound, !bound.included))?,
        None => view.first,
    };
    let high = match newer {
        Some(bound) => reader.search(view, view.first, &|message| !is_before(message, &bound, bound.included))? - 1,
        None => view.last,
    };
    Ok((low, high))
}

/// Whether `message` comes before `bound`, or is it where `or_is` says so.
pub(crate) fn is_before(message: &Found, bound: &Bound, or_is: bool) -> bool {
    let at = match bound.id {
        Some(id) => (message.timestamp(), message.id()).cmp(&(bound.timestamp, id)),
        None => message.timestamp().cmp(&bound.timestamp),
    };
    at.is_lt() || or_is && at.is_eq()
}
