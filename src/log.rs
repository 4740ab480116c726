//! The log of a conversation: dense numbers, written in chunks, read from any thread.
//!
//! What a read sees is a [`LogView`]: the durable part by the store, the rest from memory, taken at one moment. So a read that
//! runs beside later commands answers as of the moment it was asked.

mod count;
mod found;
mod overlay;
mod page;
mod queue;
mod reader;
mod trim;
mod view;
mod walk;

pub(crate) use count::count_uncounted;
pub(crate) use found::{Found, Reader};
pub(crate) use overlay::Overlay;
pub(crate) use page::{is_before, page};
pub(crate) use queue::{Cut, Limits, Missed, Part, after_position, backlog};
pub(crate) use reader::LogReader;
pub(crate) use trim::{collect, old_chunks, old_index};
pub(crate) use view::LogView;
