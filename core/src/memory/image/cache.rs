//! The frames that were decoded last.

use std::sync::Arc;

use lru::LruCache;

/// Room for 256 frames of 64 KiB, or for four of the largest.
const MAX_BYTES: usize = 16 << 20;
/// Tiny frames must not make the list of them long.
const MAX_FRAMES: usize = 1024;

/// Decoded frames by where they are stored. Hands out what others may still hold when it is evicted here.
pub(super) struct Cache {
    frames: LruCache<u64, Arc<Vec<u8>>>,
    bytes: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self { frames: LruCache::unbounded(), bytes: 0 }
    }
}

impl Cache {
    /// The frame that is stored at `at`, if it is here.
    pub(super) fn get(&mut self, at: u64) -> Option<Arc<Vec<u8>>> {
        self.frames.get(&at).map(Arc::clone)
    }

    /// Keeps a frame, in place of those that were used the longest time ago: returns one of them, whose memory can be
    /// used again.
    pub(super) fn put(&mut self, at: u64, memory: Arc<Vec<u8>>) -> Option<Arc<Vec<u8>>> {
        self.bytes += memory.len();
        let mut evicted = self.frames.put(at, memory);
        self.bytes -= evicted.as_ref().map_or(0, |twin| twin.len());
        while self.bytes > MAX_BYTES || self.frames.len() > MAX_FRAMES {
            let Some((_, oldest)) = self.frames.pop_lru() else { break };
            self.bytes -= oldest.len();
            evicted = Some(oldest);
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_used_last_stay_and_their_bytes_and_number_are_bounded() {
        let mut cache = Cache::default();
        for at in 0..40 {
            cache.put(at, Arc::new(vec![0; 1 << 20]));
            cache.put(at, Arc::new(vec![0; 1 << 20]));
            assert!(cache.get(0).is_some(), "{at}");
        }
        assert!(cache.get(39).is_some() && cache.get(1).is_none());
        assert_eq!((cache.bytes, cache.frames.len()), (MAX_BYTES, 16));
        for at in 100..3000 {
            cache.put(at, Arc::new(vec![0; 1]));
        }
        assert_eq!(cache.frames.len(), MAX_FRAMES);
    }
}
