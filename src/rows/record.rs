//! Stored records: our envelope around `bincode`, and chunks of many records in one row.
//!
//! The only file that names `bincode`. A record proves on every read that it is what was written, under this key, as this
//! kind: no store below is trusted for that (a cleanly closed database with one flipped bit was seen to return a wrong value
//! without an error). Decoding allocates at most [`AMPLIFICATION_MAX`] bytes for each byte of the row, whatever the row claims.
//!
//! Records grow at their end. From version 2 on a reader passes over fields that it does not know, and takes a [`Late`] field
//! that is not there yet as its default: so a later minor version adds fields without a new format, at no cost in bytes.
//! Fields that a reader passed over are not in what it writes: one that must not be lost so needs a new format. A record of
//! version 1 ends with its last field. The store's own facts stay at version 1, so that each version reads which format a
//! store has.
//!
//! ```text
//! record   version u8 · kind u8 · length u32 · crc u32 · payload          crc over key, version, kind, payload
//! chunk    version u8 · kind u8 · count u16 · crc u32                     crc over key, version, kind, count, ends
//!          end u32 × count · crc u32 × count · payloads                   crc over key, index, payload
//! ```
//! Integers of the envelope are little-endian.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::read::{BorrowReader, Reader};
use bincode::de::{BorrowDecoder, Decoder, DecoderImpl};
use bincode::enc::Encoder;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
pub(crate) use bincode::{BorrowDecode, Encode};

/// The version that is written, and the newest one that is read.
pub const VERSION: u8 = 2;

/// The version whose records end with their last field.
const CLOSED: u8 = 1;

/// The largest record or chunk: a commit takes at most as much, so a larger row could never be written.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

/// Bytes that decoding may claim for each byte of the row.
///
/// Eight is what a list of small numbers needs, at one byte each. A list whose elements take more memory for each stored byte
/// (`Vec<String>` of empty strings, say) does not decode: such a record stores one byte string instead.
pub const AMPLIFICATION_MAX: usize = 8;

/// What most rows fit in: a guess that saves growing.
const ROW_BYTES: usize = 384;
const RECORD_HEADER: usize = 10;
const CHUNK_HEADER: usize = 8;
/// What the directory of a chunk takes for each record.
const CHUNK_ENTRY: usize = 8;
/// The largest record that a chunk holds.
pub(crate) const ENTRY_BYTES_MAX: usize = RECORD_BYTES_MAX - CHUNK_HEADER - CHUNK_ENTRY;

/// What a row holds. The number is stored: it never changes its meaning and is never given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Kind {
    /// The store's own facts: formats, epochs, reserved numbers.
    Meta = 1,
    /// A peer and its settings.
    Peer = 2,
    /// A conversation.
    Conversation = 3,
    /// A peer's membership in a conversation.
    Member = 4,
    /// A run of a conversation's log ([`Chunk`]).
    Chunk = 5,
    /// A way to find other rows.
    Index = 6,
    /// The send tokens of one commit.
    Tokens = 7,
    /// The signature nonces of one commit.
    Nonces = 8,
    /// An edit, a recall or a deletion laid over the log.
    Overlay = 9,
    /// The complete sets of peers behind one hash.
    Unique = 10,
    /// A session that can be resumed.
    Session = 11,
    /// The cursors of a peer's devices.
    Cursors = 12,
    /// Recipients of one message, where they are too many for its entry.
    Recipients = 13,
    /// Receipts that a peer was not there to hear.
    Owed = 14,
}

impl Kind {
    /// The version that rows of this kind are written with.
    const fn version(self) -> u8 {
        match self {
            Self::Meta => CLOSED,
            _ => VERSION,
        }
    }
}

/// A field that was added after the first version of its record: its default where the record ends before it.
///
/// Late fields stand at the end, in the order in which they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Late<T>(pub T);

impl<T: bincode::Encode> bincode::Encode for Late<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<'de, C, T: bincode::BorrowDecode<'de, C> + Default> bincode::BorrowDecode<'de, C> for Late<T> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        if decoder.borrow_reader().peek_read(1).is_none() {
            return Ok(Self::default());
        }
        T::borrow_decode(decoder).map(Self)
    }
}

