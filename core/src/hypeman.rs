//! The handle: a data directory, opened.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::call::{Call, Cancel};
use crate::error::{Error, Kind, Result};
use crate::instances::Instances;
use crate::log::Log;
use crate::panic::guard;
use crate::snapshots::serve_memory::Pagers;
use crate::snapshots::{Jobs, Snapshots, recover};
use crate::store::Store;
use crate::types::CompressionConfig;

/// How to open a data directory.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Open for reading only: nothing is created, recovered or resumed, and every write is refused.
    pub read_only: bool,
    /// Compression of snapshots for which neither the request nor the instance says anything. Default: off.
    pub compression: Option<CompressionConfig>,
    /// How much is flushed to the disk before a call returns.
    pub durability: Durability,
    /// Most threads that copy or compress at once in one call or job, at least 1. Default: the number of CPUs that this process may use.
    pub threads: Option<NonZeroUsize>,
    /// Write to a data directory on a network file system, where locks cannot be trusted. Default: refuse.
    pub allow_network_fs: bool,
    /// No server of the vendor's runs on this data directory, so that running instances of its making may be
    /// paused and captured. Default: they are refused.
    pub owns_server_instances: bool,
    /// Who hears of what happens in the background, and of what no call reports. Default: no one.
    pub log: Log,
    /// Take guest memory out of a running cloud-hypervisor (54 or newer, memory `shared=on`) by descriptor, straight into
    /// its compressed form, and hand it over in the same way when such a snapshot is restored: memory is never
    /// written raw. A create then returns when it is compressed, and until then takes as much memory of this host as the
    /// guest has. Where it cannot be done, or that much is not free, memory goes through a file. Default: always.
    pub offload_memory: bool,
}

/// How much is flushed to the disk before a call returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `full`: what is acknowledged survives a power cut.
    #[default]
    Full,
    /// `relaxed`: survives the end of the process, but not a power cut. For stores that can be made anew.
    Relaxed,
}

impl Durability {
    /// The name in every language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Relaxed => "relaxed",
        }
    }

    /// Finds a durability by its name.
    ///
    /// # Errors
    /// `invalid_request` for any other name.
    pub fn parse(name: &str) -> Result<Self> {
        [Self::Full, Self::Relaxed].into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
            Error::new(Kind::InvalidRequest, format!("durability must be one of full, relaxed, got {name:?}"))
        })
    }
}

/// An open data directory. Clones share it; any thread may use it.
///
/// A handle belongs to the process that opened it: in a forked child it answers `closed`, and leaves the locks of
/// its parent alone.
#[derive(Clone)]
pub struct Hypeman {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    options: Options,
    jobs: Jobs,
    pagers: Pagers,
    /// Threads that resume a VM whose caller left: each drops its sender when it is done.
    rescues: Mutex<Vec<mpsc::Receiver<()>>>,
    /// Cancelled by a close: for what the next opener can do as well.
    closing: Cancel,
    process: u32,
    closed: AtomicBool,
}

impl Hypeman {
    /// Opens `data_dir` with the default [`Options`], creating it (0700) where it is missing.
    ///
    /// Finishes what a dead opener left: resumes VMs that it had paused, clears its stages, resumes its compression
    /// jobs. A VMM that does not answer within five seconds, as it still writes a snapshot, is waited for in the
    /// background.
    ///
    /// # Errors
    /// `permission` when it cannot be written (open it read-only), `not_supported` on a network file system,
    /// `io`, `no_space`.
    pub fn open(data_dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(data_dir, Options::default())
    }

    /// Opens `data_dir`.
    ///
    /// # Errors
    /// As [`Hypeman::open`]; `invalid_request` when an option is wrong; `not_found` when it is missing and
    /// `read_only` is set.
    pub fn open_with(data_dir: impl AsRef<Path>, options: Options) -> Result<Self> {
        guard(|| Self::open_guarded(data_dir.as_ref(), options))
    }

    fn open_guarded(data_dir: &Path, options: Options) -> Result<Self> {
        if data_dir.as_os_str().is_empty() {
            return Err(Error::new(Kind::InvalidRequest, "the data directory must not be an empty path"));
        }
        if let Some(compression) = &options.compression {
            compression.settings().map_err(|error| error.context("default compression"))?;
        }
        // The host may change its working directory later.
        let path = std::path::absolute(data_dir).map_err(|e| Error::io("find", data_dir, &e))?;
        let store = if options.read_only {
            Store::open_read_only(&path, options.log.clone())?
        } else {
            Store::open(&path, options.durability, options.allow_network_fs, options.log.clone())?
        };
        let inner = Inner {
            store: Arc::new(store),
            jobs: Jobs::new(options.threads),
            pagers: Pagers::default(),
            rescues: Mutex::default(),
            closing: Cancel::new(),
            process: std::process::id(),
            closed: AtomicBool::new(false),
            options,
        };
        let hm = Self { inner: Arc::new(inner) };
        if !hm.inner.options.read_only {
            recover::recover(&hm)?;
        }
        Ok(hm)
    }

