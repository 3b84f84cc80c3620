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

use std::fs::File;

use twox_hash::XxHash3_64;

use super::file::{damaged, read_compressed, u32_at, u64_at, write_compressed};
use super::skippable;
use crate::error::Result;

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
        self.raw_bytes <= most && self.stored_bytes <= MAX_STORED_BYTES
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

/// Collects the frames of a file that is being written, in their order.
pub(super) struct Writer<'f> {
    file: &'f File,
    leaf: Vec<u8>,
    /// Where full leaves wait: past everything that the frames can reach.
    staging: u64,
    totals: Totals,
}

impl<'f> Writer<'f> {
    /// Starts an index of frames that begin at `first` of `file`; full leaves are staged from `staging` on.
    pub(super) fn new(file: &'f File, first: u64, staging: u64) -> Self {
        let totals = Totals { raw_bytes: 0, first, end: first, frames: 0 };
        Self { file, leaf: Vec::with_capacity(LEAF_BYTES as usize), staging, totals }
    }

    /// The end of all frames so far, where the next one has to be written.
    pub(super) fn end(&self) -> u64 {
        self.totals.end
    }

    /// Gives the next frame its place: right behind the one before, in the file and in the image.
    pub(super) fn push(&mut self, frame: &Encoded) -> Result<()> {
        if self.leaf.is_empty() {
            for word in [0, self.totals.end, self.totals.raw_bytes, 0] {
                self.leaf.extend(word.to_le_bytes());
            }
        }
        let flag = if frame.is_zero { ZERO_FLAG } else { 0 };
        self.leaf.extend(frame.stored_bytes.to_le_bytes());
        self.leaf.extend((frame.raw_bytes | flag).to_le_bytes());
        self.leaf.extend(frame.hash.to_le_bytes());
        self.totals.end += u64::from(frame.stored_bytes);
        self.totals.raw_bytes += u64::from(frame.raw_bytes);
        self.totals.frames += 1;
        if self.totals.frames % LEAF_FRAMES == 0 {
            let number = self.totals.frames / LEAF_FRAMES - 1;
            self.seal_leaf(number);
            write_compressed(self.file, &self.leaf, self.staging + number * LEAF_BYTES)?;
            self.leaf.clear();
        }
        Ok(())
    }

    fn seal_leaf(&mut self, number: u64) {
        let count = (self.leaf.len().saturating_sub(LEAF_HEAD_BYTES) / ENTRY_BYTES) as u64;
        if let Some(bytes) = self.leaf.get_mut(24..32) {
            bytes.copy_from_slice(&count.to_le_bytes());
        }
        seal(&mut self.leaf, number);
    }

    /// Writes the index as a skippable frame at `at`, and returns it with the offset of its end.
    pub(super) fn finish(mut self, at: u64) -> Result<(Index, u64)> {
        let totals = self.totals;
        let payload_bytes = totals.leaves_bytes().unwrap_or(u64::MAX).saturating_add(FOOTER_BYTES as u64);
        let leaves_at = at + skippable::HEAD_BYTES;
        write_compressed(self.file, &skippable::head(skippable::OURS, payload_bytes)?, at)?;
        let full = totals.frames / LEAF_FRAMES;
        let mut page = [0; LEAF_BYTES as usize];
        for number in 0..full {
            read_compressed(self.file, &mut page, self.staging + number * LEAF_BYTES)?;
            write_compressed(self.file, &page, leaves_at + number * LEAF_BYTES)?;
        }
        if !self.leaf.is_empty() {
            self.seal_leaf(full);
            write_compressed(self.file, &self.leaf, leaves_at + full * LEAF_BYTES)?;
        }
        let end = leaves_at + payload_bytes;
        write_compressed(self.file, &totals.footer(), end - FOOTER_BYTES as u64)?;
        Ok((Index { leaves_at, totals }, end))
    }
}

/// The index of a file, read leaf by leaf.
#[derive(Clone, Copy)]
pub(super) struct Index {
    leaves_at: u64,
    pub(super) totals: Totals,
}

