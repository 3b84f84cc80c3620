//! What is left to do after a snapshot was acknowledged: one job at a time, on a thread of the handle that lives while
//! there is work. A job has a note on the disk until its end: the next opener finds it, and carries on.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::job::{Outcome, run};
use crate::call::{Call, Cancel, Phase};
use crate::error::{Error, Kind, Result};
use crate::hypeman::available_threads;
use crate::panic::guard;
use crate::store::Store;
use crate::sys::priority::lower_this_thread;

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
    /// Tells whether there is more to do than to remove files that others still read.
    fn has_work(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_again)
            || self.waiting.iter().any(|waiting| !waiting.is_again)
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
    /// How often it is looked for again where someone else has its lock.
    looks_left: u32,
}

impl Waiting {
    fn later(store: Arc<Store>, id: String, is_again: bool, looks_left: u32) -> Self {
        Self { store, id, not_before: Some(Instant::now() + LOOK_AGAIN), is_again, looks_left }
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
        let waiting = Waiting { store, id, not_before: None, is_again: false, looks_left: LOOKS };
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

    /// Returns when no job is left, or the call ends. A raw file that someone reads is not waited for: it may be the caller.
    pub(crate) fn finish(&self, mut call: Call<'_>) -> Result<()> {
        let mut state = self.shared.lock();
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

fn work(shared: &Shared, threads: NonZeroUsize) {
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
        let Waiting { store, id, is_again, looks_left, .. } = waiting;
        let running = Running { id, cancel: Cancel::new(), progress: Arc::default(), is_again };
        // Whoever waited for it was answered the first time.
        if is_again {
            running.progress.end();
        }
        state.running = Some(running.clone());
        drop(state);

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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{Call, CreateSnapshot, Hypeman, RegisterInstance, SnapshotKind};

    #[test]
    fn a_job_whose_lock_someone_holds_for_a_moment_is_done_after_it() {
        let temp = tempfile::tempdir().unwrap();
        let vm = temp.path().join("web");
        std::fs::create_dir(&vm).unwrap();
        std::fs::write(vm.join("overlay.raw"), "disk").unwrap();
        let hm = Hypeman::open(temp.path().join("data")).unwrap();
        let other = Hypeman::open(temp.path().join("data")).unwrap();
        hm.instances()
            .register(&RegisterInstance { directory: Some(vm), ..RegisterInstance::new("web", "qemu") })
            .unwrap();
        let stopped = CreateSnapshot::new(SnapshotKind::Stopped);
        let made = hm.instances().snapshots().create("web", &stopped, Call::default()).unwrap();
        hm.finish(Call::default()).unwrap();

        let store = hm.writable_store().unwrap();
        let held = loop {
            match other.writable_store().unwrap().try_job(&made.id).unwrap() {
                Some(held) => break held,
                None => std::thread::yield_now(),
            }
        };
        store.begin_job(&made.id).unwrap();
        hm.jobs().start(store, &made.id).unwrap();
        std::thread::sleep(Duration::from_millis(120));
        drop(held);
        let until = Instant::now() + Duration::from_secs(20);
        while store.has_job(&made.id).unwrap() {
            assert!(Instant::now() < until, "it was dropped");
            std::thread::sleep(Duration::from_millis(5));
        }
        hm.finish(Call::default().timeout(Duration::from_secs(20))).unwrap();
    }
}
