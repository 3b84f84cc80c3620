//! What is left to do after a snapshot was acknowledged: one job at a time, on a thread of the handle that lives while
//! there is work (`work.rs`). A job has a note on the disk until its end: the next opener finds it, and carries on.

#[cfg(test)]
mod tests;
mod watched;
mod work;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::watched::Watched;
use self::work::work;
use crate::call::{Call, Cancel, Phase};
use crate::error::{Error, Kind, Result};
use crate::hypeman::available_threads;
use crate::store::Store;

/// How often it is looked whether a raw file that is to go is still read, or a job still someone else's.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Looks at a job whose lock someone else has. Many hold one for a moment; who has it for longer than these looks take
/// does the job.
const LOOKS: u32 = 10;

/// How often whoever waits for the end of all jobs looks whether its call has ended, and tells how far they are.
const REPORT: Duration = Duration::from_millis(20);

/// The jobs of one handle.
#[derive(Debug)]
pub(crate) struct Jobs {
    threads: NonZeroUsize,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    running: Option<Running>,
    worker: Option<JoinHandle<()>>,
    /// Jobs that could neither be done nor their failure be written into the record.
    failures: HashMap<String, (Kind, String)>,
    closing: bool,
}

impl State {
    /// Tells whether there is more to do than to remove files that others still read, or perhaps no longer do.
    fn has_work(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_again || running.is_asked_for)
            || self.waiting.iter().any(|waiting| !waiting.is_again || waiting.is_asked_for)
    }

    fn is_trying_again(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.is_again)
    }

    fn has(&self, id: &str) -> bool {
        self.running.as_ref().is_some_and(|running| running.id == id)
            || self.waiting.iter().any(|waiting| waiting.id == id)
    }
}

#[derive(Debug)]
struct Waiting {
    store: Arc<Store>,
    id: String,
    /// When its turn comes at the earliest: one that awaits others lets all the rest pass.
    not_before: Option<Instant>,
    /// All that is left is a raw file that someone read when it was tried before.
    is_again: bool,
    /// Someone waits for the next try, though not for its success.
    is_asked_for: bool,
    /// How often it is looked for again where someone else has its lock.
    looks_left: u32,
}

impl Waiting {
    fn later(store: Arc<Store>, id: String, is_again: bool, looks_left: u32) -> Self {
        let not_before = Some(Instant::now() + LOOK_AGAIN);
        Self { store, id, not_before, is_again, is_asked_for: false, looks_left }
    }

    fn is_due(&self) -> bool {
        self.not_before.is_none_or(|at| at <= Instant::now())
    }
}

/// A job under way.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) id: String,
    pub(super) cancel: Cancel,
    pub(super) progress: Arc<Watched>,
    /// All that is left is a raw file that someone read when it was tried before.
    is_again: bool,
    /// Someone waits for this try, though not for its success.
    is_asked_for: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked under this lock left a queue that is still a queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    pub(crate) fn new(threads: Option<NonZeroUsize>) -> Self {
        Self { threads: threads.unwrap_or_else(available_threads), shared: Arc::default() }
    }

    /// Queues the job of snapshot `id`, which has its note on the disk. Its lock is taken when its turn comes, so that
    /// a long queue holds no descriptors; a job that someone else does by then is left to them.
    pub(crate) fn start(&self, store: &Arc<Store>, id: &str) -> Result<()> {
        let mut state = self.shared.lock();
        // A closing handle leaves it to the next opener.
        if state.closing || state.has(id) {
            return Ok(());
        }
        state.failures.remove(id);
        let (store, id) = (Arc::clone(store), id.to_owned());
        let path = store.path().to_owned();
        let waiting =
            Waiting { store, id, not_before: None, is_again: false, is_asked_for: false, looks_left: LOOKS };
        state.waiting.push_back(waiting);
        self.shared.changed.notify_all();
        if state.worker.is_none() {
            let (shared, threads) = (Arc::clone(&self.shared), self.threads);
            let worker = std::thread::Builder::new()
                .name("hypeman-job".to_owned())
                .spawn(move || work(&shared, threads))
                .map_err(|e| Error::io("start a thread for a job of", path, &e));
            match worker {
                Ok(worker) => state.worker = Some(worker),
                Err(error) => {
                    state.waiting.pop_back();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Ends the job of `id`, if this handle has it, and returns when it has ended.
    pub(crate) fn stop(&self, id: &str) {
        let mut state = self.shared.lock();
        state.waiting.retain(|waiting| waiting.id != id);
        while let Some(running) = state.running.as_ref().filter(|running| running.id == id) {
            running.cancel.cancel();
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Tells whether this handle has the job of `id`, or is about to.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.shared.lock().has(id)
    }

    /// Waits until a job of this handle begins or ends, but not longer than `patience`.
    pub(super) fn wait(&self, patience: Duration) {
        let state = self.shared.lock();
        // Whoever is woken for nothing looks again.
        drop(self.shared.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner));
    }

    /// Why the job of `id` could neither be done nor its failure be written down.
    pub(crate) fn failure(&self, id: &str) -> Option<Error> {
        let state = self.shared.lock();
        state.failures.get(id).map(|(kind, message)| Error::new(*kind, message.clone()).about(id))
    }

    /// What others see of the job of `id`, while this handle works on it. A job with nothing left to do that anyone
    /// waits for counts as ended.
    pub(super) fn watched(&self, id: &str) -> Option<Arc<Watched>> {
        let state = self.shared.lock();
        let watched = &state.running.as_ref().filter(|running| running.id == id)?.progress;
        (!watched.is_over()).then(|| Arc::clone(watched))
    }

    /// Returns when no job is left, or the call ends. A raw file that someone reads is not waited for: it may be the caller.
    /// It is looked at once more, since its last reader may be gone.
    pub(crate) fn finish(&self, mut call: Call<'_>) -> Result<()> {
        let mut state = self.shared.lock();
        // A try that has begun may have seen a reader that is gone by now.
        while state.is_trying_again() {
            call.check()?;
            let pause = call.limit().at_most(REPORT);
            let waited = self.shared.changed.wait_timeout(state, pause);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        for waiting in state.waiting.iter_mut().filter(|waiting| waiting.is_again) {
            (waiting.is_asked_for, waiting.not_before) = (true, None);
        }
        self.shared.changed.notify_all();
        while state.has_work() {
            let progress = state.running.as_ref().map(|running| Arc::clone(&running.progress));
            drop(state);
            match progress {
                Some(watched) => {
                    let (done, total) = watched.bytes();
                    call.report(Phase::Compressing, done, total)?;
                }
                None => call.check()?,
            }
            state = self.shared.lock();
            if state.has_work() {
                let pause = call.limit().at_most(REPORT);
                let waited = self.shared.changed.wait_timeout(state, pause);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        if state.closing {
            let why =
                "this handle was closed while its background work went on; the next opener carries it on";
            return Err(Error::new(Kind::Closed, why));
        }
        Ok(())
    }

    /// Ends all jobs within a frame or so; their notes stay for the next opener.
    pub(crate) fn close(&self) {
        let mut state = self.shared.lock();
        state.closing = true;
        state.waiting.clear();
        if let Some(running) = &state.running {
            running.cancel.cancel();
        }
        let worker = state.worker.take();
        drop(state);
        self.shared.changed.notify_all();
        if let Some(worker) = worker {
            // Its own panics were caught in it.
            let _ = worker.join();
        }
    }
}