/// Why bytes are not the record that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("truncated")]
    Truncated,
    /// Bytes follow where the record ends.
    #[error("trailing bytes")]
    TrailingBytes,
    /// A version this build does not read.
    #[error("version {0} is unknown")]
    Version(u8),
    /// Another kind of record.
    #[error("kind {found} where {expected:?} belongs")]
    Kind {
        /// The number found.
        found: u8,
        /// The kind asked for.
        expected: Kind,
    },
    /// The bytes are not what was written, or not under this key.
    #[error("wrong checksum")]
    Checksum,
    /// Larger than a record may be, or claims more than its bytes can hold.
    #[error("over the limit")]
    LimitExceeded,
    /// The checksum is right, the content is not a value of this type.
    #[error("malformed")]
    Malformed,
}

/// Encodes `value` as the record of this kind under `key`.
///
/// # Errors
/// [`RecordError::LimitExceeded`] over [`RECORD_BYTES_MAX`]; [`RecordError::Malformed`] if the value refuses to be encoded.
pub fn seal<T: bincode::Encode>(kind: Kind, key: &[u8], value: &T) -> Result<Vec<u8>, RecordError> {
    let mut row = Vec::with_capacity(ROW_BYTES);
    seal_into(&mut row, kind, key, value)?;
    Ok(row)
}

/// As [`seal`], into a buffer that is cleared first and keeps its capacity.
///
/// # Errors
/// As [`seal`]; the buffer is then empty.
pub fn seal_into<T: bincode::Encode>(row: &mut Vec<u8>, kind: Kind, key: &[u8], value: &T) -> Result<(), RecordError> {
    let sealed = write_record(row, kind, key, value).and_then(|()| fitting(row.len()));
    if sealed.is_err() {
        row.clear();
    }
    sealed
}

/// As [`seal`], of a value whose bounds make it fit and which has no way to refuse: numbers, text, bytes and lists of them.
pub(crate) fn seal_fitting<T: bincode::Encode>(kind: Kind, key: &[u8], value: &T) -> Vec<u8> {
    let mut row = Vec::with_capacity(ROW_BYTES);
    let sealed = write_record(&mut row, kind, key, value).and_then(|()| fitting(row.len()));
    debug_assert_eq!(sealed, Ok(()), "a row of kind {kind:?} has bounds that fit a record");
    row
}

const fn fitting(bytes: usize) -> Result<(), RecordError> {
    if bytes > RECORD_BYTES_MAX { Err(RecordError::LimitExceeded) } else { Ok(()) }
}

fn write_record<T: bincode::Encode>(row: &mut Vec<u8>, kind: Kind, key: &[u8], value: &T) -> Result<(), RecordError> {
    row.clear();
    row.extend_from_slice(&[0; RECORD_HEADER]);
    encode(value, row)?;
    write_head(row, kind.version(), kind as u8, key)
}

/// Writes the envelope of a row whose payload is in place.
fn write_head(row: &mut [u8], version: u8, kind: u8, key: &[u8]) -> Result<(), RecordError> {
    let (head, payload) = row.split_first_chunk_mut::<RECORD_HEADER>().ok_or(RecordError::Truncated)?;
    let length = u32::try_from(payload.len()).map_err(|_| RecordError::LimitExceeded)?;
    head[0] = version;
    head[1] = kind;
    head[2..6].copy_from_slice(&length.to_le_bytes());
    head[6..].copy_from_slice(&record_crc(key, version, kind, payload).to_le_bytes());
    Ok(())
}

/// The value of the record of this kind that was sealed under `key`.
///
/// # Errors
/// Any [`RecordError`]. Never a panic, and never another value than the one sealed, as far as 32 bits of checksum tell.
pub fn open<'a, T: bincode::BorrowDecode<'a, ()>>(kind: Kind, key: &[u8], row: &'a [u8]) -> Result<T, RecordError> {
    let (version, found, payload) = envelope(key, row)?;
    expect_kind(found, kind)?;
    decode(payload, row.len(), version)
}

