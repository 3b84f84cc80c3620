//! Faults go first: who works ahead gives way.

use std::sync::atomic::Ordering;

use super::Shared;

/// For so long after a fault another one is likely.
const CALM_US: u64 = 20_000;

impl Shared {
    /// Until this is dropped, those who work ahead wait.
    pub(super) fn urgent(&self) -> Urgent<'_> {
        self.urgent.fetch_add(1, Ordering::AcqRel);
        Urgent(self)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Lets faults go first.
    pub(super) fn give_way(&self) {
        // Who is about to answer one may be waiting for this very CPU, and a guest for the CPU on which to go on.
        if self.now_us().saturating_sub(self.last_fault_us.load(Ordering::Relaxed)) < CALM_US {
            std::thread::yield_now();
        }
        while self.urgent.load(Ordering::Acquire) > 0 && !self.is_stopping() {
            std::thread::yield_now();
        }
    }
}

pub(super) struct Urgent<'s>(&'s Shared);

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        self.0.last_fault_us.store(self.0.now_us(), Ordering::Relaxed);
        self.0.urgent.fetch_sub(1, Ordering::AcqRel);
    }
}
