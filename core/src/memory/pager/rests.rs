//! What waits to be installed beside the pages of one VM that were wanted.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::regions::Region;
use crate::memory::image::Piece;

/// Neighbourhoods that wait to be installed; older ones are left to be faulted in. What they hold stays in the caches of
/// a CPU.
const MOST_RESTS: usize = 32;
/// The most memory that they hold, together and beside that of one of them.
const MOST_BYTES: usize = 4 << 20;
/// Buffers that are kept for the next frame: fresh ones cost a page fault of our own for each of their pages.
const MOST_SPARE: usize = 8;

/// The neighbours of a page that was wanted, from `next` on.
pub(super) struct Rest {
    pub(super) region: usize,
    pub(super) page: u64,
    pub(super) next: u64,
    /// Read when its turn comes, where that costs no decoding, or where it is to be more than the front that it was.
    pub(super) piece: Option<Piece>,
    /// The frame of that piece, which may be no more than its front: of what lies behind it nothing was decoded yet.
    /// Empty where nothing was decoded at all.
    pub(super) frame: Range<u64>,
}

impl Rest {
    fn bytes(&self) -> usize {
        self.piece.as_ref().and_then(|piece| piece.memory.as_ref()).map_or(0, |memory| memory.len())
    }
}

/// Those of one VM, and the buffers of those before them.
#[derive(Default)]
pub(super) struct Rests {
    waiting: VecDeque<Rest>,
    spare: Vec<Vec<u8>>,
}

impl Rests {
    /// Adds the newest. The oldest make room for it.
    pub(super) fn add(&mut self, rest: Rest) {
        self.waiting.push_back(rest);
        let mut bytes: usize = self.waiting.iter().map(Rest::bytes).sum();
        while self.waiting.len() > MOST_RESTS || (bytes > MOST_BYTES && self.waiting.len() > 1) {
            let Some(oldest) = self.waiting.pop_front() else { return };
            bytes -= oldest.bytes();
            self.recycle(oldest.piece);
        }
    }

    /// The one whose turn it is.
    pub(super) fn take(&mut self) -> Option<Rest> {
        self.waiting.pop_front()
    }

    /// Puts back the one that was taken last.
    pub(super) fn put_back(&mut self, rest: Rest) {
        self.waiting.push_front(rest);
    }

    /// The piece with all of `page`, where one has it.
    pub(super) fn held(&self, region: &Region, page: u64) -> Option<Piece> {
        let (start, end) = (region.offset_of(page), region.offset_of(page + 1));
        let pieces = self.waiting.iter().rev().filter_map(|rest| rest.piece.as_ref());
        pieces.clone().find(|piece| piece.at <= start && end <= piece.end()).cloned()
    }

    /// Whether the front of the frame that begins at `begin` was decoded for one of them.
    pub(super) fn is_begun(&self, begin: u64) -> bool {
        self.waiting.iter().any(|rest| !rest.frame.is_empty() && rest.frame.start == begin)
    }

    /// A buffer to decode into.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps a buffer that was not needed.
    pub(super) fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > 0 && self.spare.len() < MOST_SPARE {
            self.spare.push(buffer);
        }
    }

    /// Keeps the buffer of a piece that no one else has.
    pub(super) fn recycle(&mut self, piece: Option<Piece>) {
        if let Some(buffer) = piece.and_then(|piece| Arc::into_inner(piece.memory?)) {
            self.keep(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(at: u64, bytes: u64) -> Rest {
        let memory = Some(Arc::new(vec![1; bytes as usize]));
        let piece = Piece { at, bytes, memory };
        Rest { region: 0, page: 0, next: 0, piece: Some(piece), frame: at..at + bytes }
    }

    #[test]
    fn the_oldest_make_room_and_leave_their_buffers() {
        let mut rests = Rests::default();
        for number in 0..=MOST_RESTS as u64 {
            rests.add(rest(number << 20, 4096));
        }
        assert_eq!(rests.waiting.len(), MOST_RESTS);
        assert!(!rests.is_begun(0) && rests.is_begun(1 << 20));
        assert_eq!(rests.buffer().capacity(), 4096);
    }

    #[test]
    fn long_frames_hold_no_more_than_a_few_mib() {
        let mut rests = Rests::default();
        for number in 0..8 {
            rests.add(rest(number << 21, 2 << 20));
        }
        let held: usize = rests.waiting.iter().map(Rest::bytes).sum();
        assert_eq!(held, MOST_BYTES);
        // One that is larger than all of them may be waits alone.
        rests.add(rest(1 << 40, 8 << 20));
        assert_eq!(rests.waiting.len(), 1);
        assert!(rests.spare.len() <= MOST_SPARE);
    }

    #[test]
    fn a_frame_whose_front_is_used_up_counts_as_begun() {
        let mut rests = Rests::default();
        let mut front = rest(64 << 10, 4096);
        (front.piece, front.frame) = (None, 64 << 10..128 << 10);
        rests.add(front);
        assert!(rests.is_begun(64 << 10));
        assert!(!rests.is_begun(0));
    }
}
