//! The threads of one job: they live inside the call, stop at the first error, and never panic into it.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::panic::guard;
use crate::sys::priority::lower_this_thread;

/// How much the host should feel of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Someone waits for it.
    Normal,
    /// It yields to everything else.
    Background,
}

/// What the threads of a job share: why they have to stop.
pub(crate) struct Crew<'a> {
    limit: &'a Limit,
    stopped: AtomicBool,
}

impl Crew<'_> {
    /// Fails once the call has to stop or another worker failed. To be asked before every frame.
    pub(crate) fn check(&self) -> Result<()> {
        self.limit.check()?;
        if self.stopped.load(Ordering::Acquire) {
            // Never seen by a caller: the error of the worker that failed came first.
            return Err(Error::new(Kind::Cancelled, "another part of the job failed"));
        }
        Ok(())
    }
}

/// Runs `work` on `threads` new threads and returns the first error, once all of them have ended.
///
/// Always on threads of its own, never on the caller's, whose priority is the host's business.
pub(crate) fn run(
    threads: NonZeroUsize,
    priority: Priority,
    limit: &Limit,
    work: impl Fn(&Crew<'_>) -> Result<()> + Sync,
) -> Result<()> {
    let crew = Crew { limit, stopped: AtomicBool::new(false) };
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let fail = |error: Error| {
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        crew.stopped.store(true, Ordering::Release);
    };
    thread::scope(|scope| {
        for number in 0..threads.get() {
            let worker = || {
                if priority == Priority::Background {
                    lower_this_thread();
                }
                guard(|| work(&crew)).unwrap_or_else(&fail);
            };
            let spawned =
                thread::Builder::new().name("hypeman-memory".to_owned()).spawn_scoped(scope, worker);
            if let Err(e) = spawned {
                // Fewer threads only take longer, but without any the work is not done.
                if number == 0 {
                    fail(Error::os("start a thread for", "the compressed memory", &e));
                }
                break;
            }
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Cancel;

    const FOUR: NonZeroUsize = NonZeroUsize::new(4).unwrap();

    #[test]
    fn the_first_error_stops_everyone_and_is_the_one_returned() {
        let first = AtomicBool::new(true);
        let error = run(FOUR, Priority::Normal, &Limit::default(), |crew| {
            if first.swap(false, Ordering::AcqRel) {
                return Err(Error::new(Kind::NoSpace, "the disk is full"));
            }
            loop {
                crew.check()?;
                thread::yield_now();
            }
        });
        assert_eq!(error.unwrap_err().kind(), Kind::NoSpace);
    }

    #[test]
    fn a_panic_in_a_worker_is_an_error() {
        let error = run(FOUR, Priority::Background, &Limit::default(), |_| panic!("asked for by the test"));
        assert_eq!(error.unwrap_err().kind(), Kind::Internal);
    }

    #[test]
    fn a_cancel_reaches_every_worker() {
        let token = Cancel::new();
        token.cancel();
        let error = run(FOUR, Priority::Normal, &Limit::until(&token), |crew| crew.check());
        assert_eq!(error.unwrap_err().kind(), Kind::Cancelled);
    }
}
