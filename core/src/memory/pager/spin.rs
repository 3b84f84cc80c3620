//! Waiting for the next fault with a busy CPU: waking a thread that sleeps takes longer than answering a fault.

use std::time::{Duration, Instant};

/// Spins as long as that pays: half as long after each time in vain, and in full once it paid again.
#[derive(Debug)]
pub(super) struct Spin {
    most: Duration,
    now: Duration,
    since: Option<Instant>,
}

impl Spin {
    pub(super) fn new(most: Duration) -> Self {
        Self { most, now: most, since: None }
    }

    /// There was something to do: the wait for the next begins.
    pub(super) fn found(&mut self) {
        if self.since.take().is_some() {
            self.now = self.most;
        }
    }

    /// Whether to look again at once; where not, it is time to sleep.
    pub(super) fn goes_on(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.now {
            return true;
        }
        self.since = None;
        // Never quite given up: the next fault may be the first of many.
        self.now = (self.now / 2).max(self.most / 16);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_in_vain_gets_shorter_and_success_restores_it() {
        let mut spin = Spin::new(Duration::from_millis(16));
        for expected in [8, 4, 2, 1, 1] {
            while spin.goes_on() {}
            assert_eq!(spin.now, Duration::from_millis(expected));
        }
        assert!(spin.goes_on());
        spin.found();
        assert_eq!(spin.now, Duration::from_millis(16));
        assert!(!Spin::new(Duration::ZERO).goes_on());
    }
}
