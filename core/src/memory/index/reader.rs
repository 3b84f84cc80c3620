//! Reads an index, a leaf at a time.

use std::fs::File;

use super::{
    ENTRY_BYTES, FOOTER_BYTES, Fingerprint, Frame, LEAF_BYTES, LEAF_FRAMES, LEAF_HEAD_BYTES, MAGIC, Totals,
    ZERO_FLAG, is_sealed,
};
use crate::error::Result;
use crate::memory::file::{damaged, read_compressed, u32_at, u64_at};
use crate::memory::skippable;

/// Where the index of a file is, and what its footer says.
#[derive(Clone, Copy)]
pub(in crate::memory) struct Index {
    pub(super) leaves_at: u64,
    pub(in crate::memory) totals: Totals,
}

impl Index {
    /// The index whose leaves begin at `leaves_at`.
    pub(super) fn new(leaves_at: u64, totals: Totals) -> Self {
        Self { leaves_at, totals }
    }

    /// Opens the index that ends at `end` of `file`; `None` where there is none of ours.
    pub(in crate::memory) fn open(file: &File, end: u64) -> Result<Option<Self>> {
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
    pub(in crate::memory) fn begin(&self) -> Option<u64> {
        self.leaves_at.checked_sub(skippable::HEAD_BYTES)
    }

    /// The first bytes of its skippable frame.
    pub(in crate::memory) fn head(&self) -> Result<[u8; skippable::HEAD_BYTES as usize]> {
        skippable::head(skippable::OURS, self.bytes() - skippable::HEAD_BYTES)
    }

    /// The length of its skippable frame.
    pub(in crate::memory) fn bytes(&self) -> u64 {
        skippable::HEAD_BYTES + self.totals.leaves_bytes().unwrap_or_default() + FOOTER_BYTES as u64
    }

    /// Every frame, in order, each checked to begin where the one before ends.
    pub(in crate::memory) fn frames<'f>(&self, file: &'f File) -> Frames<'f> {
        Frames { file, index: *self, page: Vec::new(), next: 0, at: self.totals.first, raw_at: 0 }
    }

    /// The checksum of all frames, as [`super::Writer::fingerprint`] made it.
    pub(in crate::memory) fn fingerprint(&self, file: &File) -> Result<Fingerprint> {
        let mut fingerprint = Fingerprint::default();
        let mut frames = self.frames(file);
        while let Some(frame) = frames.next()? {
            fingerprint.add(
                frame.stored_bytes,
                frame.raw_bytes,
                frame.is_zero,
                frame.hash.unwrap_or_default(),
            );
        }
        Ok(fingerprint)
    }

    /// Reads leaf `number` into `page`, and checks it.
    pub(super) fn read_leaf(&self, file: &File, number: u64, page: &mut Vec<u8>) -> Result<()> {
        let frames = self.totals.frames.saturating_sub(number * LEAF_FRAMES).min(LEAF_FRAMES);
        let at = self.leaves_at + number * LEAF_BYTES;
        page.resize(LEAF_HEAD_BYTES + frames as usize * ENTRY_BYTES, 0);
        read_compressed(file, page, at)?;
        if !is_sealed(page, number) || u64_at(page, 24) != Some(frames) {
            return Err(damaged(at, "its index is not as it was written"));
        }
        Ok(())
    }

    /// The frame in the entry at `slot` of a leaf, stored at `at` with memory from `raw_at` on; `None` where there
    /// can be no such frame.
    pub(super) fn entry(&self, leaf: &[u8], slot: usize, at: u64, raw_at: u64) -> Option<Frame> {
        let size = u32_at(leaf, slot + 4)?;
        let frame = Frame {
            at,
            raw_at,
            stored_bytes: u32_at(leaf, slot)?,
            raw_bytes: size & !ZERO_FLAG,
            is_zero: size & ZERO_FLAG != 0,
            hash: Some(u64_at(leaf, slot + 8)?),
        };
        let Totals { end, raw_bytes, .. } = self.totals;
        (frame.is_bounded() && frame.end() <= end && frame.raw_end() <= raw_bytes).then_some(frame)
    }
}

/// Goes through the frames of an index, one leaf in memory.
pub(in crate::memory) struct Frames<'f> {
    file: &'f File,
    index: Index,
    page: Vec<u8>,
    next: u64,
    at: u64,
    raw_at: u64,
}

impl Frames<'_> {
    /// The next frame; `None` after the last one, if that ended where the footer says.
    pub(in crate::memory) fn next(&mut self) -> Result<Option<Frame>> {
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
        let Some(frame) = self.index.entry(&self.page, slot, self.at, self.raw_at) else {
            return Err(damaged(
                self.index.leaves_at + number * LEAF_BYTES,
                "its index names an impossible frame",
            ));
        };
        self.next += 1;
        self.at = frame.end();
        self.raw_at = frame.raw_end();
        Ok(Some(frame))
    }
}
