//! Finds one frame of an index: a binary search over its leaves, which reads and checks only those that it meets.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Frame, Index, LEAF_BYTES, LEAF_FRAMES, LEAF_HEAD_BYTES};
use crate::error::Result;
use crate::memory::file::{damaged, u64_at};

/// No leaf begins there: an image is shorter.
const UNKNOWN: u64 = u64::MAX;

/// An index, and what earlier searches have learnt of its leaves: 8 bytes for each 254 frames.
pub(in crate::memory) struct Search {
    index: Index,
    /// Where the memory of each leaf begins, once that leaf was read and found sound.
    begins: Box<[AtomicU64]>,
}

impl Search {
    pub(in crate::memory) fn new(index: Index) -> Self {
        let begins = (0..index.totals.leaves()).map(|_| AtomicU64::new(UNKNOWN)).collect();
        Self { index, begins }
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
        let mut page = Vec::new();
        // The last leaf that begins at or before the byte.
        let (mut low, mut high) = (0, self.begins.len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.begin(file, middle, &mut page)? <= raw_at {
                low = middle;
            } else {
                high = middle;
            }
        }
        let number = low as u64;
        let leaf_at = self.index.leaves_at + number * LEAF_BYTES;
        self.index.read_leaf(file, number, &mut page)?;
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
    fn begin(&self, file: &File, number: usize, page: &mut Vec<u8>) -> Result<u64> {
        let Some(known) = self.begins.get(number) else { return Ok(UNKNOWN) };
        match known.load(Ordering::Relaxed) {
            UNKNOWN => {
                self.index.read_leaf(file, number as u64, page)?;
                let begin = u64_at(page, 16).unwrap_or(UNKNOWN);
                known.store(begin, Ordering::Relaxed);
                Ok(begin)
            }
            begin => Ok(begin),
        }
    }
}
