//! Finding out what a VM wants first.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::types::WorkingSet;

/// What is noted as one: the shortest frames of our own images.
pub(super) const PART_BYTES: u64 = 32 << 10;
/// What a guest does later than that after its restore is its own life.
const LASTS: Duration = Duration::from_secs(10);

/// Keeps a working set for those who come later, and answers whether that was done; where not, it is asked again.
pub(crate) type Keep = Box<dyn Fn(&WorkingSet) -> bool + Send + Sync>;

/// What is known of the order in which memory is wanted.
pub(super) struct Record {
    is_wanted: bool,
    is_underway: AtomicBool,
    known: Mutex<Option<Arc<[u64]>>>,
    made: Arc<Mutex<Made>>,
    keep: Keep,
}

#[derive(Default)]
struct Made {
    parts: Option<Vec<u64>>,
    to_keep: Option<WorkingSet>,
}

impl Record {
    pub(super) fn new(is_wanted: bool, known: Option<&WorkingSet>, keep: Keep) -> Self {
        let known =
            known.filter(|set| is_wanted && set.part_bytes == PART_BYTES).map(|set| set.parts().into());
        Self {
            is_wanted,
            is_underway: AtomicBool::new(known.is_some()),
            known: Mutex::new(known),
            made: Arc::default(),
            keep,
        }
    }

    /// The parts to install ahead, in their order.
    pub(super) fn known(&self) -> Option<Arc<[u64]>> {
        let mut known = lock(&self.known);
        if known.is_none() {
            *known = lock(&self.made).parts.take().map(Into::into);
        }
        known.clone()
    }

    /// What notes the faults of a VM: of the first one, if they are not known yet.
    pub(super) fn recorder(&self) -> Option<Recorder> {
        let is_first = self.is_wanted && !self.is_underway.swap(true, Ordering::AcqRel);
        is_first.then(|| Recorder {
            parts: Vec::new(),
            seen: HashSet::new(),
            until: Instant::now() + LASTS,
            made: Arc::clone(&self.made),
        })
    }

    /// Keeps what was found out, if anything was, as far as that is possible now.
    pub(super) fn keep(&self) {
        let to_keep = lock(&self.made).to_keep.take();
        if let Some(set) = to_keep
            && !(self.keep)(&set)
        {
            lock(&self.made).to_keep = Some(set);
        }
    }
}

/// Notes what one VM wants, until it has done so long enough.
pub(super) struct Recorder {
    parts: Vec<u64>,
    seen: HashSet<u64>,
    until: Instant,
    made: Arc<Mutex<Made>>,
}

impl Recorder {
    pub(super) fn note(&mut self, offset: u64) {
        let part = offset / PART_BYTES;
        if self.parts.len() < WorkingSet::MOST && self.seen.insert(part) {
            self.parts.push(part);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.parts.len() == WorkingSet::MOST || self.time_left().is_zero()
    }

    pub(super) fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.parts.is_empty() {
            let mut made = lock(&self.made);
            made.to_keep = Some(WorkingSet::new(PART_BYTES, &self.parts));
            made.parts = Some(std::mem::take(&mut self.parts));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
