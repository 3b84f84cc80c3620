//! Our index: where each frame of a compressed file is, whose memory it holds, and its checksum.
//!
//! It lies behind the frames in a skippable frame of its own, in leaves of one page, so that one entry can be found
//! and checked without reading the rest, and so that writing it takes no memory that grows with the image: full
//! leaves are staged in the file itself, past the end that it can reach, and moved down at the end.
//!
//! ```text
//! leaf (4096 bytes, the last one shorter)          footer (56 bytes)
//!  0 xxh3-64 of the rest, seeded with its number    0 xxh3-64 of the rest
//!  8 offset of its first frame in the file          8 length of the image
//! 16 offset of that frame's memory in the image    16 offset of the first frame
//! 24 number of entries (u32), 0 (u32)              24 end of the last frame
//! 32 entries of 16 bytes:                          32 number of frames
//!     0 stored bytes (u32)                         40 0 (u64)
//!     4 memory bytes (u32), bit 31: all zero       48 "HypeIdx1"
//!     8 xxh3-64 of the stored bytes
//! ```
//! All numbers are little-endian, u64 where nothing is said.

mod reader;
mod search;
mod writer;

use twox_hash::XxHash3_64;

pub(super) use reader::{Frames, Index};
pub(super) use search::Search;
pub(super) use writer::Writer;

const LEAF_BYTES: u64 = 4096;
const LEAF_HEAD_BYTES: usize = 32;
const ENTRY_BYTES: usize = 16;
const LEAF_FRAMES: u64 = (LEAF_BYTES - LEAF_HEAD_BYTES as u64) / ENTRY_BYTES as u64;
const FOOTER_BYTES: usize = 56;
const MAGIC: &[u8; 8] = b"HypeIdx1";
const ZERO_FLAG: u32 = 1 << 31;

/// The most frames that one file may have: their seek table and index still fit into skippable frames.
pub(super) const MAX_FRAMES: u64 = 1 << 27;
/// The most memory, and the most stored bytes, of a frame that is not all zero: bounds what a reader must hold.
pub(super) const MAX_DATA_FRAME_BYTES: u32 = 4 << 20;
const MAX_STORED_BYTES: u32 = MAX_DATA_FRAME_BYTES + (64 << 10);
/// The most memory of a frame of zeros.
pub(super) const MAX_ZERO_FRAME_BYTES: u32 = 1 << 30;

/// A piece of a compressed file that can be decoded alone: a zstd frame, an lz4 block, or a run of zero blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Where it is stored in the file.
    pub(super) at: u64,
    /// Where its memory is in the image.
    pub(super) raw_at: u64,
    /// How long it is in the file.
    pub(super) stored_bytes: u32,
    /// How much memory it holds.
    pub(super) raw_bytes: u32,
    /// Whether all of that is zero.
    pub(super) is_zero: bool,
    /// The xxh3-64 of the stored bytes, where an index knows it.
    pub(super) hash: Option<u64>,
}

impl Frame {
    /// Tells whether a reader can take this frame in one piece.
    pub(super) fn is_bounded(&self) -> bool {
        let most = if self.is_zero { MAX_ZERO_FRAME_BYTES } else { MAX_DATA_FRAME_BYTES };
        self.raw_bytes <= most && (1..=MAX_STORED_BYTES).contains(&self.stored_bytes)
    }

    /// The end of its stored bytes.
    pub(super) fn end(&self) -> u64 {
        self.at.saturating_add(self.stored_bytes.into())
    }

    /// The end of its memory.
    pub(super) fn raw_end(&self) -> u64 {
        self.raw_at.saturating_add(self.raw_bytes.into())
    }
}

/// A frame that has been encoded and has no place yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded {
    pub(super) stored_bytes: u32,
    pub(super) raw_bytes: u32,
    pub(super) is_zero: bool,
    pub(super) hash: u64,
}

/// A checksum of all frames of an index, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    fn add(&mut self, stored_bytes: u32, raw_bytes: u32, is_zero: bool, hash: u64) {
        let sizes = u64::from(stored_bytes) << 32 | u64::from(raw_bytes) ^ u64::from(is_zero) << 31;
        self.0 = XxHash3_64::oneshot_with_seed(self.0 ^ sizes, &hash.to_le_bytes());
    }
}

/// What the footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) raw_bytes: u64,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) frames: u64,
}

impl Totals {
    fn leaves(&self) -> u64 {
        self.frames.div_ceil(LEAF_FRAMES)
    }

    /// Bytes of all leaves; `None` for counts that no file has.
    fn leaves_bytes(&self) -> Option<u64> {
        (self.frames <= MAX_FRAMES)
            .then(|| self.leaves() * LEAF_HEAD_BYTES as u64 + self.frames * ENTRY_BYTES as u64)
    }

    fn footer(&self) -> [u8; FOOTER_BYTES] {
        let mut footer = [0; FOOTER_BYTES];
        let words = [0, self.raw_bytes, self.first, self.end, self.frames, 0, u64::from_le_bytes(*MAGIC)];
        for (word, bytes) in words.iter().zip(footer.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        seal(&mut footer, 0);
        footer
    }
}

/// Puts the checksum of everything behind the first 8 bytes into them.
fn seal(bytes: &mut [u8], seed: u64) {
    if let Some((sum, rest)) = bytes.split_first_chunk_mut() {
        *sum = XxHash3_64::oneshot_with_seed(seed, rest).to_le_bytes();
    }
}

fn is_sealed(bytes: &[u8], seed: u64) -> bool {
    bytes
        .split_first_chunk()
        .is_some_and(|(sum, rest)| u64::from_le_bytes(*sum) == XxHash3_64::oneshot_with_seed(seed, rest))
}