/// Version, kind and payload of a record whose envelope and checksum are right.
fn envelope<'a>(key: &[u8], row: &'a [u8]) -> Result<(u8, u8, &'a [u8]), RecordError> {
    fitting(row.len())?;
    let (head, payload) = row.split_first_chunk::<RECORD_HEADER>().ok_or(RecordError::Truncated)?;
    let [version, kind, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
    expect_version(version)?;
    match (u32::from_le_bytes([l0, l1, l2, l3]) as usize).cmp(&payload.len()) {
        std::cmp::Ordering::Greater => return Err(RecordError::Truncated),
        std::cmp::Ordering::Less => return Err(RecordError::TrailingBytes),
        std::cmp::Ordering::Equal => {}
    }
    if record_crc(key, version, kind, payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(RecordError::Checksum);
    }
    Ok((version, kind, payload))
}

/// The same record as its kind's version of today; `None` where it is that already, or is damaged, or is no record.
pub(crate) fn raise(kind: Kind, key: &[u8], row: &[u8]) -> Option<Vec<u8>> {
    let (version, found, _) = envelope(key, row).ok()?;
    if version == kind.version() || found != kind as u8 {
        return None;
    }
    let mut raised = row.to_vec();
    write_head(&mut raised, kind.version(), found, key).ok().map(|()| raised)
}

const fn expect_version(version: u8) -> Result<(), RecordError> {
    if version == CLOSED || version == VERSION { Ok(()) } else { Err(RecordError::Version(version)) }
}

const fn expect_kind(found: u8, expected: Kind) -> Result<(), RecordError> {
    if found == expected as u8 { Ok(()) } else { Err(RecordError::Kind { found, expected }) }
}

/// Version and kind go into the start value: a CRC of bytes so few costs as much as one of a whole record. The length is
/// that of the payload, checked as such.
fn record_crc(key: &[u8], version: u8, kind: u8, payload: &[u8]) -> u32 {
    let head = u32::from_le_bytes([version, kind, 0, 0]);
    crc32c::crc32c_append(crc32c::crc32c(key) ^ scatter(head), payload)
}

/// Distinct numbers give distinct start values, and so distinct CRCs of the same bytes.
const fn scatter(number: u32) -> u32 {
    number.wrapping_mul(0x9E37_79B1)
}

/// Gathers records into one row, so that a run of a conversation's log costs one write.
///
/// Records are encoded straight into a buffer that lives on after [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct ChunkBuilder {
    payloads: Vec<u8>,
    ends: Vec<u32>,
}

impl ChunkBuilder {
    /// A builder without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Encodes one more record.
    ///
    /// # Errors
    /// [`RecordError::LimitExceeded`] if the chunk would pass [`RECORD_BYTES_MAX`] or 65,535 records;
    /// [`RecordError::Malformed`] if the value refuses to be encoded. The chunk is then as before.
    pub fn push<T: bincode::Encode>(&mut self, value: &T) -> Result<(), RecordError> {
        if self.ends.len() == usize::from(u16::MAX) {
            return Err(RecordError::LimitExceeded);
        }
        let before = self.payloads.len();
        match encode(value, &mut self.payloads).and_then(|()| self.end_record()) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.payloads.truncate(before);
                Err(error)
            }
        }
    }

    fn end_record(&mut self) -> Result<(), RecordError> {
        let end = u32::try_from(self.payloads.len()).map_err(|_| RecordError::LimitExceeded)?;
        if self.bytes() + CHUNK_ENTRY > RECORD_BYTES_MAX {
            return Err(RecordError::LimitExceeded);
        }
        self.ends.push(end);
        Ok(())
    }

    /// How many records there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of the row that [`finish`](Self::finish) would give now.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        CHUNK_HEADER + self.ends.len() * CHUNK_ENTRY + self.payloads.len()
    }

    /// The row to be stored under `key`; the builder is empty afterwards and keeps its memory.
    #[must_use]
    pub fn finish(&mut self, key: &[u8]) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.bytes());
        self.write_directory(key, &mut row);
        let key_crc = crc32c::crc32c(key);
        let mut start = 0;
        for (index, &end) in (0_u32..).zip(&self.ends) {
            let payload = self.payloads.get(start..end as usize).unwrap_or_default();
            row.extend_from_slice(&entry_crc(key_crc, index, payload).to_le_bytes());
            start = end as usize;
        }
        row.extend_from_slice(&self.payloads);
        self.clear();
        row
    }

    fn write_directory(&self, key: &[u8], row: &mut Vec<u8>) {
        let count = u16::try_from(self.ends.len()).unwrap_or(u16::MAX);
        let [low, high] = count.to_le_bytes();
        row.extend_from_slice(&[VERSION, Kind::Chunk as u8, low, high, 0, 0, 0, 0]);
        for end in &self.ends {
            row.extend_from_slice(&end.to_le_bytes());
        }
        let (head, ends) = row.split_at_mut(CHUNK_HEADER);
        let crc = directory_crc(key, &head[..4], ends);
        head[4..].copy_from_slice(&crc.to_le_bytes());
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.payloads.clear();
        self.ends.clear();
    }
}

