//! Cuts a memory image into pieces for the threads that compress it; holes are skipped unread.

use std::fs::File;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::sys::sparse::next_data;

/// A piece of an image: a hole, and the data behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its place among all pieces, from 0.
    pub(super) number: u64,
    /// Zeros in front of the data that need not be read.
    pub(super) hole_bytes: u64,
    /// Where its data begins: on the grid of frames, unless it is empty.
    pub(super) data_at: u64,
    /// At most [`Pieces::bytes`].
    pub(super) data_bytes: usize,
}

impl Piece {
    /// The part of the image that it covers.
    pub(super) fn bytes(&self) -> u64 {
        self.hole_bytes + self.data_bytes as u64
    }

    /// Where its data is.
    pub(super) fn data(&self) -> Range<u64> {
        self.data_at..self.data_at + self.data_bytes as u64
    }
}

/// Goes through an image, piece by piece.
pub(super) struct Pieces<'f> {
    raw: &'f File,
    raw_bytes: u64,
    frame_bytes: u64,
    extent: Range<u64>,
    at: u64,
    number: u64,
}

impl<'f> Pieces<'f> {
    /// The most data in a piece: some frames, so that threads seldom meet, or one large one.
    pub(super) fn bytes(frame_bytes: usize) -> usize {
        frame_bytes.max(1 << 20)
    }

    /// Pieces of the first `raw_bytes` of `raw`, whose frames begin at multiples of `frame_bytes`.
    pub(super) fn new(raw: &'f File, raw_bytes: u64, frame_bytes: usize) -> Self {
        Self { raw, raw_bytes, frame_bytes: frame_bytes as u64, extent: 0..0, at: 0, number: 0 }
    }

    /// The next piece, `None` behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<Piece>> {
        if self.at >= self.raw_bytes {
            return Ok(None);
        }
        if self.at >= self.extent.end {
            self.extent = next_data(self.raw, self.at)
                .map_err(|e| Error::os("find the holes of", "the raw memory", &e))?
                .unwrap_or(self.raw_bytes..self.raw_bytes);
        }
        // Whole frames, so that each begins where a reader can compute it.
        let on_grid = self.extent.start / self.frame_bytes * self.frame_bytes;
        let start = on_grid.clamp(self.at, self.raw_bytes);
        let end = self.extent.end.next_multiple_of(self.frame_bytes);
        let end = end.min(start + Self::bytes(self.frame_bytes as usize) as u64).min(self.raw_bytes);
        let piece = Piece {
            number: self.number,
            hole_bytes: start - self.at,
            data_at: start,
            data_bytes: (end - start) as usize,
        };
        self.at = end;
        self.number += 1;
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn pieces_cover_an_image_once_in_order_and_on_the_grid() {
        const GRID: u64 = 64 << 10;
        let file = tempfile::tempfile().unwrap();
        let raw_bytes = 64 * GRID + 100;
        file.set_len(raw_bytes).unwrap();
        file.write_all_at(&vec![1; 3 << 20], 5 * GRID + 4096).unwrap();
        let mut pieces = Pieces::new(&file, raw_bytes, GRID as usize);
        let (mut at, mut number) = (0, 0);
        while let Some(piece) = pieces.next().unwrap() {
            assert_eq!((piece.number, piece.data_at), (number, at + piece.hole_bytes));
            assert!(piece.data_bytes == 0 || piece.data_at % GRID == 0, "{piece:?}");
            assert!(piece.data_bytes <= Pieces::bytes(GRID as usize) && piece.bytes() > 0);
            at = piece.data().end;
            number += 1;
        }
        assert_eq!(at, raw_bytes);
    }
}
