//! What one thread makes of a piece of an image.

use std::fs::File;

use twox_hash::XxHash3_64;

use super::file::{defect, read_raw};
use super::format::{self, Decoder, Encoder, Standard};
use super::index::Encoded;
use super::pieces::{Piece, Pieces};
use super::workers::Crew;
use super::zero::is_zero;
use crate::error::Result;
use crate::types::{Algorithm, CompressionSettings};

/// Memory that is read at once, or one frame: it is encoded and looked at again while it is in the cache of the CPU
/// (1 MiB and more on servers). Parts of 1 MiB took a fifth more CPU time.
const PART_BYTES: usize = 256 << 10;

/// An encoded piece: zeros, frames without a gap between them, zeros. The outer zeros may go on in its neighbours.
pub(super) struct Batch {
    pub(super) zeros_before: u64,
    pub(super) frames: Vec<Encoded>,
    pub(super) zeros_after: u64,
    algorithm: Algorithm,
    frame_bytes: usize,
    encoder: Encoder,
    decoder: Decoder,
    /// One frame in this many is decoded and compared.
    frames_per_proof: u64,
    made: u64,
    /// What the last such frame decoded to.
    decoded: Vec<u8>,
    raw: Vec<u8>,
    stored: Vec<u8>,
    filled: usize,
}

impl Batch {
    pub(super) fn new(settings: CompressionSettings) -> Result<Self> {
        let frame_bytes = format::frame_bytes(settings);
        let frames = Pieces::bytes(frame_bytes).div_ceil(frame_bytes);
        Ok(Self {
            zeros_before: 0,
            frames: Vec::with_capacity(frames),
            zeros_after: 0,
            algorithm: settings.algorithm,
            frame_bytes,
            encoder: Encoder::new(settings)?,
            decoder: Decoder::new(settings.algorithm)?,
            frames_per_proof: format::frames_per_proof(settings),
            made: 0,
            decoded: vec![0; frame_bytes],
            raw: vec![0; PART_BYTES.max(frame_bytes)],
            stored: vec![0; frames * format::stored_bound(settings.algorithm, frame_bytes)],
            filled: 0,
        })
    }

    /// Its frames as they are stored.
    pub(super) fn stored(&self) -> &[u8] {
        self.stored.get(..self.filled).unwrap_or_default()
    }

    /// Reads `piece` of `image`, and encodes it in place of what was here before.
    ///
    /// # Errors
    /// `internal` where a frame that is looked at does not decode to its memory: then the codec, or this machine's CPU or
    /// memory, is at fault.
    pub(super) fn fill(&mut self, image: &File, piece: &Piece, crew: &Crew<'_>) -> Result<()> {
        self.zeros_before = piece.hole_bytes;
        self.frames.clear();
        self.zeros_after = 0;
        self.filled = 0;
        let mut raw = std::mem::take(&mut self.raw);
        let mut at = piece.data().start;
        while at < piece.data().end {
            let left = usize::try_from(piece.data().end - at).unwrap_or(usize::MAX);
            let part_bytes = raw.len().min(left);
            let (memory, _) = raw.split_at_mut(part_bytes);
            read_raw(image, memory, at)?;
            memory.chunks(self.frame_bytes).try_for_each(|frame| self.add(frame, crew))?;
            at += part_bytes as u64;
        }
        self.raw = raw;
        Ok(())
    }

    fn add(&mut self, frame: &[u8], crew: &Crew<'_>) -> Result<()> {
        crew.check()?;
        if is_zero(frame) {
            let run = if self.frames.is_empty() { &mut self.zeros_before } else { &mut self.zeros_after };
            *run += frame.len() as u64;
            return Ok(());
        }
        self.inner_zeros()?;
        let room = self.stored.get_mut(self.filled..).unwrap_or_default();
        let stored_bytes = self.encoder.encode(frame, room, &|| crew.check())?;
        if self.made.is_multiple_of(self.frames_per_proof) {
            self.check(frame, stored_bytes)?;
        }
        self.made += 1;
        self.push(stored_bytes, frame.len(), false)
    }

    /// Decodes the frame that was just made of `raw`, and compares.
    fn check(&mut self, raw: &[u8], stored_bytes: usize) -> Result<()> {
        let stored = self.stored.get(self.filled..).and_then(|rest| rest.get(..stored_bytes));
        let decoded = self.decoded.get_mut(..raw.len());
        let (Some(stored), Some(decoded)) = (stored, decoded) else {
            return Err(defect("a frame outgrew its buffer"));
        };
        self.decoder.decode(stored, decoded, Standard::Skipped).map_err(defect)?;
        if decoded == raw {
            Ok(())
        } else {
            Err(defect("a frame decodes to something else than was compressed"))
        }
    }

    /// Puts zeros between two data frames where they belong.
    fn inner_zeros(&mut self) -> Result<()> {
        let run = std::mem::take(&mut self.zeros_after) as usize;
        if run == 0 {
            return Ok(());
        }
        let mut zeros = Vec::new();
        format::append_zeros(self.algorithm, run as u32, &mut zeros);
        let room = self.stored.get_mut(self.filled..).and_then(|room| room.get_mut(..zeros.len()));
        room.ok_or_else(|| defect("zeros outgrew their buffer"))?.copy_from_slice(&zeros);
        self.push(zeros.len(), run, true)
    }

    fn push(&mut self, stored_bytes: usize, raw_bytes: usize, is_zero: bool) -> Result<()> {
        let end = self.filled + stored_bytes;
        let bytes = self.stored.get(self.filled..end).ok_or_else(|| defect("a frame outgrew its buffer"))?;
        self.frames.push(encoded(bytes, raw_bytes as u32, is_zero));
        self.filled = end;
        Ok(())
    }
}

/// A frame of `raw_bytes` that is stored as `stored`: neither is longer than the index can say.
pub(super) fn encoded(stored: &[u8], raw_bytes: u32, is_zero: bool) -> Encoded {
    Encoded { stored_bytes: stored.len() as u32, raw_bytes, is_zero, hash: XxHash3_64::oneshot(stored) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::memory::tests::{lz4, zstd};

    #[test]
    fn a_frame_that_decodes_to_something_else_is_noticed() {
        for settings in [zstd(1), lz4(0)] {
            let mut batch = Batch::new(settings).unwrap();
            let mut memory = vec![7; batch.frame_bytes];
            let stored_bytes = batch.encoder.encode(&memory, &mut batch.stored, &|| Ok(())).unwrap();
            batch.check(&memory, stored_bytes).unwrap();
            memory[100] ^= 1;
            assert_eq!(batch.check(&memory, stored_bytes).unwrap_err().kind(), Kind::Internal);
        }
    }

    #[test]
    fn where_encoding_is_slow_each_frame_is_looked_at() {
        assert_eq!([zstd(1), zstd(3), lz4(0), lz4(1)].map(format::frames_per_proof), [16; 4]);
        assert_eq!([zstd(4), zstd(19), lz4(2), lz4(9)].map(format::frames_per_proof), [1; 4]);
    }
}
