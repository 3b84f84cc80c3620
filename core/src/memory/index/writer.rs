//! Writes an index while the frames are being written.

use std::fs::File;

use super::{
    ENTRY_BYTES, Encoded, FOOTER_BYTES, Fingerprint, Index, LEAF_BYTES, LEAF_FRAMES, LEAF_HEAD_BYTES, Totals,
    ZERO_FLAG, seal,
};
use crate::error::Result;
use crate::memory::file::{read_compressed, write_compressed};
use crate::memory::skippable;

/// Collects the frames of a file that is being written, in their order.
pub(in crate::memory) struct Writer<'f> {
    file: &'f File,
    leaf: Vec<u8>,
    /// Where full leaves wait: past everything that the frames can reach.
    staging: u64,
    totals: Totals,
    fingerprint: Fingerprint,
}

impl<'f> Writer<'f> {
    /// Starts an index of frames that begin at `first` of `file`; full leaves are staged from `staging` on.
    pub(in crate::memory) fn new(file: &'f File, first: u64, staging: u64) -> Self {
        let totals = Totals { raw_bytes: 0, first, end: first, frames: 0 };
        Self {
            file,
            leaf: Vec::with_capacity(LEAF_BYTES as usize),
            staging,
            totals,
            fingerprint: Fingerprint::default(),
        }
    }

    /// The end of all frames so far, where the next one has to be written.
    pub(in crate::memory) fn end(&self) -> u64 {
        self.totals.end
    }

    /// A checksum of all frames so far, by which to know them again.
    pub(in crate::memory) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Gives the next frame its place: right behind the one before, in the file and in the image.
    pub(in crate::memory) fn push(&mut self, frame: &Encoded) -> Result<()> {
        if self.leaf.is_empty() {
            for word in [0, self.totals.end, self.totals.raw_bytes, 0] {
                self.leaf.extend(word.to_le_bytes());
            }
        }
        let flag = if frame.is_zero { ZERO_FLAG } else { 0 };
        self.leaf.extend(frame.stored_bytes.to_le_bytes());
        self.leaf.extend((frame.raw_bytes | flag).to_le_bytes());
        self.leaf.extend(frame.hash.to_le_bytes());
        self.fingerprint.add(frame.stored_bytes, frame.raw_bytes, frame.is_zero, frame.hash);
        self.totals.end += u64::from(frame.stored_bytes);
        self.totals.raw_bytes += u64::from(frame.raw_bytes);
        self.totals.frames += 1;
        if self.totals.frames.is_multiple_of(LEAF_FRAMES) {
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
    pub(in crate::memory) fn finish(mut self, at: u64) -> Result<(Index, u64)> {
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
        Ok((Index::new(leaves_at, totals), end))
    }
}
