//! What is left to do after a snapshot was acknowledged: one job at a time, on a thread of the handle that lives while
//! there is work. A job has a note on the disk until its end: the next opener finds it, and carries on.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::job::run;
use crate::call::Cancel;
use crate::error::{Error, Kind, Result};
use crate::hypeman::available_threads;
use crate::panic::guard;
use crate::store::Store;
use crate::sys::priority::lower_this_thread;

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
    fn has(&self, id: &str) -> bool {
        self.running.as_ref().is_some_and(|running| running.id == id)
            || self.waiting.iter().any(|waiting| waiting.id == id)
    }
}

#[derive(Debug)]
struct Waiting {
    store: Arc<Store>,
    id: String,
}

/// A job under way.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) id: String,
    pub(super) cancel: Cancel,
    pub(super) progress: Arc<Watched>,
}

/// What others see of a running job.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) bytes_done: AtomicU64,
    pub(super) bytes_total: AtomicU64,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that anyone waits for is done: what may be left is checksums, and a raw file that someone reads.
    pub(super) fn end(&self) {
        *self.lock() = true;
        self.over.notify_all();
    }

    /// How far the job is, in bytes done and in all.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.bytes_done.load(Ordering::Relaxed), self.bytes_total.load(Ordering::Relaxed))
    }

    /// Waits until all is done that anyone waits for, but no longer than `patience`.
    pub(super) fn wait(&self, patience: Duration) {
        drop(self.over.wait_timeout_while(self.lock(), patience, |is_over| !*is_over));
    }
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
    /// a long queue holds no descriptors; a job that someone else has by then is left to them.
    pub(crate) fn start(&self, store: &Arc<Store>, id: &str) -> Result<()> {
        let mut state = self.shared.lock();
        // A closing handle leaves it to the next opener.
        if state.closing || state.has(id) {
            return Ok(());
        }
        state.failures.remove(id);
        state.waiting.push_back(Waiting { store: Arc::clone(store), id: id.to_owned() });
        if state.worker.is_none() {
            let (shared, threads) = (Arc::clone(&self.shared), self.threads);
            let worker = std::thread::Builder::new()
                .name("hypeman-job".to_owned())
                .spawn(move || work(&shared, threads))
                .map_err(|e| Error::io("start a thread for a job of", store.path(), &e));
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
        (!*watched.lock()).then(|| Arc::clone(watched))
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
        if let Some(worker) = worker {
            // Its own panics were caught in it.
            let _ = worker.join();
        }
    }
}

fn work(shared: &Shared, threads: NonZeroUsize) {
    lower_this_thread();
    loop {
        let mut state = shared.lock();
        let Some(Waiting { store, id }) = state.waiting.pop_front() else {
            // Under the same lock under which `start` looks for a worker. A closing handle joins us and has the handle.
            if !state.closing {
                state.worker = None;
            }
            return;
        };
        let running = Running { id, cancel: Cancel::new(), progress: Arc::default() };
        state.running = Some(running.clone());
        drop(state);

        let failure = guard(|| run_locked(&store, &running, threads)).err();
        // Before anyone is told: whoever waited for the end finds how it ended.
        let mut state = shared.lock();
        if let Some(error) = failure {
            state.failures.insert(running.id, (error.kind(), error.message().to_owned()));
        }
        if let Some(running) = state.running.take() {
            running.progress.end();
        }
        drop(state);
        shared.changed.notify_all();
    }
}

/// Does a job, if no one else has it. One that was stopped, or whose snapshot was deleted, has ended well.
///
/// # Errors
/// What cannot be written into the record, or done later by itself: the next opener tries.
fn run_locked(store: &Store, running: &Running, threads: NonZeroUsize) -> Result<()> {
    let Some(_job) = store.try_job(&running.id)? else { return Ok(()) };
    match guard(|| run(store, running, threads)) {
        Err(error) if error.kind() == Kind::Cancelled => Ok(()),
        Err(error) if error.kind() == Kind::NotFound => store.end_job(&running.id),
        outcome => outcome,
    }
}
