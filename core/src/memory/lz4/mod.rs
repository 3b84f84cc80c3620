//! lz4: one standard frame of independent blocks of 64 KiB, each with its checksum.
//!
//! ```text
//! header       content size, block checksums, no content checksum (it could only be made in sequence)
//! blocks       one for every 64 KiB of the image, zeros too: lz4 has no way to say "a run of zeros"
//! end mark     four zero bytes
//! index        skippable frame of ours (memory/index.rs)
//! ```
//! Never several frames: the vendor's decoder stops after the first one without an error. Go's pierrec/lz4 reads it, in
//! version 2 and from v4.1.22 on, which the vendor has: in between it took a block's checksum for one of its memory
//! (their issue 223).
//!
//! Levels are those of the `lz4` command: 0 and 1 are the fast coder (there, too, they are one), 2 is LZ4MID and 3 to
//! 9 are LZ4HC.

pub(super) mod header;
pub(super) mod stream;
pub(super) mod walk;
pub(super) mod zeros;

use twox_hash::XxHash32;

use super::file::{defect, u32_at};
use super::format::Standard;
use crate::error::Result;
use crate::sys::lz4::{HighCompression, compress_bound, compress_fast, decompress, decompress_front};

/// Memory in a block.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// Memory in one entry of the index for a run of zero blocks: keeps its stored bytes small enough to hold.
pub(super) const MAX_ZERO_RUN_BYTES: u32 = 64 << 20;
/// A front is decoded in steps of a page: the next bytes are often asked for next.
pub(super) const FRONT_GRAIN_BYTES: usize = 4096;
pub(super) const END_MARK: [u8; 4] = [0; 4];
const LENGTH_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;
/// In the length of a block: it is stored as it is.
const PLAIN: u32 = 1 << 31;
/// From here on LZ4MID and LZ4HC look for longer matches.
pub(super) const FIRST_HIGH_LEVEL: i32 = 2;
const UNDECODABLE: &str = "a block cannot be decoded";

/// The most bytes that a block with `raw_bytes` of memory can take, while it is being made.
pub(super) fn stored_bound(raw_bytes: usize) -> usize {
    LENGTH_BYTES + compress_bound(raw_bytes) + CHECKSUM_BYTES
}

/// Compresses blocks at one level.
pub(super) enum Encoder {
    Fast,
    High(HighCompression),
}

impl Encoder {
    pub(super) fn new(level: i32) -> Self {
        match level {
            ..FIRST_HIGH_LEVEL => Self::Fast,
            _ => Self::High(HighCompression::new(level)),
        }
    }

    /// Writes `raw` as one block, its length in front and its checksum behind, to the front of `out`; returns the
    /// bytes that this took.
    pub(super) fn encode(&mut self, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        let too_small = || defect("the buffer for an lz4 block is too small");
        let (length, rest) = out.split_first_chunk_mut::<LENGTH_BYTES>().ok_or_else(too_small)?;
        let compressed = match self {
            Self::Fast => compress_fast(raw, rest),
            Self::High(coder) => coder.compress(raw, rest),
        };
        let compressed = compressed.ok_or_else(|| defect("lz4 did not compress a block"))?;
        let is_plain = compressed >= raw.len();
        let data_bytes = if is_plain { raw.len() } else { compressed };
        let (data, rest) = rest.split_at_mut_checked(data_bytes).ok_or_else(too_small)?;
        if is_plain {
            data.copy_from_slice(raw);
        }
        let flag = if is_plain { PLAIN } else { 0 };
        *length = (data_bytes as u32 | flag).to_le_bytes();
        *rest.first_chunk_mut().ok_or_else(too_small)? = XxHash32::oneshot(0, data).to_le_bytes();
        Ok(LENGTH_BYTES + data_bytes + CHECKSUM_BYTES)
    }
}

/// Memory at the end of an image that is stored as it is, as one block.
///
/// `lz4` up to 1.10 reads four bytes too many of a compressed block behind a full one, where blocks have checksums:
/// they come from the next block, but behind the last one from our index, which it then takes for garbage.
pub(super) fn plain_tail_bytes(raw_bytes: u64) -> u64 {
    let block_bytes = BLOCK_BYTES as u64;
    raw_bytes - raw_bytes.saturating_sub(1) / block_bytes * block_bytes
}

/// `raw`, at most a block, as a block that is not compressed.
pub(super) fn plain_block(raw: &[u8]) -> Vec<u8> {
    frame_block(raw, PLAIN)
}

/// Puts the length in front of the data of a block, and the checksum behind it.
fn frame_block(data: &[u8], flag: u32) -> Vec<u8> {
    let mut block = Vec::with_capacity(LENGTH_BYTES + data.len() + CHECKSUM_BYTES);
    block.extend((data.len() as u32 | flag).to_le_bytes());
    block.extend(data);
    block.extend(XxHash32::oneshot(0, data).to_le_bytes());
    block
}

/// Decodes `stored`, one independent block from its length to its checksum, if it has one, into `raw`, which it has to
/// fill; says what is wrong where it does not.
pub(super) fn decode(stored: &[u8], raw: &mut [u8], standard: Standard) -> Result<(), &'static str> {
    let (data, is_plain) = block_data(stored, standard)?;
    is_filled(decode_data(data, is_plain, &[], raw)?, raw)
}

/// As [`decode`], where `raw` is only the front of the block, whose stored bytes were checked.
pub(super) fn decode_front(stored: &[u8], raw: &mut [u8]) -> Result<(), &'static str> {
    let (data, is_plain) = block_data(stored, Standard::Skipped)?;
    let decoded = match is_plain {
        true => copy(data.get(..raw.len()).unwrap_or(data), raw)?,
        false => decompress_front(data, raw).ok_or(UNDECODABLE)?,
    };
    is_filled(decoded, raw)
}

/// The data of `stored`, and whether it is stored as it is.
fn block_data(stored: &[u8], standard: Standard) -> Result<(&[u8], bool), &'static str> {
    let length = u32_at(stored, 0).ok_or("a block has no length")?;
    let (data, checksum) = stored
        .get(LENGTH_BYTES..)
        .and_then(|rest| rest.split_at_checked((length & !PLAIN) as usize))
        .filter(|(_, checksum)| matches!(checksum.len(), 0 | CHECKSUM_BYTES))
        .ok_or("a block is not as long as its index says")?;
    let is_checked = standard == Standard::Checked && !checksum.is_empty();
    if is_checked && XxHash32::oneshot(0, data).to_le_bytes() != checksum {
        return Err("the checksum of a block does not match");
    }
    Ok((data, length & PLAIN != 0))
}

fn is_filled(decoded: usize, raw: &[u8]) -> Result<(), &'static str> {
    if decoded == raw.len() { Ok(()) } else { Err("a block holds less than its index says") }
}

/// Decodes the data of a block to the front of `raw` and returns its length; `before` is the memory in front of it that
/// a linked block refers to.
pub(super) fn decode_data(
    data: &[u8],
    is_plain: bool,
    before: &[u8],
    raw: &mut [u8],
) -> Result<usize, &'static str> {
    if is_plain { copy(data, raw) } else { decompress(data, before, raw).ok_or(UNDECODABLE) }
}

fn copy(data: &[u8], raw: &mut [u8]) -> Result<usize, &'static str> {
    raw.get_mut(..data.len()).ok_or("a block holds more than it may")?.copy_from_slice(data);
    Ok(data.len())
}
