//! What every long call takes: a cancel token, a time limit and a progress callback.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};

/// Ends a running call from any other thread. Clones are the same token.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Makes a token that has not been cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every call that holds this token to stop. It cannot be taken back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Tells whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The part of a call that a [`Progress`] speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Checks, locks, and copies of what the guest does not write: the VM runs. Or a VMM loads what was restored.
    Preparing,
    /// The VMM writes the guest's memory, for which the VM is paused; or a restore or fork puts memory into place.
    SavingMemory,
    /// Disks are cloned or copied; for a create, the VM is paused.
    CopyingDisks,
    /// The snapshot is made durable. The VM runs again.
    Syncing,
    /// Memory is being compressed: reported by [`crate::Snapshots::wait`] and [`crate::Hypeman::finish`], and with
    /// `offload_memory` before [`Phase::Syncing`] by a create.
    Compressing,
    /// Files are read and compared with their checksums.
    Verifying,
}

impl Phase {
    /// Every phase, first those of a create in their order.
    pub const ALL: [Self; 6] = [
        Self::Preparing,
        Self::SavingMemory,
        Self::CopyingDisks,
        Self::Syncing,
        Self::Compressing,
        Self::Verifying,
    ];

    /// The name of this phase in every language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::SavingMemory => "saving_memory",
            Self::CopyingDisks => "copying_disks",
            Self::Syncing => "syncing",
            Self::Compressing => "compressing",
            Self::Verifying => "verifying",
        }
    }
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of this phase that are done.
    pub bytes_done: u64,
    /// Bytes of this phase in all; 0 while unknown.
    pub bytes_total: u64,
}

type Callback<'p> = Box<dyn FnMut(Progress) -> ControlFlow<()> + Send + 'p>;

/// How one call may be watched and ended: by default it has no limit and reports to no one.
///
/// The callback runs on the calling thread, a few times a second at most; returning [`ControlFlow::Break`] cancels.
#[derive(Default)]
pub struct Call<'p> {
    limit: Limit,
    progress: Option<Callback<'p>>,
}

impl<'p> Call<'p> {
    /// Ends the call with `cancelled` once `token` is cancelled.
    pub fn cancel(mut self, token: &Cancel) -> Self {
        self.limit.cancel = token.clone();
        self
    }

    /// Ends the call with `timeout` after `timeout`, counted from now.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // A limit too far away to be represented is no limit.
        self.limit.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// Tells `callback` how far the call has come.
    pub fn progress(mut self, callback: impl FnMut(Progress) -> ControlFlow<()> + Send + 'p) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// The part of this call that worker threads may hold.
    pub(crate) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Fails once the call was cancelled or its time is up.
    pub(crate) fn check(&self) -> Result<()> {
        self.limit.check()
    }

    /// Reports progress, then checks as [`Call::check`] does.
    pub(crate) fn report(&mut self, phase: Phase, bytes_done: u64, bytes_total: u64) -> Result<()> {
        if let Some(callback) = &mut self.progress
            && callback(Progress { phase, bytes_done, bytes_total }).is_break()
        {
            self.limit.cancel.cancel();
        }
        self.limit.check()
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// When a call has to stop. Cheap to clone, shared by the threads of one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limit {
    cancel: Cancel,
    deadline: Option<Instant>,
}

impl Limit {
    /// A limit that only `cancel` ends.
    pub(crate) fn until(cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), deadline: None }
    }

    /// Fails with `cancelled` or `timeout` once the call has to stop.
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(
                Kind::Cancelled,
                "the call was cancelled by its token or its progress callback",
            ));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::new(
                Kind::Timeout,
                "the call took longer than its timeout; give it more time",
            ));
        }
        Ok(())
    }

    /// `pause`, or less where the call ends earlier.
    pub(crate) fn at_most(&self, pause: Duration) -> Duration {
        match self.deadline {
            Some(deadline) => pause.min(deadline.saturating_duration_since(Instant::now())),
            None => pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_token_ends_the_call() {
        let token = Cancel::new();
        let call = Call::default().cancel(&token);
        call.check().unwrap();
        token.clone().cancel();
        assert_eq!(call.check().unwrap_err().kind(), Kind::Cancelled);
    }

    #[test]
    fn a_timeout_of_zero_is_over_at_once_and_an_endless_one_never() {
        assert_eq!(Call::default().timeout(Duration::ZERO).check().unwrap_err().kind(), Kind::Timeout);
        Call::default().timeout(Duration::MAX).check().unwrap();
    }

    #[test]
    fn a_callback_that_breaks_cancels_the_call() {
        let mut call = Call::default().progress(|_| ControlFlow::Break(()));
        assert_eq!(call.report(Phase::Syncing, 1, 2).unwrap_err().kind(), Kind::Cancelled);
    }
}