/// The CRC of one record of a chunk, so that a record can neither move to another place nor to another chunk.
fn entry_crc(key_crc: u32, index: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(key_crc ^ scatter(index), payload)
}

fn directory_crc(key: &[u8], head: &[u8], ends: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(key), head), ends)
}

/// A row of many records, each checked when it is asked for: a damaged one leaves its neighbours readable.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    version: u8,
    key_crc: u32,
    ends: &'a [u8],
    crcs: &'a [u8],
    payloads: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Reads the directory of the chunk stored under `key`.
    ///
    /// # Errors
    /// Any [`RecordError`] if the directory is damaged, or if bytes follow the last record. A chunk whose end is missing can
    /// be read up to there.
    pub fn parse(key: &[u8], row: &'a [u8]) -> Result<Self, RecordError> {
        fitting(row.len())?;
        let (head, rest) = row.split_first_chunk::<CHUNK_HEADER>().ok_or(RecordError::Truncated)?;
        let [version, kind, n0, n1, c0, c1, c2, c3] = *head;
        expect_version(version)?;
        expect_kind(kind, Kind::Chunk)?;
        let count = usize::from(u16::from_le_bytes([n0, n1]));
        let (ends, rest) = rest.split_at_checked(count * 4).ok_or(RecordError::Truncated)?;
        if directory_crc(key, &head[..4], ends) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(RecordError::Checksum);
        }
        let (crcs, payloads) = rest.split_at_checked(count * 4).ok_or(RecordError::Truncated)?;
        let chunk = Self { version, key_crc: crc32c::crc32c(key), ends, crcs, payloads };
        if payloads.len() > chunk.end(count) {
            return Err(RecordError::TrailingBytes);
        }
        Ok(chunk)
    }

    /// How many records there are, damaged ones included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len() / 4
    }

    /// Whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of record `index`, checked. `None` past the last one.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<Result<&'a [u8], RecordError>> {
        (index < self.len()).then(|| self.checked(index))
    }

    /// The value of record `index`. `None` past the last one.
    ///
    /// `T` must be the type that was pushed: all records of a chunk are of one type.
    #[must_use]
    pub fn decode<T: bincode::BorrowDecode<'a, ()>>(&self, index: usize) -> Option<Result<T, RecordError>> {
        Some(self.record(index)?.and_then(|payload| decode(payload, payload.len() + CHUNK_ENTRY, self.version)))
    }

    /// All records in order, each checked as it is reached.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Result<&'a [u8], RecordError>> + use<'a> {
        let chunk = *self;
        (0..chunk.len()).map(move |index| chunk.checked(index))
    }

    fn checked(&self, index: usize) -> Result<&'a [u8], RecordError> {
        let payload = self.payloads.get(self.end(index)..self.end(index + 1)).ok_or(RecordError::Truncated)?;
        let position = u32::try_from(index).map_err(|_| RecordError::LimitExceeded)?;
        if word(self.crcs, index) != entry_crc(self.key_crc, position, payload) {
            return Err(RecordError::Checksum);
        }
        Ok(payload)
    }

    /// Where the record before `index` ends.
    fn end(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| word(self.ends, before) as usize)
    }
}

