//! What a pager counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::types::PagerMetrics;

/// Why a page is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A VM waits for it, or has just waited for its neighbour.
    Fault,
    Prefetch,
    Fill,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) vms: AtomicU64,
    pub(super) vms_seen: AtomicU64,
    pub(super) vms_whole: AtomicU64,
    faults: AtomicU64,
    copied_bytes: AtomicU64,
    zero_bytes: AtomicU64,
    prefetched_bytes: AtomicU64,
    filled_bytes: AtomicU64,
    fault_us: [AtomicU64; 20],
    errors: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Counters {
    pub(super) fn fault(&self, took: Duration) {
        add(&self.faults, 1);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        if let Some(count) = self.fault_us.get(bucket.min(self.fault_us.len() - 1)) {
            add(count, 1);
        }
    }

    pub(super) fn installed(&self, cause: Cause, is_zero: bool, bytes: u64) {
        add(if is_zero { &self.zero_bytes } else { &self.copied_bytes }, bytes);
        match cause {
            Cause::Fault => {}
            Cause::Prefetch => add(&self.prefetched_bytes, bytes),
            Cause::Fill => add(&self.filled_bytes, bytes),
        }
    }

    pub(super) fn error(&self, error: &Error) {
        add(&self.errors, 1);
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(error.message().to_owned());
    }

    pub(super) fn read(&self) -> PagerMetrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PagerMetrics {
            vms: get(&self.vms),
            vms_seen: get(&self.vms_seen),
            vms_whole: get(&self.vms_whole),
            faults: get(&self.faults),
            copied_bytes: get(&self.copied_bytes),
            zero_bytes: get(&self.zero_bytes),
            prefetched_bytes: get(&self.prefetched_bytes),
            filled_bytes: get(&self.filled_bytes),
            fault_us: self.fault_us.each_ref().map(get),
            errors: get(&self.errors),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_counted_where_its_time_belongs() {
        let counters = Counters::default();
        for us in [0, 1, 2, 3, 40, 1 << 30] {
            counters.fault(Duration::from_micros(us));
        }
        let counted = counters.read();
        assert_eq!((counted.faults, &counted.fault_us[..3]), (6, &[1, 1, 2][..]));
        assert_eq!((counted.fault_us[6], counted.fault_us[19]), (1, 1));
    }
}