    /// The data directory that is used when the host names none: `$HYPEMAN_DATA_DIR`, else the vendor's
    /// `/var/lib/hypeman`.
    pub fn default_data_dir() -> PathBuf {
        std::env::var_os("HYPEMAN_DATA_DIR").map_or_else(|| PathBuf::from("/var/lib/hypeman"), PathBuf::from)
    }

    /// The data directory, as an absolute path.
    pub fn data_dir(&self) -> &Path {
        self.inner.store.path()
    }

    /// The instances of this data directory.
    pub fn instances(&self) -> Instances<'_> {
        Instances { hm: self }
    }

    /// The snapshots of this data directory.
    pub fn snapshots(&self) -> Snapshots<'_> {
        Snapshots { hm: self }
    }

    /// Waits until what this handle does in the background has ended: compression, checksums, and what it carries on for
    /// handles that ended before. A program that is over soon calls it before [`Hypeman::close`], else the next
    /// opener begins that work anew. How each came out, its snapshot says.
    ///
    /// # Errors
    /// `timeout`, `cancelled`, `closed`.
    pub fn finish(&self, call: Call<'_>) -> Result<()> {
        guard(|| {
            self.open_store()?;
            self.inner.jobs.finish(call)
        })
    }

    /// Closes this handle and all its clones: later calls answer `closed`. Compression jobs stop and are resumed by
    /// the next opener. Pagers stop. Calls that are under way in other threads come to their own end. A VM whose create was
    /// cancelled is resumed first, for which its VMM has ten seconds. Closing twice is fine.
    pub fn close(&self) {
        self.inner.close();
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.inner.jobs
    }

    pub(crate) fn pagers(&self) -> &Pagers {
        &self.inner.pagers
    }

    pub(crate) fn closing(&self) -> &Cancel {
        &self.inner.closing
    }

    /// Makes `close` wait for a thread that resumes a VM: it holds the sender until then.
    pub(crate) fn await_rescue(&self, done: mpsc::Receiver<()>) {
        let mut rescues = self.inner.rescues.lock().unwrap_or_else(PoisonError::into_inner);
        rescues.retain(|rescue| rescue.try_recv() == Err(mpsc::TryRecvError::Empty));
        rescues.push(done);
    }

    /// The store, unless this handle is closed or belongs to another process.
    pub(crate) fn open_store(&self) -> Result<&Arc<Store>> {
        if self.inner.is_foreign() {
            return Err(Error::new(
                Kind::Closed,
                "this handle belongs to the process that forked this one; open the data directory here",
            ));
        }
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Closed, "this handle was closed; open the data directory again"));
        }
        Ok(&self.inner.store)
    }

    /// The store, for changing it.
    pub(crate) fn writable_store(&self) -> Result<&Arc<Store>> {
        let store = self.open_store()?;
        if self.inner.options.read_only {
            return Err(Error::new(
                Kind::Permission,
                format!("{} was opened read-only; open it without read_only", store.path().display()),
            )
            .at(store.path()));
        }
        Ok(store)
    }

    /// Most threads for one call.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        self.inner.options.threads.unwrap_or_else(available_threads)
    }
}

/// How long a close waits for VMMs whose VMs must run again. They need milliseconds, unless they hang.
const RESCUE_PATIENCE: Duration = Duration::from_secs(10);

/// The number of CPUs that this process may use.
pub(crate) fn available_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

impl Inner {
    fn is_foreign(&self) -> bool {
        self.process != std::process::id()
    }

    fn close(&self) {
        // In a forked child there is no thread to stop, and its mutexes may be held for ever.
        if !self.is_foreign() && !self.closed.swap(true, Ordering::AcqRel) {
            self.closing.cancel();
            self.jobs.close();
            self.pagers.close();
            let until = Instant::now() + RESCUE_PATIENCE;
            for rescue in self.rescues.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
                // Where the VMM does not come back in time, the intent stays for the next opener.
                let _ = rescue.recv_timeout(until.saturating_duration_since(Instant::now()));
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Hypeman {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hypeman").field("data_dir", &self.data_dir()).finish_non_exhaustive()
    }
}
