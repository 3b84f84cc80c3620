//! Finds one frame of an index: a binary search over its leaves, which reads and checks only those that it meets.

use std::borrow::Cow;
use std::fs::File;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Frame, Index, LEAF_BYTES, LEAF_FRAMES, LEAF_HEAD_BYTES};
use crate::error::Result;
use crate::memory::file::{damaged, u64_at};

/// No leaf begins there: an image is shorter.
const UNKNOWN: u64 = u64::MAX;
/// Of a longer index leaves are read each time: 8 MiB of them are those of 16 GiB in frames of 32 KiB.
const MOST_KEPT: u64 = 2048;

/// An index, and what earlier searches have learnt of its leaves.
pub(in crate::memory) struct Search {
    index: Index,
    /// Where the memory of each leaf begins, once that leaf was read and found sound.
    begins: Box<[AtomicU64]>,
    /// Leaves that were read and found sound, where they are not too many.
    kept: Box<[OnceLock<Box<[u8]>>]>,
}

impl Search {
    pub(in crate::memory) fn new(index: Index) -> Self {
        let leaves = index.totals.leaves();
        let begins = (0..leaves).map(|_| AtomicU64::new(UNKNOWN)).collect();
        let kept = (0..leaves).filter(|_| leaves <= MOST_KEPT).map(|_| OnceLock::new()).collect();
        Self { index, begins, kept }
    }

    /// The index that is searched.
    pub(in crate::memory) fn index(&self) -> &Index {
        &self.index
    }

    /// The frame that holds byte `raw_at` of the image, which has to be in it.
    ///
    /// # Errors
    /// `corrupt` where a leaf on the way is damaged: all frames can then be found in their own headers.
    pub(in crate::memory) fn find(&self, file: &File, raw_at: u64) -> Result<Frame> {
        // The last leaf that begins at or before the byte.
        let (mut low, mut high) = (0, self.begins.len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.begin(file, middle)? <= raw_at {
                low = middle;
            } else {
                high = middle;
            }
        }
        let number = low as u64;
        let leaf_at = self.index.leaves_at + number * LEAF_BYTES;
        let page = self.leaf(file, low)?;
        let word = |at| u64_at(&page, at).unwrap_or(UNKNOWN);
        let (mut at, mut memory_at) = (word(8), word(16));
        let frames = self.index.totals.frames.saturating_sub(number * LEAF_FRAMES).min(LEAF_FRAMES);
        for slot in 0..frames as usize {
            let frame = self.index.entry(&page, LEAF_HEAD_BYTES + slot * super::ENTRY_BYTES, at, memory_at);
            let frame = frame.ok_or_else(|| damaged(leaf_at, "its index names an impossible frame"))?;
            if (frame.raw_at..frame.raw_end()).contains(&raw_at) {
                return Ok(frame);
            }
            (at, memory_at) = (frame.end(), frame.raw_end());
        }
        Err(damaged(leaf_at, "its index does not add up"))
    }

    /// Where the memory of leaf `number` begins.
    fn begin(&self, file: &File, number: usize) -> Result<u64> {
        let Some(known) = self.begins.get(number) else { return Ok(UNKNOWN) };
        match known.load(Ordering::Relaxed) {
            UNKNOWN => {
                let begin = u64_at(&self.leaf(file, number)?, 16).unwrap_or(UNKNOWN);
                known.store(begin, Ordering::Relaxed);
                Ok(begin)
            }
            begin => Ok(begin),
        }
    }

    /// Leaf `number`, checked.
    fn leaf(&self, file: &File, number: usize) -> Result<Cow<'_, [u8]>> {
        let place = self.kept.get(number);
        if let Some(known) = place.and_then(OnceLock::get) {
            return Ok(Cow::Borrowed(known));
        }
        let mut page = Vec::new();
        self.index.read_leaf(file, number as u64, &mut page)?;
        Ok(match place {
            Some(place) => Cow::Borrowed(place.get_or_init(|| page.into_boxed_slice())),
            None => Cow::Owned(page),
        })
    }
}