/// The little-endian word `index` of a directory; zero past its end, which its callers never ask for.
fn word(words: &[u8], index: usize) -> u32 {
    words.get(index * 4..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

type Config = Configuration<LittleEndian, Varint, Limit<CLAIMS_MAX>>;
const CONFIG: Config = bincode::config::standard().with_limit::<CLAIMS_MAX>();
const CLAIMS_MAX: usize = RECORD_BYTES_MAX * AMPLIFICATION_MAX;

/// Appends to `out`; after an error `out` ends with part of the value.
#[inline]
fn encode<T: bincode::Encode>(value: &T, out: &mut Vec<u8>) -> Result<(), RecordError> {
    bincode::encode_into_writer(value, Output(out), CONFIG).map_err(|_| RecordError::Malformed)
}

struct Output<'a>(&'a mut Vec<u8>);

impl Writer for Output<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Decodes `payload`, which came in a row (or its part of one) of `row_bytes` and of this version.
///
/// The limit of `bincode` is a constant, far too high for a short row: what this row may not claim is claimed beforehand.
#[inline]
fn decode<'a, T: bincode::BorrowDecode<'a, ()>>(
    payload: &'a [u8],
    row_bytes: usize,
    version: u8,
) -> Result<T, RecordError> {
    let allowed = row_bytes.saturating_mul(AMPLIFICATION_MAX);
    let mut decoder = DecoderImpl::new(Input(payload), CONFIG, ());
    decoder.claim_bytes_read(CLAIMS_MAX.saturating_sub(allowed)).map_err(|_| RecordError::LimitExceeded)?;
    let value = T::borrow_decode(&mut decoder).map_err(|error| refusal(&error))?;
    // What follows in later versions are fields that came after this build.
    if version > CLOSED || decoder.reader().0.is_empty() { Ok(value) } else { Err(RecordError::TrailingBytes) }
}

const fn refusal(error: &DecodeError) -> RecordError {
    match error {
        DecodeError::UnexpectedEnd { .. } => RecordError::Truncated,
        DecodeError::LimitExceeded | DecodeError::OutsideUsizeRange(_) => RecordError::LimitExceeded,
        _ => RecordError::Malformed,
    }
}

/// What is left to decode.
struct Input<'a>(&'a [u8]);

impl Reader for Input<'_> {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        bytes.copy_from_slice(self.take_bytes(bytes.len())?);
        Ok(())
    }

    #[inline]
    fn peek_read(&mut self, n: usize) -> Option<&[u8]> {
        self.0.get(..n)
    }

    #[inline]
    fn consume(&mut self, n: usize) {
        self.0 = self.0.get(n..).unwrap_or_default();
    }
}