impl Index {
    /// Opens the index that ends at `end` of `file`; `None` where there is none of ours.
    pub(super) fn open(file: &File, end: u64) -> Result<Option<Self>> {
        let Some(footer_at) = end.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
        let mut footer = [0; FOOTER_BYTES];
        read_compressed(file, &mut footer, footer_at)?;
        if !footer.ends_with(MAGIC) {
            return Ok(None);
        }
        let word = |at| u64_at(&footer, at).unwrap_or_default();
        let totals = Totals { raw_bytes: word(8), first: word(16), end: word(24), frames: word(32) };
        let leaves_at = totals.leaves_bytes().and_then(|bytes| footer_at.checked_sub(bytes));
        match leaves_at {
            Some(leaves_at) if is_sealed(&footer, 0) && totals.first <= totals.end => {
                Ok(Some(Self { leaves_at, totals }))
            }
            _ => Err(damaged(footer_at, "the footer of its index is not as it was written")),
        }
    }

    /// Where the skippable frame of this index begins; nothing where there is no room for one.
    pub(super) fn begin(&self) -> Option<u64> {
        self.leaves_at.checked_sub(skippable::HEAD_BYTES)
    }

    /// The first bytes of its skippable frame.
    pub(super) fn head(&self) -> Result<[u8; skippable::HEAD_BYTES as usize]> {
        skippable::head(skippable::OURS, self.bytes() - skippable::HEAD_BYTES)
    }

    /// The length of its skippable frame.
    pub(super) fn bytes(&self) -> u64 {
        skippable::HEAD_BYTES + self.totals.leaves_bytes().unwrap_or_default() + FOOTER_BYTES as u64
    }

    /// Every frame, in order, each checked to begin where the one before ends.
    pub(super) fn frames<'f>(&self, file: &'f File) -> Frames<'f> {
        Frames { file, index: *self, page: Vec::new(), next: 0, at: self.totals.first, raw_at: 0 }
    }

    /// Reads leaf `number` into `page`, and checks it.
    fn read_leaf(&self, file: &File, number: u64, page: &mut Vec<u8>) -> Result<()> {
        let frames = self.totals.frames.saturating_sub(number * LEAF_FRAMES).min(LEAF_FRAMES);
        let at = self.leaves_at + number * LEAF_BYTES;
        page.resize(LEAF_HEAD_BYTES + frames as usize * ENTRY_BYTES, 0);
        read_compressed(file, page, at)?;
        if !is_sealed(page, number) || u64_at(page, 24) != Some(frames) {
            return Err(damaged(at, "its index is not as it was written"));
        }
        Ok(())
    }
}

/// Goes through the frames of an index, one leaf in memory.
pub(super) struct Frames<'f> {
    file: &'f File,
    index: Index,
    page: Vec<u8>,
    next: u64,
    at: u64,
    raw_at: u64,
}

impl Frames<'_> {
    /// The next frame; `None` after the last one, if that ended where the footer says.
    pub(super) fn next(&mut self) -> Result<Option<Frame>> {
        let totals = self.index.totals;
        if self.next == totals.frames {
            return match self.at == totals.end && self.raw_at == totals.raw_bytes {
                true => Ok(None),
                false => Err(damaged(self.index.leaves_at, "its index does not add up")),
            };
        }
        let number = self.next / LEAF_FRAMES;
        let slot = LEAF_HEAD_BYTES + (self.next % LEAF_FRAMES) as usize * ENTRY_BYTES;
        if slot == LEAF_HEAD_BYTES {
            self.index.read_leaf(self.file, number, &mut self.page)?;
            if u64_at(&self.page, 8) != Some(self.at) || u64_at(&self.page, 16) != Some(self.raw_at) {
                return Err(damaged(self.index.leaves_at + number * LEAF_BYTES, "its index does not add up"));
            }
        }
        let field = |at| u32_at(&self.page, slot + at).unwrap_or_default();
        let frame = Frame {
            at: self.at,
            raw_at: self.raw_at,
            stored_bytes: field(0),
            raw_bytes: field(4) & !ZERO_FLAG,
            is_zero: field(4) & ZERO_FLAG != 0,
            hash: u64_at(&self.page, slot + 8),
        };
        if !frame.is_bounded() || frame.end() > totals.end || frame.raw_end() > totals.raw_bytes {
            return Err(damaged(
                self.index.leaves_at + number * LEAF_BYTES,
                "its index names an impossible frame",
            ));
        }
        self.next += 1;
        self.at = frame.end();
        self.raw_at = frame.raw_end();
        Ok(Some(frame))
    }
}
