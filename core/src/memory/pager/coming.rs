//! What is about to be installed ahead, and waiting for it: a frame that is being decoded is there sooner than if it were
//! decoded twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::record::PART_BYTES;

/// Threads that install ahead of one VM.
pub(super) const PREFETCHERS: usize = 2;
/// No part of an image has this number.
const NO_PART: u64 = u64::MAX;
/// How long a part is waited for: what a frame takes to be decoded while others run, too. The thread that brings it may itself
/// wait for events to be read, by who waits here.
const PATIENCE: Duration = Duration::from_micros(200);

#[derive(Debug)]
pub(super) struct Coming {
    /// What each thread is about to install.
    parts: [AtomicU64; PREFETCHERS],
    /// Held to wait, and to tell who waits; who has nothing to tell takes no lock.
    gate: Mutex<()>,
    came: Condvar,
    has_waiter: AtomicBool,
}

impl Default for Coming {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| AtomicU64::new(NO_PART)),
            gate: Mutex::default(),
            came: Condvar::new(),
            has_waiter: AtomicBool::new(false),
        }
    }
}

impl Coming {
    /// Notes what the thread of this number is about to install, if anything. What it was about to install is there.
    pub(super) fn set(&self, thread: usize, part: Option<u64>) {
        let Some(coming) = self.parts.get(thread) else { return };
        coming.store(part.unwrap_or(NO_PART), Ordering::SeqCst);
        if self.has_waiter.load(Ordering::SeqCst) {
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.came.notify_all();
        }
    }

    /// Waits while a thread is about to install this byte of the image, and answers whether one was.
    pub(super) fn wait(&self, offset: u64) -> bool {
        let part = offset / PART_BYTES;
        let is_coming = || self.parts.iter().any(|coming| coming.load(Ordering::SeqCst) == part);
        if !is_coming() {
            return false;
        }
        let until = Instant::now() + PATIENCE;
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_waiter.store(true, Ordering::SeqCst);
        while is_coming() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            gate = self.came.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.has_waiter.store(false, Ordering::SeqCst);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_coming_is_waited_for_and_nothing_else_is() {
        let coming = Coming::default();
        coming.set(0, Some(7));
        assert!(!coming.wait(8 * PART_BYTES));
        let before = Instant::now();
        assert!(coming.wait(7 * PART_BYTES + 5), "it does not come");
        assert!(before.elapsed() >= PATIENCE);
        for _ in 0..100 {
            coming.set(1, Some(9));
            std::thread::scope(|scope| {
                scope.spawn(|| coming.set(1, None));
                coming.wait(9 * PART_BYTES);
            });
            assert!(!coming.wait(9 * PART_BYTES));
        }
    }
}
