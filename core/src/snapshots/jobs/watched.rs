//! What others see of a job under way, and wait for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What others see of a running job.
#[derive(Debug, Default)]
pub(in crate::snapshots) struct Watched {
    pub(in crate::snapshots) bytes_done: AtomicU64,
    pub(in crate::snapshots) bytes_total: AtomicU64,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Watched {
    /// Whether nothing is left that anyone waits for.
    pub(super) fn is_over(&self) -> bool {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that anyone waits for is done: what may be left is checksums, and a raw file that someone reads.
    pub(in crate::snapshots) fn end(&self) {
        *self.lock() = true;
        self.over.notify_all();
    }

    /// How far the job is, in bytes done and in all.
    pub(in crate::snapshots) fn bytes(&self) -> (u64, u64) {
        (self.bytes_done.load(Ordering::Relaxed), self.bytes_total.load(Ordering::Relaxed))
    }

    /// Waits until all is done that anyone waits for, but no longer than `patience`.
    pub(in crate::snapshots) fn wait(&self, patience: Duration) {
        drop(self.over.wait_timeout_while(self.lock(), patience, |is_over| !*is_over));
    }
}
