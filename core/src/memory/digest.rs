//! A checksum of an image that threads can make in any order.

use std::sync::atomic::{AtomicU64, Ordering};

use twox_hash::XxHash3_64;

/// The sum of the checksums of all data frames, each of which depends on its frame's place. Zeros add nothing.
#[derive(Default)]
pub(super) struct Digest(AtomicU64);

impl Digest {
    /// Adds the frame whose memory, `raw`, begins at `raw_at`.
    pub(super) fn add(&self, raw_at: u64, raw: &[u8]) {
        self.0.fetch_add(XxHash3_64::oneshot_with_seed(raw_at, raw), Ordering::Relaxed);
    }

    /// The sum so far: complete once the threads that add to it have ended.
    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
