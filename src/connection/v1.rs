//! The first generation's frames: one JSON object each. [`contract`] lists them.

pub(super) mod client;
pub mod contract;
mod json;
mod reader;
mod writer;

use super::wire::{Address, Asked, Format, Frame, Rejected};
use super::{ConnectionConfig, FrameKind};
use crate::error::Error;
use crate::update::{Reply, Update};

/// A sign of life, in both directions.
const HEARTBEAT: &[u8] = b"{}";

/// The format of these frames.
#[derive(Debug)]
pub(super) struct V1;

impl Format for V1 {
    fn kind(&self) -> FrameKind {
        FrameKind::Text
    }

    fn read(&self, frame: &[u8], config: &ConnectionConfig) -> Result<Frame, Rejected> {
        reader::read(frame, config)
    }

    fn heartbeat(&self) -> &'static [u8] {
        HEARTBEAT
    }

    fn error(&self, error: &Error) -> Vec<u8> {
        writer::error(error)
    }

    fn reply(&self, asked: Asked, reply: &Reply) -> Option<Vec<u8>> {
        writer::reply(asked, reply)
    }

    fn closed(&self, error: Option<&Error>) -> Vec<u8> {
        writer::closed(error)
    }

    fn update(&self, update: &Update) -> Vec<Vec<u8>> {
        writer::update(update)
    }

    fn frame(&self, address: &Address, body: &[u8]) -> Vec<u8> {
        writer::frame(address, body)
    }
}
