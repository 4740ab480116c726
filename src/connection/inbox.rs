//! Bytes that have arrived, cut into frames.

use std::collections::VecDeque;

use super::FrameKind;

/// A frame is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Where a whole frame ends, and what it is.
#[derive(Clone, Copy, Debug)]
struct End {
    at: usize,
    kind: FrameKind,
}

/// What has arrived and was not yet taken: whole frames, then the beginning of the next one.
///
/// Holds nothing but what has really arrived, and gives big buffers back as soon as they are empty.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// Where in `bytes` the first frame starts that was not yet taken.
    start: usize,
    /// The end of each whole frame. Frames that end at the same place are empty.
    ends: VecDeque<End>,
    frame_bytes_max: usize,
    /// After the frames that are here comes one that is too long. What follows it is lost.
    over: bool,
}

impl Inbox {
    /// Bytes that an empty inbox may keep for the next frame.
    const IDLE_BYTES_MAX: usize = 256;

    pub(super) const fn new(frame_bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, ends: VecDeque::new(), frame_bytes_max, over: false }
    }

    /// Takes a piece of a byte stream, one frame a line. Empty lines are no frames.
    pub(super) fn push_bytes(&mut self, mut bytes: &[u8]) {
        while !self.over && !bytes.is_empty() {
            let (piece, is_whole) = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => (&bytes[..=at], true),
                None => (bytes, false),
            };
            self.push_piece(piece, is_whole);
            bytes = &bytes[piece.len()..];
        }
    }

    /// Takes one frame of a message transport.
    pub(super) fn push_frame(&mut self, kind: FrameKind, frame: &[u8]) {
        if frame.len() > self.frame_bytes_max {
            self.over = true;
        } else if !self.over {
            self.bytes.extend_from_slice(frame);
            self.ends.push_back(End { at: self.bytes.len(), kind });
        }
    }

    /// A frame of this length is announced: one that is too long is refused before any of it is kept.
    pub(super) fn announce(&mut self, length: u64) {
        self.over |= usize::try_from(length).map_or(true, |length| length > self.frame_bytes_max);
    }

    /// Whether a frame that is too long has come, or was announced.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// The next frame. `TooLong` is the last thing that an inbox says, again and again.
    pub(super) fn next_frame(&mut self) -> Option<Result<(FrameKind, &[u8]), TooLong>> {
        let Some(end) = self.ends.pop_front() else {
            return if self.over { Some(Err(TooLong)) } else { self.tidy() };
        };
        let start = std::mem::replace(&mut self.start, end.at);
        Some(Ok((end.kind, &self.bytes[start..end.at])))
    }

    /// Bytes of the whole frames that wait, with what telling them apart takes.
    pub(super) fn waiting_bytes(&self) -> usize {
        let end = self.ends.back().map_or(self.start, |end| end.at);
        end - self.start + self.ends.len() * size_of::<End>()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.frame_bytes_max);
    }

    fn push_piece(&mut self, piece: &[u8], is_whole: bool) {
        let open = self.ends.back().map_or(self.start, |end| end.at);
        let begun = self.bytes.len() - open;
        let ends_in_return = piece.last() == Some(&b'\r');
        let length = match is_whole {
            true => without_line_end_across(&self.bytes[open..], piece),
            // The return may turn out to belong to the line end.
            false => begun + piece.len() - usize::from(ends_in_return),
        };
        if length > self.frame_bytes_max {
            self.over = true;
            self.bytes.truncate(open);
        } else if is_whole && length == 0 {
            self.bytes.truncate(open);
        } else {
            self.bytes.extend_from_slice(piece);
            if is_whole {
                self.bytes.truncate(open + length);
                self.ends.push_back(End { at: open + length, kind: FrameKind::Text });
            }
        }
    }

    /// Moves the begun frame to the front, and gives memory back.
    fn tidy<T>(&mut self) -> Option<T> {
        self.bytes.drain(..std::mem::take(&mut self.start));
        if self.bytes.capacity() > Self::IDLE_BYTES_MAX.max(4 * self.bytes.len()) {
            self.bytes.shrink_to_fit();
        }
        if self.ends.capacity() * size_of::<End>() > Self::IDLE_BYTES_MAX / 2 {
            self.ends = VecDeque::new();
        }
        None
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<End>()
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The length of a line without its end, where its end (`\r\n`) may lie across two pieces.
fn without_line_end_across(begun: &[u8], rest: &[u8]) -> usize {
    match rest {
        b"\n" => without_line_end(begun).len(),
        _ => begun.len() + without_line_end(rest).len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(inbox: &mut Inbox) -> Vec<Result<String, TooLong>> {
        let mut frames = Vec::new();
        while let Some(frame) = inbox.next_frame() {
            frames.push(frame.map(|(_, frame)| String::from_utf8(frame.to_vec()).unwrap()));
            if frames.last() == Some(&Err(TooLong)) {
                break;
            }
        }
        frames
    }

    fn frames_of(pieces: &[&[u8]]) -> Vec<Result<String, TooLong>> {
        let mut inbox = Inbox::new(8);
        pieces.iter().for_each(|piece| inbox.push_bytes(piece));
        drain(&mut inbox)
    }

    #[test]
    fn lines_are_frames_wherever_they_are_cut() {
        let stream = b"one\r\n\n\r\ntwo\nexactly8\r\nthree";
        let whole = frames_of(&[stream]);
        assert_eq!(whole, ["one", "two", "exactly8"].map(|frame| Ok(frame.to_owned())));
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(frames_of(&pieces), whole, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_line_over_the_limit_comes_after_the_frames_before_it() {
        for stream in [&b"one\n123456789"[..], b"one\n123456789\n", b"one\n123456789\r\nlost\n", b"one\n12345678\rx"] {
            for cut in 0..=stream.len() {
                let frames = frames_of(&[&stream[..cut], &stream[cut..]]);
                assert_eq!(frames, [Ok("one".to_owned()), Err(TooLong)], "cut at {cut}");
            }
        }
    }

    #[test]
    fn row_08_a_length_over_the_limit_reserves_nothing() {
        for length in [9, 1 << 31, u64::from(u32::MAX), u64::MAX] {
            let mut inbox = Inbox::new(8);
            inbox.announce(length);
            assert_eq!(inbox.next_frame(), Some(Err(TooLong)));
            assert_eq!(inbox.held_bytes(), 0);
        }
        let mut inbox = Inbox::new(8);
        inbox.announce(8);
        assert_eq!(inbox.next_frame(), None);
    }

    #[test]
    fn an_empty_inbox_gives_its_memory_back() {
        let mut inbox = Inbox::new(1 << 16);
        inbox.push_bytes(&[b'x'; 60_000]);
        inbox.push_bytes(&b"\ny\n".repeat(1_000));
        drain(&mut inbox);
        assert!(inbox.held_bytes() <= 2 * Inbox::IDLE_BYTES_MAX, "{}", inbox.held_bytes());
        inbox.push_bytes(b"begun");
        assert_eq!(drain(&mut inbox), []);
        inbox.push_bytes(b" and ended\n");
        assert_eq!(drain(&mut inbox), [Ok("begun and ended".to_owned())]);
    }

    #[test]
    fn messages_may_be_empty_and_hold_line_ends() {
        let mut inbox = Inbox::new(8);
        inbox.push_frame(FrameKind::Text, b"");
        inbox.push_frame(FrameKind::Text, b"a\nb");
        inbox.push_frame(FrameKind::Text, b"123456789");
        assert_eq!(drain(&mut inbox), [Ok(String::new()), Ok("a\nb".to_owned()), Err(TooLong)]);
    }

    /// A binary frame whose last byte happens to be that of a line end lost it.
    #[test]
    fn a_message_keeps_each_of_its_bytes() {
        let mut inbox = Inbox::new(8);
        inbox.push_frame(FrameKind::Binary, b"\x01\r\n");
        inbox.push_frame(FrameKind::Text, b"{}\n");
        assert_eq!(inbox.next_frame(), Some(Ok((FrameKind::Binary, &b"\x01\r\n"[..]))));
        assert_eq!(inbox.next_frame(), Some(Ok((FrameKind::Text, &b"{}\n"[..]))));
    }
}
