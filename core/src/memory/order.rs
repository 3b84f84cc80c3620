//! Gives batches their place in the file, in the order of their pieces, and joins the zeros between them.
//!
//! No thread waits for its turn: a batch that is too early is left here, and whoever has the one before it places both. On
//! a host with other work every wait costs a turn of the scheduler.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::{Batch, encoded};
use super::file::write_compressed;
use super::format;
use super::index::{self, Encoded};
use super::pieces::Piece;
use crate::error::Result;
use crate::types::Algorithm;

/// Batches that may be left here for each thread: bounds what they hold.
const EARLY_PER_THREAD: usize = 2;

/// Where the batches of all threads come together.
pub(super) struct Order<'f> {
    placed: Mutex<Placed<'f>>,
    most_early: usize,
    has_room: Condvar,
}

/// A batch that came before its turn.
struct Early {
    piece: Piece,
    zeros_before: u64,
    frames: Vec<Encoded>,
    zeros_after: u64,
    stored: Vec<u8>,
}

/// A batch that has its place, and has to be written there.
pub(super) struct Ready {
    pub(super) at: u64,
    pub(super) piece: Piece,
    /// Its bytes; those of the batch that was handed in are still in that.
    pub(super) stored: Option<Vec<u8>>,
}

/// What has its place.
struct Placed<'f> {
    out: &'f File,
    algorithm: Algorithm,
    /// The number of the piece whose turn it is.
    next: u64,
    is_abandoned: bool,
    early: BTreeMap<u64, Early>,
    /// Zeros that wait for data, or for the end, to become frames.
    zeros: u64,
    index: index::Writer<'f>,
}

impl<'f> Order<'f> {
    /// Frames will go to `out` as `index` says.
    pub(super) fn new(
        out: &'f File,
        algorithm: Algorithm,
        index: index::Writer<'f>,
        threads: NonZeroUsize,
    ) -> Self {
        let early = BTreeMap::new();
        let placed = Placed { out, algorithm, next: 0, is_abandoned: false, early, zeros: 0, index };
        let most_early = threads.get().saturating_mul(EARLY_PER_THREAD);
        Self { placed: Mutex::new(placed), most_early, has_room: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Placed<'f>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another batch may come early, to be called before a piece is taken: so whoever has the piece that all
    /// others wait for never waits itself. `false` where a thread failed.
    pub(super) fn wait_for_room(&self) -> bool {
        let waits = |placed: &mut Placed<'_>| placed.early.len() >= self.most_early && !placed.is_abandoned;
        let placed = self.has_room.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        !placed.is_abandoned
    }

    /// Takes in the batch of a piece, and returns all that has its place now and has to be written by the caller; `None`
    /// where another thread failed.
    pub(super) fn hand_in(
        &self,
        piece: &Piece,
        batch: &Batch,
        check: impl Fn() -> Result<()>,
    ) -> Result<Option<Vec<Ready>>> {
        let mut placed = self.lock();
        if placed.is_abandoned {
            return Ok(None);
        }
        if placed.next != piece.number {
            let early = Early {
                piece: *piece,
                zeros_before: batch.zeros_before,
                frames: batch.frames.clone(),
                zeros_after: batch.zeros_after,
                stored: batch.stored().to_vec(),
            };
            placed.early.insert(piece.number, early);
            return Ok(Some(Vec::new()));
        }
        let at = placed.place(batch.zeros_before, &batch.frames, batch.zeros_after, &check)?;
        let mut ready = vec![Ready { at, piece: *piece, stored: None }];
        while let Some(early) = placed.take_next() {
            let at = placed.place(early.zeros_before, &early.frames, early.zeros_after, &check)?;
            ready.push(Ready { at, piece: early.piece, stored: Some(early.stored) });
        }
        drop(placed);
        self.has_room.notify_all();
        Ok(Some(ready))
    }

    /// Ends every wait.
    fn abandon(&self) {
        self.lock().is_abandoned = true;
        self.has_room.notify_all();
    }

    /// After the last piece: writes the zeros that still wait, and returns the index of all frames.
    pub(super) fn finish(self, check: impl Fn() -> Result<()>) -> Result<index::Writer<'f>> {
        let mut placed = self.placed.into_inner().unwrap_or_else(PoisonError::into_inner);
        placed.flush_zeros(check)?;
        Ok(placed.index)
    }
}

impl Placed<'_> {
    fn take_next(&mut self) -> Option<Early> {
        self.early.remove(&self.next)
    }

    /// Gives the batch whose turn it is its place.
    fn place(
        &mut self,
        zeros_before: u64,
        frames: &[Encoded],
        zeros_after: u64,
        check: &impl Fn() -> Result<()>,
    ) -> Result<u64> {
        self.zeros += zeros_before;
        if !frames.is_empty() {
            self.flush_zeros(check)?;
        }
        let at = self.index.end();
        frames.iter().try_for_each(|frame| self.index.push(frame))?;
        self.zeros += zeros_after;
        self.next += 1;
        Ok(at)
    }

    fn flush_zeros(&mut self, check: impl Fn() -> Result<()>) -> Result<()> {
        let most = format::max_zero_bytes(self.algorithm);
        let mut stored = Vec::new();
        let mut frame: Option<Encoded> = None;
        while self.zeros > 0 {
            check()?;
            let run = u32::try_from(self.zeros).unwrap_or(most).min(most);
            // A long run is the same frame again and again.
            let zeros = match frame {
                Some(frame) if frame.raw_bytes == run => frame,
                _ => {
                    stored.clear();
                    format::append_zeros(self.algorithm, run, &mut stored);
                    encoded(&stored, run, true)
                }
            };
            write_compressed(self.out, &stored, self.index.end())?;
            self.index.push(&zeros)?;
            self.zeros -= u64::from(run);
            frame = Some(zeros);
        }
        Ok(())
    }
}

/// Abandons an order when it is dropped before [`Turns::end`]: the piece of a thread that failed or panicked never comes,
/// and no other thread may wait for it.
pub(super) struct Turns<'o, 'f>(Option<&'o Order<'f>>);

impl<'o, 'f> Turns<'o, 'f> {
    pub(super) fn take(order: &'o Order<'f>) -> Self {
        Self(Some(order))
    }

    /// This thread has handed in everything that it took, and written what it had to.
    pub(super) fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for Turns<'_, '_> {
    fn drop(&mut self) {
        if let Some(order) = self.0 {
            order.abandon();
        }
    }
}