impl<'a> BorrowReader<'a> for Input<'a> {
    #[inline]
    fn take_bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(DecodeError::UnexpectedEnd { additional: length.saturating_sub(self.0.len()) })?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, bincode::Encode, bincode::BorrowDecode)]
    struct Sample<'a> {
        number: u64,
        from: &'a str,
        body: &'a [u8],
        marks: Vec<u32>,
    }

    fn sample(body: &[u8]) -> Sample<'_> {
        Sample { number: 7, from: "alice", body, marks: vec![1, 70_000] }
    }

    /// A record whose envelope is right and whose payload is not.
    fn envelope(kind: Kind, key: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut row = [&[0; RECORD_HEADER], payload].concat();
        write_head(&mut row, kind.version(), kind as u8, key).unwrap();
        row
    }

    #[test]
    fn a_record_opens_only_as_what_was_sealed() {
        let row = seal(Kind::Peer, b"key", &sample(b"hello")).unwrap();
        assert_eq!(open::<Sample<'_>>(Kind::Peer, b"key", &row), Ok(sample(b"hello")));
        assert_eq!(open::<Sample<'_>>(Kind::Peer, b"kez", &row), Err(RecordError::Checksum));
        let other = RecordError::Kind { found: Kind::Peer as u8, expected: Kind::Member };
        assert_eq!(open::<Sample<'_>>(Kind::Member, b"key", &row), Err(other));
    }

    #[test]
    fn row_12_a_claim_of_2_to_the_40_is_refused() {
        // A varint of 2^40 is nine bytes: with four bytes of content this is the record that aborts a bare decoder.
        let mut payload = vec![253];
        payload.extend_from_slice(&(1_u64 << 40).to_le_bytes());
        payload.extend_from_slice(b"abcd");
        assert_eq!(payload.len(), 13);
        let row = envelope(Kind::Meta, b"k", &payload);
        assert_eq!(open::<Vec<u64>>(Kind::Meta, b"k", &row), Err(RecordError::LimitExceeded));
        assert_eq!(open::<Vec<u8>>(Kind::Meta, b"k", &row), Err(RecordError::LimitExceeded));
        assert_eq!(open::<String>(Kind::Meta, b"k", &row), Err(RecordError::LimitExceeded));
        assert!(open::<&[u8]>(Kind::Meta, b"k", &row).is_err());
    }

    #[test]
    fn row_12_truncated_trailing_variant_and_version() {
        #[derive(Debug, PartialEq, bincode::Encode, bincode::Decode)]
        enum Choice {
            One,
        }
        let row = seal(Kind::Meta, b"k", &Choice::One).unwrap();
        assert_eq!(open::<Choice>(Kind::Meta, b"k", &row), Ok(Choice::One));
        assert_eq!(open::<Choice>(Kind::Meta, b"k", &row[..row.len() - 1]), Err(RecordError::Truncated));
        assert_eq!(open::<Choice>(Kind::Meta, b"k", &[]), Err(RecordError::Truncated));
        let longer = [row.as_slice(), &[0]].concat();
        assert_eq!(open::<Choice>(Kind::Meta, b"k", &longer), Err(RecordError::TrailingBytes));
        assert_eq!(
            open::<Choice>(Kind::Meta, b"k", &envelope(Kind::Meta, b"k", &[0, 0])),
            Err(RecordError::TrailingBytes)
        );
        assert_eq!(open::<Choice>(Kind::Meta, b"k", &envelope(Kind::Meta, b"k", &[9])), Err(RecordError::Malformed));
        let mut newer = row;
        newer[0] = 255;
        assert_eq!(open::<Choice>(Kind::Meta, b"k", &newer), Err(RecordError::Version(255)));
    }

    #[test]
    fn row_13_what_amplifies_is_refused() {
        let large = vec![1_u8; 10 * 1024 * 1024];
        assert_eq!(open::<Vec<u64>>(Kind::Meta, b"k", &large), Err(RecordError::LimitExceeded));
        assert_eq!(seal(Kind::Meta, b"k", &large), Err(RecordError::LimitExceeded));
        // 1,000 empty strings: one byte each, 24 in memory.
        let mut payload = vec![251, 232, 3];
        payload.extend_from_slice(&[0; 1000]);
        let row = envelope(Kind::Meta, b"k", &payload);
        assert_eq!(open::<Vec<String>>(Kind::Meta, b"k", &row), Err(RecordError::LimitExceeded));
        assert_eq!(open::<Vec<u64>>(Kind::Meta, b"k", &row).map(|list| list.len()), Ok(1000));
    }

    #[derive(Debug, PartialEq, bincode::Encode, bincode::BorrowDecode)]
    struct Early<'a> {
        number: u64,
        name: &'a str,
    }

    /// The same some versions later.
    #[derive(Debug, PartialEq, bincode::Encode, bincode::BorrowDecode)]
    struct Later<'a> {
        number: u64,
        name: &'a str,
        colour: Late<Option<u64>>,
        marks: Late<Vec<u64>>,
    }

    #[test]
    fn a_record_grows_at_its_end() {
        let early = Early { number: 7, name: "alice" };
        let later = Later { number: 7, name: "alice", colour: Late(Some(3)), marks: Late(vec![1, 300]) };
        let (old, new) = (seal(Kind::Peer, b"k", &early).unwrap(), seal(Kind::Peer, b"k", &later).unwrap());
        // The fields that came later cost nothing where they are not.
        assert_eq!(old.len() + 7, new.len());
        assert_eq!(open(Kind::Peer, b"k", &new), Ok(early));
        assert_eq!(open(Kind::Peer, b"k", &new), Ok(later));
        let read: Later<'_> = open(Kind::Peer, b"k", &old).unwrap();
        assert_eq!(read, Later { number: 7, name: "alice", colour: Late(None), marks: Late(Vec::new()) });
        // Between the two is what only the first of the late fields was in; what breaks off inside one is damage.
        let payload = |bytes: usize| envelope(Kind::Peer, b"k", &new[RECORD_HEADER..RECORD_HEADER + bytes]);
        let with_colour = payload(new.len() - RECORD_HEADER - 5);
        assert_eq!(open::<Later<'_>>(Kind::Peer, b"k", &with_colour).map(|later| later.colour), Ok(Late(Some(3))));
        let broken = payload(new.len() - RECORD_HEADER - 1);
        assert_eq!(open::<Later<'_>>(Kind::Peer, b"k", &broken), Err(RecordError::Truncated));
    }

    #[test]
    fn records_of_a_chunk_grow_at_their_end() {
        let mut builder = ChunkBuilder::new();
        builder.push(&Early { number: 1, name: "a" }).unwrap();
        builder.push(&Later { number: 2, name: "b", colour: Late(None), marks: Late(vec![9]) }).unwrap();
        let row = builder.finish(b"log");
        let chunk = Chunk::parse(b"log", &row).unwrap();
        let early: Vec<u64> = (0..2).map(|at| chunk.decode::<Early<'_>>(at).unwrap().unwrap().number).collect();
        let later: Vec<Vec<u64>> = (0..2).map(|at| chunk.decode::<Later<'_>>(at).unwrap().unwrap().marks.0).collect();
        assert_eq!((early, later), (vec![1, 2], vec![Vec::new(), vec![9]]));
    }

    #[test]
    fn a_record_of_version_1_ends_with_its_last_field() {
        let mut row = seal(Kind::Peer, b"k", &(7u64, 8u64)).unwrap();
        write_head(&mut row, CLOSED, Kind::Peer as u8, b"k").unwrap();
        assert_eq!(open(Kind::Peer, b"k", &row), Ok((7u64, 8u64)));
        assert_eq!(open::<u64>(Kind::Peer, b"k", &row), Err(RecordError::TrailingBytes));
        let raised = raise(Kind::Peer, b"k", &row).unwrap();
        assert_eq!(open::<u64>(Kind::Peer, b"k", &raised), Ok(7));
        assert_eq!(raise(Kind::Peer, b"k", &raised), None, "it is of today already");
        assert_eq!(raise(Kind::Member, b"k", &row), None, "not of another kind");
        row[RECORD_HEADER] ^= 1;
        assert_eq!(raise(Kind::Peer, b"k", &row), None, "damage stays as it is");
    }

    #[test]
    fn a_fact_of_the_store_is_read_by_every_version() {
        let row = seal(Kind::Meta, b"mformat", &2u32).unwrap();
        assert_eq!(row[0], CLOSED);
    }

    #[test]
    fn row_13_late_fields_claim_no_more_than_others() {
        // A number, a name, and a list that claims 2^40 elements.
        let mut payload = vec![7, 1, b'a', 0, 253];
        payload.extend_from_slice(&(1_u64 << 40).to_le_bytes());
        let row = envelope(Kind::Peer, b"k", &payload);
        assert_eq!(open::<Later<'_>>(Kind::Peer, b"k", &row), Err(RecordError::LimitExceeded));
        assert!(open::<Early<'_>>(Kind::Peer, b"k", &row).is_ok(), "who does not know it passes over it");
    }

    #[test]
    fn a_chunk_keeps_its_length_in_view() {
        let mut builder = ChunkBuilder::new();
        for round in 0..3 {
            for index in 0..=round {
                builder.push(&sample(&[index; 20])).unwrap();
            }
            let (bytes, len) = (builder.bytes(), builder.len());
            let row = builder.finish(b"log");
            assert_eq!((row.len(), Chunk::parse(b"log", &row).unwrap().len()), (bytes, len));
            assert!(builder.is_empty());
        }
    }

    #[test]
    fn a_chunk_refuses_what_does_not_fit_and_stays_whole() {
        let mut builder = ChunkBuilder::new();
        builder.push(&sample(b"first")).unwrap();
        let body = vec![0; RECORD_BYTES_MAX - 40];
        assert_eq!(builder.push(&sample(&body)), Err(RecordError::LimitExceeded));
        builder.push(&sample(b"second")).unwrap();
        let row = builder.finish(b"log");
        let chunk = Chunk::parse(b"log", &row).unwrap();
        assert_eq!(chunk.decode(1), Some(Ok(sample(b"second"))));
        assert_eq!(chunk.decode::<Sample<'_>>(2), None);
        assert_eq!(chunk.records().count(), 2);
    }

    fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..12)
    }

    fn chunk_of(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = ChunkBuilder::new();
        for body in bodies {
            builder.push(&sample(body)).unwrap();
        }
        builder.finish(b"chunk")
    }

    /// Every record reads as it was written or fails; returns how many failed.
    fn damage(row: &[u8], bodies: &[Vec<u8>]) -> usize {
        let Ok(chunk) = Chunk::parse(b"chunk", row) else { return bodies.len() };
        assert_eq!(chunk.len(), bodies.len());
        let read = |index| chunk.decode::<Sample<'_>>(index);
        bodies
            .iter()
            .enumerate()
            .filter(|(index, body)| match read(*index) {
                Some(Ok(found)) => {
                    assert_eq!(found, sample(body));
                    false
                }
                Some(Err(_)) => true,
                None => panic!("record {index} is missing"),
            })
            .count()
    }

    proptest! {
        #[test]
        fn records_round_trip(number: u64, from in ".{0,20}", body: Vec<u8>, marks: Vec<u32>, key: Vec<u8>) {
            let value = Sample { number, from: &from, body: &body, marks };
            let row = seal(Kind::Overlay, &key, &value).unwrap();
            prop_assert_eq!(open(Kind::Overlay, &key, &row), Ok(value));
        }

        #[test]
        fn a_flipped_bit_or_a_cut_never_gives_a_wrong_record(body: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
            let row = seal(Kind::Peer, b"key", &sample(&body)).unwrap();
            let at = at.index(row.len());
            prop_assert!(open::<Sample<'_>>(Kind::Peer, b"key", &row[..at]).is_err());
            let mut flipped = row;
            flipped[at] ^= 1 << bit;
            prop_assert!(open::<Sample<'_>>(Kind::Peer, b"key", &flipped).is_err());
        }

        #[test]
        fn row_12_a_flipped_bit_in_a_chunk_leaves_the_neighbours(bodies in bodies(), at: prop::sample::Index, bit in 0..8_u8) {
            let mut row = chunk_of(&bodies);
            prop_assert_eq!(damage(&row, &bodies), 0);
            let at = at.index(row.len());
            row[at] ^= 1 << bit;
            let failed = damage(&row, &bodies);
            let directory = CHUNK_HEADER + bodies.len() * 4;
            let expected = if at < directory { bodies.len() } else { 1 };
            prop_assert_eq!(failed, expected);
        }

        #[test]
        fn row_12_a_chunk_is_readable_up_to_where_it_is_cut(bodies in bodies(), at: prop::sample::Index) {
            let row = chunk_of(&bodies);
            let failed = damage(&row[..at.index(row.len())], &bodies);
            prop_assert!(failed > 0);
        }

        #[test]
        fn row_13_arbitrary_bytes_never_panic(row: Vec<u8>) {
            let _ = open::<Sample<'_>>(Kind::Peer, b"key", &row);
            let _ = open::<Vec<String>>(Kind::Peer, b"key", &envelope(Kind::Peer, b"key", &row));
            let _ = open::<Sample<'_>>(Kind::Peer, b"key", &envelope(Kind::Peer, b"key", &row));
            if let Ok(chunk) = Chunk::parse(b"key", &row) {
                prop_assert!(chunk.records().count() <= row.len());
            }
        }
    }
}
