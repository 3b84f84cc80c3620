//! Compression in the background: one job at a time, on a thread of the handle that lives while there is work.
//!
//! ```text
//! write memory.zst without a name -> read it back and compare -> flush -> link -> flush dir
//!     -> record: compressed -> unlink memory -> flush dir -> forget the job
//! ```
//! Each state in between is a valid snapshot. A job has a note on the disk from before the record says `compressing`
//! until its end: the next opener finds it, and carries on from whatever is there.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::call::{Cancel, Limit};
use crate::error::{Error, Kind, Result};
use crate::hypeman::available_threads;
use crate::memory;
use crate::panic::guard;
use crate::store::payload::{self, Memory};
use crate::store::record::Record;
use crate::store::{Store, no_snapshot};
use crate::sys::dir::Dir;
use crate::sys::priority::lower_this_thread;
use crate::types::{CompressionConfig, CompressionSettings, CompressionState};

/// How often a job that wants to unlink the raw file looks whether someone still reads it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

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

#[derive(Clone, Debug)]
struct Running {
    id: String,
    cancel: Cancel,
    progress: Arc<Watched>,
}

/// What others see of a running job.
#[derive(Debug, Default)]
struct Watched {
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
    /// All is done but removing the raw file, which someone reads.
    waits_for_readers: AtomicBool,
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
                .name("hypeman-compress".to_owned())
                .spawn(move || work(&shared, threads))
                .map_err(|e| Error::io("start a thread to compress", store.path(), &e));
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

    /// How far the job of `id` is, in bytes done and in all, while this handle works on it. A job that only waits for
    /// readers to leave counts as ended.
    pub(crate) fn progress(&self, id: &str) -> Option<(u64, u64)> {
        let state = self.shared.lock();
        let watched = &state.running.as_ref().filter(|running| running.id == id)?.progress;
        let waits = watched.waits_for_readers.load(Ordering::Relaxed);
        let bytes = (watched.bytes_done.load(Ordering::Relaxed), watched.bytes_total.load(Ordering::Relaxed));
        (!waits).then_some(bytes)
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
        state.running = None;
        drop(state);
        shared.changed.notify_all();
    }
}

/// Does a job, if no one else has it, and writes down how it failed if it did.
///
/// # Errors
/// What cannot be written down: the record goes on saying `compressing`, and the next opener tries.
fn run_locked(store: &Store, running: &Running, threads: NonZeroUsize) -> Result<()> {
    let Some(_job) = store.try_job(&running.id)? else { return Ok(()) };
    match guard(|| run(store, running, threads)) {
        Err(error) if error.kind() != Kind::Cancelled => record_failure(store, &running.id, &error)
            .map_err(|unwritten| unwritten.context(format!("{error}; and that cannot be written down"))),
        _ => Ok(()),
    }
}

/// Brings the job of a snapshot to its end, from whatever state it is in.
fn run(store: &Store, running: &Running, threads: NonZeroUsize) -> Result<()> {
    let id = running.id.as_str();
    let limit = Limit::until(&running.cancel);
    let dir = match store.snapshot_dir(id) {
        Ok(dir) => dir,
        Err(error) if error.kind() == Kind::NotFound => return store.end_job(id),
        Err(error) => return Err(error),
    };
    let mut record = Record::read(&dir, id)?;
    let guest = dir.dir(crate::store::GUEST)?;
    if record.snapshot.compression_state == Some(CompressionState::Compressing) {
        let settings =
            record.snapshot.compression.as_ref().map(CompressionConfig::settings).transpose()?.flatten();
        let settings = settings.ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("the record of {id} does not say how to compress it"))
        })?;
        let memory = Memory::find(&guest)?.ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("the memory file of snapshot {id} is missing")).about(id)
        })?;
        let job = Job { store, id, dir: &dir, threads, limit: &limit, running };
        let (raw_bytes, compressed_bytes) = job.compress(&guest, &memory, settings)?;

        record.snapshot.compression_state = Some(CompressionState::Compressed);
        record.snapshot.compression_error = None;
        record.snapshot.compressed_size_bytes = Some(compressed_bytes);
        record.snapshot.uncompressed_size_bytes = raw_bytes;
        let leaving = Memory::find(&guest)?.and_then(|memory| memory.raw_bytes).unwrap_or(0);
        record.snapshot.size_bytes = payload::size_bytes(&guest)?.saturating_sub(leaving);
        job.check_still_there()?;
        store.rewrite(&record)?;
    }
    if record.snapshot.compression_state == Some(CompressionState::Compressed) {
        unlink_raw(store, running, &guest, &limit)?;
    }
    store.end_job(id)
}

