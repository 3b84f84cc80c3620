//! The pager: it gives VMs that run already their memory, page by page as they touch it, straight from the image.
//!
//! A VMM connects and sends its regions and a userfaultfd (`handshake.rs`, `regions.rs`); `accept.rs` starts a thread
//! for it, which answers its faults (`serve.rs`): the page that is waited for first, then what was decoded with it. Every
//! page goes through `install.rs`. `prefetch.rs` installs what earlier VMs wanted first (`record.rs`), `fill.rs` all
//! the rest. A VMM that answers the faults of its guest itself asks for each page over a connection (`ask.rs`).
//!
//! A guest never reads a byte that it did not have. Who touches a page that cannot be had is ended (`ending.rs`); all who
//! do not are served on. When
//! the pager is stopped, guests wait for ever at the next page that they miss, because their VMM has a descriptor of its
//! own; they are never given zeros instead. When this process dies, its guard ends them there (`guarded.rs`).

mod accept;
mod ask;
mod asked;
mod coming;
mod ending;
mod fetch;
mod fill;
mod guarded;
mod handshake;
mod install;
mod metrics;
mod prefetch;
mod record;
mod regions;
mod rests;
mod serve;
mod spin;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod urgent;

use std::io::{PipeReader, PipeWriter, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Image;
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::panic::guard;
use crate::sys::affinity::pin_this_thread;
use crate::types::{PagerMetrics, ServeMemory, WorkingSet};
use install::Vm;
use metrics::{Counters, add};
use record::Record;

pub(crate) use guarded::Guarded;
pub(crate) use record::Keep;

/// Threads that fill in the background.
const FILLERS: usize = 2;
/// How long a stop waits for its threads: nothing that they do takes longer, unless a VMM or a disk hangs.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A server of one image, for any number of VMs.
pub(crate) struct Pager {
    shared: Arc<Shared>,
    /// Its other end is what every thread looks at. A byte in it ends them: closing it would not, where a child that
    /// the host forked has it, too.
    end: Mutex<Option<PipeWriter>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    process: u32,
}

/// What its threads have in common.
struct Shared {
    image: Image,
    settings: ServeMemory,
    counters: Counters,
    record: Record,
    guarded: Arc<Guarded>,
    vms: Mutex<Vec<Arc<Vm>>>,
    arrived: Condvar,
    /// Threads that answer faults just now: those that work ahead give way.
    urgent: AtomicUsize,
    began: Instant,
    /// When a fault was answered last, in microseconds since the beginning.
    last_fault_us: AtomicU64,
    /// VMs that ask for their pages over a connection, and have not got all of them.
    asking: AtomicUsize,
    is_stopping: AtomicBool,
    stop: PipeReader,
    zeros: Vec<u8>,
}

impl Pager {
    /// Starts to serve `image` to whoever connects to `listener`.
    ///
    /// # Errors
    /// `invalid_request` for CPUs that are not there; what prevents starting threads.
    pub(crate) fn start(
        image: Image,
        listener: UnixListener,
        settings: &ServeMemory,
        known: Option<&WorkingSet>,
        keep: Keep,
        guarded: Arc<Guarded>,
    ) -> Result<Self> {
        let process = std::process::id();
        let (stop, end) = std::io::pipe().map_err(|e| Error::os("start", "a pager", &e))?;
        let shared = Arc::new(Shared {
            image: image.with_cache(settings.cache_bytes),
            settings: settings.clone(),
            counters: Counters::default(),
            record: Record::new(settings.prefetch, known, keep),
            guarded,
            vms: Mutex::default(),
            arrived: Condvar::new(),
            urgent: AtomicUsize::new(0),
            began: Instant::now(),
            last_fault_us: AtomicU64::new(0),
            asking: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
            stop,
            zeros: vec![0; regions::SMALL_PAGE_BYTES as usize],
        });
        let pager = Self { shared, end: Mutex::new(Some(end)), threads: Mutex::default(), process };
        pager.check_cpus()?;
        let mut threads = vec![pager.shared.spawn(move |shared| accept::accept(shared, &listener))?];
        if settings.fill {
            for _ in 0..FILLERS {
                // From here on a failure has to end what was started: dropping the pager does.
                match pager.shared.spawn(|shared| fill::work(shared)) {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        *lock(&pager.threads) = threads;
                        return Err(error);
                    }
                }
            }
        }
        *lock(&pager.threads) = threads;
        Ok(pager)
    }

    /// Gets ready for a VM whose faults will be ours.
    pub(crate) fn prepare_guard(&self) {
        // Without a thread, the VM waits for what it would have done.
        if let Ok(thread) = self.shared.spawn(|shared| shared.guarded.prepare()) {
            lock(&self.threads).push(thread);
        }
    }

    /// Tries the CPUs on a thread of our own.
    fn check_cpus(&self) -> Result<()> {
        let cpus = &self.shared.settings.cpus;
        if cpus.is_empty() {
            return Ok(());
        }
        let (tell, told) = mpsc::channel();
        let tried = cpus.clone();
        let thread = std::thread::spawn(move || tell.send(pin_this_thread(&tried)));
        let pinned = told.recv();
        let _ = thread.join();
        match pinned {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => {
                let why = format!("cpus {cpus:?} are none that this process may run on ({e}); name others");
                Err(Error::new(Kind::InvalidRequest, why))
            }
            Err(_) => Err(Error::new(Kind::Internal, "a thread ended without a word; please report it")),
        }
    }

    pub(crate) fn metrics(&self) -> PagerMetrics {
        self.shared.counters.read()
    }

    /// Waits until a VM has come, and every one that did has all of its memory or is gone.
    pub(crate) fn wait(&self, limit: &Limit) -> Result<()> {
        loop {
            if self.shared.is_stopping() {
                return Err(Error::new(Kind::Closed, "this pager was stopped; serve the memory again"));
            }
            let has_any = self.shared.counters.vms_seen.load(Ordering::Acquire) > 0;
            let is_whole = |vm: &Arc<Vm>| vm.is_whole.load(Ordering::Acquire);
            let asks_none = self.shared.asking.load(Ordering::Acquire) == 0;
            if has_any && asks_none && lock(&self.shared.vms).iter().all(is_whole) {
                return Ok(());
            }
            limit.check()?;
            std::thread::sleep(limit.at_most(LOOK_AGAIN));
        }
    }

    /// Stops serving, and returns when every thread has ended. One that a VMM or a disk holds is left behind after a
    /// while; it ends by itself as soon as it can.
    pub(crate) fn stop(&self) {
        // In a forked child there is no thread to stop, and its mutexes may be held for ever.
        if self.process != std::process::id() {
            return;
        }
        self.shared.is_stopping.store(true, Ordering::Release);
        if let Some(mut end) = lock(&self.end).take() {
            let _ = end.write_all(&[1]);
        }
        // Under the lock, so that no filler is between its look at the list and its wait.
        drop(lock(&self.shared.vms));
        self.shared.arrived.notify_all();
        let until = Instant::now() + STOP_PATIENCE;
        for thread in lock(&self.threads).drain(..) {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(LOOK_AGAIN / 4);
            }
            if thread.is_finished() {
                // Its panics were caught in it.
                let _ = thread.join();
            }
        }
        // Those whose threads have ended are forgotten already.
        lock(&self.shared.vms).iter().for_each(|vm| self.shared.guarded.forget(vm));
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Starts a thread on the CPUs of this pager.
    fn spawn(self: &Arc<Self>, work: impl FnOnce(&Arc<Self>) + Send + 'static) -> Result<JoinHandle<()>> {
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name("hypeman-pager".to_owned());
        let started = thread.spawn(move || {
            if !shared.settings.cpus.is_empty() {
                // They were tried at the start.
                let _ = pin_this_thread(&shared.settings.cpus);
            }
            let done = guard(|| {
                work(&shared);
                Ok(())
            });
            if let Err(error) = done {
                shared.counters.error(&error);
            }
        });
        started.map_err(|e| Error::os("start a thread of", "a pager", &e))
    }

    fn enter(&self, vm: &Arc<Vm>) {
        lock(&self.vms).push(Arc::clone(vm));
        add(&self.counters.vms, 1);
        add(&self.counters.vms_seen, 1);
        self.arrived.notify_all();
    }

    fn leave(&self, vm: &Arc<Vm>) {
        lock(&self.vms).retain(|other| !Arc::ptr_eq(other, vm));
    }

    /// The next VM with memory to fill; waits for one. `None` when the pager stops.
    fn next_to_fill(&self) -> Option<Arc<Vm>> {
        let mut vms = lock(&self.vms);
        while !self.is_stopping() {
            if let Some(vm) = vms.iter().find(|vm| fill::is_waiting(vm)) {
                return Some(Arc::clone(vm));
            }
            vms = self.arrived.wait(vms).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Whether what is decoded for a VM is for it alone: kept for others, it would take fresh memory each time.
    fn is_for_one(&self) -> bool {
        self.image.is_compressed() && self.counters.vms.load(Ordering::Relaxed) < 2
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
