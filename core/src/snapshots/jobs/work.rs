//! The thread that does the jobs of a handle, one after the other.

use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};

use super::{LOOK_AGAIN, Running, Shared, Waiting};
use crate::call::Cancel;
use crate::error::{Kind, Result};
use crate::panic::guard;
use crate::snapshots::job::{Outcome, run};
use crate::store::Store;
use crate::sys::priority::lower_this_thread;

/// Does what waits until nothing does.
pub(super) fn work(shared: &Shared, threads: NonZeroUsize) {
    lower_this_thread();
    loop {
        let mut state = shared.lock();
        let Some(due) = state.waiting.iter().position(Waiting::is_due) else {
            if !state.waiting.is_empty() {
                drop(shared.changed.wait_timeout(state, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner));
                continue;
            }
            // Under the same lock under which `start` looks for a worker. A closing handle joins us and has the handle.
            if !state.closing {
                state.worker = None;
            }
            return;
        };
        let Some(waiting) = state.waiting.remove(due) else { continue };
        let Waiting { store, id, is_again, is_asked_for, looks_left, .. } = waiting;
        let running = Running { id, cancel: Cancel::new(), progress: Arc::default(), is_again, is_asked_for };
        // Whoever waited for it was answered the first time.
        if is_again {
            running.progress.end();
        }
        state.running = Some(running.clone());
        drop(state);
        shared.changed.notify_all();

        let outcome = guard(|| run_locked(&store, &running, threads));
        if let Err(error) = &outcome {
            store.log().warning(&running.id, || {
                format!("the background work on snapshot {} is left to the next opener: {error}", running.id)
            });
        }
        // Before anyone is told: whoever waited for the end finds how it ended.
        let mut state = shared.lock();
        if let Some(running) = state.running.take() {
            running.progress.end();
        }
        match outcome {
            Err(error) => {
                state.failures.insert(running.id, (error.kind(), error.message().to_owned()));
            }
            // A closing handle leaves it to the next opener, and one that was stopped is someone else's now.
            Ok(Outcome::AwaitsReaders | Outcome::IsTaken)
                if state.closing || running.cancel.is_cancelled() => {}
            Ok(Outcome::AwaitsReaders) => {
                state.waiting.push_back(Waiting::later(store, running.id, true, looks_left));
            }
            Ok(Outcome::IsTaken) => {
                if let Some(looks_left) = looks_left.checked_sub(1) {
                    state.waiting.push_back(Waiting::later(store, running.id, is_again, looks_left));
                }
            }
            Ok(Outcome::Ended) => {}
        }
        drop(state);
        shared.changed.notify_all();
    }
}

/// Does a job, if no one else has its lock. One that was stopped, or whose snapshot was deleted, has ended well.
///
/// # Errors
/// What cannot be written into the record, or done later by itself: the next opener tries.
fn run_locked(store: &Store, running: &Running, threads: NonZeroUsize) -> Result<Outcome> {
    let Some(_job) = store.try_job(&running.id)? else { return Ok(Outcome::IsTaken) };
    match guard(|| run(store, running, threads)) {
        Err(error) if error.kind() == Kind::Cancelled => Ok(Outcome::Ended),
        Err(error) if error.kind() == Kind::NotFound => store.end_job(&running.id).map(|()| Outcome::Ended),
        outcome => outcome,
    }
}