/// What the steps of one compression share.
struct Job<'j> {
    store: &'j Store,
    id: &'j str,
    dir: &'j Dir,
    threads: NonZeroUsize,
    limit: &'j Limit,
    running: &'j Running,
}

impl Job<'_> {
    /// Makes the compressed file, whole and on the disk. Returns the sizes of the raw file, if known, and of this one.
    fn compress(
        &self,
        guest: &Dir,
        memory: &Memory,
        settings: CompressionSettings,
    ) -> Result<(Option<u64>, u64)> {
        let place = memory.open_dir(guest)?;
        let name = memory.compressed_name(settings.algorithm);
        if let Some(finished) = self.finished(&place, memory, &name, settings)? {
            return Ok(finished);
        }
        let raw = place.read(&memory.name)?;
        let out = place.nameless()?;
        let progress = |done: u64, total: u64| {
            self.running.progress.bytes_done.store(done, Ordering::Relaxed);
            self.running.progress.bytes_total.store(total, Ordering::Relaxed);
            // Deleted by another process meanwhile: there is no use in going on.
            if self.check_still_there().is_err() {
                self.running.cancel.cancel();
            }
        };
        let made = memory::compress(&raw, &out, settings, self.threads, self.limit, &progress)
            .map_err(|error| error.at(place.join(&memory.name)).about(self.id))?;
        self.store.durable().file(&out, &place.join(&name))?;
        self.limit.check()?;
        self.check_still_there()?;
        place.link(&out, &name)?;
        self.store.durable().dir(&place)?;
        Ok((Some(made.raw_bytes), made.compressed_bytes))
    }

    /// A compressed file that an earlier job had linked before it died: used if it is good, removed if not.
    fn finished(
        &self,
        place: &Dir,
        memory: &Memory,
        name: &str,
        settings: CompressionSettings,
    ) -> Result<Option<(Option<u64>, u64)>> {
        let Some(file) = place.read_if_any(name)? else { return Ok(None) };
        let found = memory::verify(&file, settings.algorithm, self.threads, self.limit);
        match found {
            Ok(raw_bytes) if memory.raw_bytes.is_none_or(|raw| raw == raw_bytes) => {
                let metadata = file.metadata().map_err(|e| Error::io("look at", place.join(name), &e))?;
                self.store.durable().file(&file, &place.join(name))?;
                self.store.durable().dir(place)?;
                Ok(Some((Some(raw_bytes), metadata.len())))
            }
            Err(error) if error.kind() == Kind::Cancelled => Err(error),
            // Without the raw file there is nothing to make it anew from.
            Err(error) if memory.raw_bytes.is_none() => Err(error.about(self.id)),
            _ => {
                place.unlink(name)?;
                Ok(None)
            }
        }
    }

    /// Fails once the snapshot was deleted: our descriptor then is of a directory in the trash.
    fn check_still_there(&self) -> Result<()> {
        let here = self.store.snapshot_dir(self.id)?.stat_self()?;
        if here.inode == self.dir.stat_self()?.inode { Ok(()) } else { Err(no_snapshot(self.id)) }
    }
}

/// Removes the raw file beside the compressed one that the record speaks of, once no one reads it.
fn unlink_raw(store: &Store, running: &Running, guest: &Dir, limit: &Limit) -> Result<()> {
    let Some(memory) = Memory::find(guest)? else { return Ok(()) };
    if memory.raw_bytes.is_none() || memory.compressed.is_none() {
        return Ok(());
    }
    let _unread = loop {
        if let Some(unread) = store.try_no_readers(&running.id)? {
            break unread;
        }
        running.progress.waits_for_readers.store(true, Ordering::Relaxed);
        limit.check()?;
        std::thread::sleep(LOOK_AGAIN);
    };
    let place = memory.open_dir(guest)?;
    place.unlink(&memory.name)?;
    store.durable().dir(&place)
}

/// Writes into the record why its compression failed. The raw file is untouched; `compress` tries again.
fn record_failure(store: &Store, id: &str, why: &Error) -> Result<()> {
    let mut record = match store.record(id) {
        Err(error) if error.kind() == Kind::NotFound => return store.end_job(id),
        record => record?,
    };
    // A failure after the record said `compressed` is one of cleaning up; the next opener carries on with that.
    if record.snapshot.compression_state == Some(CompressionState::Compressing) {
        record.snapshot.compression_state = Some(CompressionState::Error);
        record.snapshot.compression_error = Some(why.message().to_owned());
        store.rewrite(&record)?;
        store.end_job(id)?;
    }
    Ok(())
}
