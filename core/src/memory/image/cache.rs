//! The pieces of an image that were used last, found by any byte of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Piece;
use crate::error::Result;

/// Tiny pieces must not make the list of them long: each counts as this much at least.
const LEAST_BYTES: u64 = 16 << 10;

/// Decoded pieces, of a bounded number of bytes: those that were used last. What is evicted here others may still hold.
pub(super) struct Cache {
    max_bytes: u64,
    shelf: Mutex<Shelf>,
    decoded: Condvar,
}

#[derive(Default)]
struct Shelf {
    /// By their first byte.
    pieces: BTreeMap<u64, Kept>,
    /// First bytes, by when their pieces were used.
    by_use: BTreeMap<u64, u64>,
    /// What the piece that was evicted last was in, where no one else holds it: the next one is decoded into that, so that
    /// memory does not go to the system and come back.
    spare: Vec<u8>,
    uses: u64,
    /// First bytes of pieces that someone decodes now: everyone else waits for that.
    underway: BTreeSet<u64>,
    bytes: u64,
}

struct Kept {
    piece: Piece,
    used: u64,
}

impl Cache {
    /// A cache of at most `max_bytes`, but for the one piece that was put into it last.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, shelf: Mutex::default(), decoded: Condvar::new() }
    }

    /// The piece with byte `at` of the image, if it is here.
    pub(super) fn get(&self, at: u64) -> Option<Piece> {
        lock(&self.shelf).get(at)
    }

    /// The piece that begins at `at`: from here, from whoever decodes it now, or from `decode`.
    pub(super) fn get_or(&self, at: u64, decode: impl FnOnce() -> Result<Piece>) -> Result<Piece> {
        let mut shelf = lock(&self.shelf);
        loop {
            if let Some(piece) = shelf.get(at) {
                return Ok(piece);
            }
            if shelf.underway.insert(at) {
                break;
            }
            shelf = self.decoded.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        }
        drop(shelf);
        let _underway = Underway { cache: self, at };
        let piece = decode()?;
        self.put(piece.clone());
        Ok(piece)
    }

    /// A buffer for the next piece, of any length.
    pub(super) fn spare(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.shelf).spare)
    }

    fn put(&self, piece: Piece) {
        let mut shelf = lock(&self.shelf);
        shelf.put(piece);
        while shelf.bytes > self.max_bytes && shelf.pieces.len() > 1 {
            shelf.evict();
        }
    }
}

/// Tells those who wait when a decoding is over, however it ended.
struct Underway<'c> {
    cache: &'c Cache,
    at: u64,
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        lock(&self.cache.shelf).underway.remove(&self.at);
        self.cache.decoded.notify_all();
    }
}

impl Shelf {
    fn get(&mut self, at: u64) -> Option<Piece> {
        let (first, kept) = self.pieces.range_mut(..=at).next_back()?;
        if at >= kept.piece.end() {
            return None;
        }
        self.uses += 1;
        self.by_use.remove(&kept.used);
        self.by_use.insert(self.uses, *first);
        kept.used = self.uses;
        Some(kept.piece.clone())
    }

    fn put(&mut self, piece: Piece) {
        self.uses += 1;
        self.bytes += cost(&piece);
        self.by_use.insert(self.uses, piece.at);
        if let Some(twin) = self.pieces.insert(piece.at, Kept { piece, used: self.uses }) {
            self.bytes -= cost(&twin.piece);
            self.by_use.remove(&twin.used);
        }
    }

    fn evict(&mut self) {
        let oldest = self.by_use.pop_first();
        if let Some(gone) = oldest.and_then(|(_, at)| self.pieces.remove(&at)) {
            self.bytes -= cost(&gone.piece);
            if let Some(memory) = gone.piece.memory.and_then(Arc::into_inner) {
                self.spare = memory;
            }
        }
    }
}

fn cost(piece: &Piece) -> u64 {
    piece.memory.as_ref().map_or(0, |memory| memory.capacity() as u64).max(LEAST_BYTES)
}

/// Whoever panicked under this lock left a shelf that is still one.
fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::error::{Error, Kind};

    const MIB: u64 = 1 << 20;

    fn piece(at: u64, bytes: u64) -> Piece {
        Piece { at, bytes, memory: Some(Arc::new(vec![0; bytes as usize])) }
    }

    #[test]
    fn the_pieces_used_last_stay_and_their_bytes_and_number_are_bounded() {
        let cache = Cache::new(16 * MIB);
        for at in 0..40 {
            cache.get_or(at * MIB, || Ok(piece(at * MIB, MIB))).unwrap();
            cache.get_or(at * MIB, || panic!("it was decoded just now")).unwrap();
            assert!(cache.get(5).is_some(), "what is used all the time stays");
        }
        assert!(cache.get(40 * MIB - 1).is_some() && cache.get(40 * MIB).is_none());
        assert_eq!(lock(&cache.shelf).bytes, 16 * MIB);
        for at in 0..3000 {
            cache.get_or(100 * MIB + at, || Ok(piece(100 * MIB + at, 1))).unwrap();
        }
        assert_eq!(lock(&cache.shelf).pieces.len() as u64, 16 * MIB / LEAST_BYTES);
    }

    #[test]
    fn a_piece_that_many_want_is_decoded_once_and_a_failure_concerns_one() {
        let cache = Cache::new(MIB);
        let decoded = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let one = cache.get_or(0, || {
                        std::thread::sleep(Duration::from_millis(20));
                        match decoded.fetch_add(1, Ordering::Relaxed) {
                            0 => Err(Error::new(Kind::Io, "once")),
                            _ => Ok(piece(0, 10)),
                        }
                    });
                    assert!(one.err().is_none_or(|error| error.kind() == Kind::Io));
                });
            }
        });
        assert_eq!(decoded.load(Ordering::Relaxed), 2);
    }
}
