//! Gives batches their place in the file, in the order of their pieces, and joins the zeros between them.

use std::fs::File;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::{Batch, encoded};
use super::file::write_compressed;
use super::format;
use super::index::{self, Encoded};
use crate::error::Result;
use crate::types::Algorithm;

/// Where the threads of a compression take turns.
pub(super) struct Order<'f> {
    placed: Mutex<Placed<'f>>,
    turn: Condvar,
}

/// What has its place.
struct Placed<'f> {
    out: &'f File,
    algorithm: Algorithm,
    /// The number of the piece whose turn it is.
    next: u64,
    is_abandoned: bool,
    /// Zeros that wait for data, or for the end, to become frames.
    zeros: u64,
    index: index::Writer<'f>,
}

impl<'f> Order<'f> {
    /// Frames will go to `out` as `index` says.
    pub(super) fn new(out: &'f File, algorithm: Algorithm, index: index::Writer<'f>) -> Self {
        let placed = Placed { out, algorithm, next: 0, is_abandoned: false, zeros: 0, index };
        Self { placed: Mutex::new(placed), turn: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Placed<'f>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of piece `number` and returns where the frames of `batch` have to be written; `None` where
    /// that turn will never come, because another thread failed.
    pub(super) fn place(
        &self,
        number: u64,
        batch: &Batch,
        check: impl Fn() -> Result<()>,
    ) -> Result<Option<u64>> {
        let waits = |placed: &mut Placed<'_>| placed.next != number && !placed.is_abandoned;
        let mut placed = self.turn.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        if placed.is_abandoned {
            return Ok(None);
        }
        placed.zeros += batch.zeros_before;
        if !batch.frames.is_empty() {
            placed.flush_zeros(check)?;
        }
        let at = placed.index.end();
        for frame in &batch.frames {
            placed.index.push(frame)?;
        }
        placed.zeros += batch.zeros_after;
        placed.next += 1;
        drop(placed);
        self.turn.notify_all();
        Ok(Some(at))
    }

    /// Ends every wait for a turn.
    fn abandon(&self) {
        self.lock().is_abandoned = true;
        self.turn.notify_all();
    }

    /// After the last piece: writes the zeros that still wait, and returns the index of all frames.
    pub(super) fn finish(self, check: impl Fn() -> Result<()>) -> Result<index::Writer<'f>> {
        let mut placed = self.placed.into_inner().unwrap_or_else(PoisonError::into_inner);
        placed.flush_zeros(check)?;
        Ok(placed.index)
    }
}

impl Placed<'_> {
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

/// Abandons an order when it is dropped before [`Turns::end`]: a thread that failed or panicked never takes its turn,
/// and no other may wait for it.
pub(super) struct Turns<'o, 'f>(Option<&'o Order<'f>>);

impl<'o, 'f> Turns<'o, 'f> {
    pub(super) fn take(order: &'o Order<'f>) -> Self {
        Self(Some(order))
    }

    /// This thread has placed everything that it took.
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
