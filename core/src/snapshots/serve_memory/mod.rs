//! `snapshots.serve_memory`: a pager, which keeps its snapshot from being deleted and ends with its handle.

use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use super::memory::{Opened, open_pinned};
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::memory::pager;
use crate::panic::guard;
use crate::store::Store;
use crate::store::sidecar::Sidecar;
use crate::sys::lock::ByteLock;
use crate::sys::socket::{PATH_BYTES, listen_at};
use crate::sys::uffd;
use crate::types::{HypervisorKind, PagerMetrics, ServeMemory, WorkingSet, new_id};

/// Serves the memory of a snapshot to VMs that run already.
///
/// It ends when it is stopped or dropped, or when its handle is closed. A VM that has not got all of its memory by then
/// stands still at the next page that it misses, for ever: end such VMs, or let them have all of it first (`fill` of
/// [`ServeMemory`], then [`Pager::wait`]). When this process ends without a stop, or is killed, such a VM ends, instead, at
/// that page: a guard, a small child process without a program that `wait` does not see, sends its VMM a SIGBUS, or poisons
/// what it misses where it may not (Linux 6.6 and later). Whoever kills the guard with it, as by the whole of a control
/// group, has them stand still. No guest ever reads a byte that it did not have: when it touches a page that cannot be read
/// or is damaged, its VMM is sent a SIGBUS, and two seconds later, should it still be there, a SIGKILL;
/// [`PagerMetrics::last_error`] says why. The VMM is the process that connected. Where that may not be sent a signal, is
/// gone, or is this process itself, the page is poisoned instead (before Linux 6.6 the guest stands still there). Raw memory is compared with its checksums as it is read; until those are made, it is served as it is.
///
/// A VMM must keep its own descriptor of the userfaultfd, as Firecracker does.
pub struct Pager {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    socket: PathBuf,
    pager: pager::Pager,
    pin: Mutex<Option<ByteLock>>,
    is_stopped: AtomicBool,
    process: u32,
}

/// The pagers of one handle.
#[derive(Default)]
pub(crate) struct Pagers {
    all: Mutex<Vec<Weak<Inner>>>,
    guarded: OnceLock<Arc<pager::Guarded>>,
}

impl fmt::Debug for Pagers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pagers").field("all", &self.all).finish_non_exhaustive()
    }
}

impl Pagers {
    fn add(&self, inner: &Arc<Inner>) {
        let mut pagers = lock(&self.all);
        pagers.retain(|pager| pager.strong_count() > 0);
        pagers.push(Arc::downgrade(inner));
    }

    /// The snapshot whose memory is served at `socket` by this handle.
    pub(crate) fn snapshot_at(&self, socket: &Path) -> Option<String> {
        let pagers = lock(&self.all);
        let at = pagers.iter().filter_map(Weak::upgrade).find(|pager| pager.socket == socket);
        at.map(|pager| pager.id.clone())
    }

    /// Stops all of them.
    pub(crate) fn close(&self) {
        let pagers = std::mem::take(&mut *lock(&self.all));
        pagers.iter().filter_map(Weak::upgrade).for_each(|pager| pager.stop());
        if let Some(guarded) = self.guarded.get() {
            guarded.stop();
        }
    }
}

pub(super) fn serve_memory(hm: &Hypeman, id: &str, request: &ServeMemory) -> Result<Pager> {
    let store = hm.open_store()?;
    request.check()?;
    if !uffd::IS_THERE {
        let why = "only Linux has userfaultfd, by which memory is served page by page; restore the snapshot instead";
        return Err(Error::new(Kind::NotSupported, why).about(id));
    }
    let dir = store.snapshot_dir(id)?;
    let record = store.record(id)?;
    if let hypervisor @ (HypervisorKind::Qemu | HypervisorKind::QemuMicrovm | HypervisorKind::Vz) =
        &record.snapshot.source_hypervisor
    {
        let why = format!(
            "the memory of snapshot {id} is {hypervisor}'s own stream, which has no pages to serve; restore it instead"
        );
        return Err(Error::new(Kind::NotSupported, why).about(id));
    }
    let socket = match &request.socket {
        Some(socket) => socket.clone(),
        None => std::env::temp_dir().join(format!("libhypeman-{}.sock", new_id()?)),
    };
    if socket.as_os_str().as_bytes().len() > PATH_BYTES {
        let why = format!("{} is too long for a socket: give one of {PATH_BYTES} bytes", socket.display());
        return Err(Error::new(Kind::InvalidRequest, why).at(socket));
    }

    let Opened { path, image, pin, .. } = open_pinned(hm, id)?;
    // A hint: what is wrong with it is no reason not to serve.
    let known = Sidecar::read(&dir).ok().flatten().and_then(|sidecar| sidecar.working_set);
    let listener = listen_at(&socket).map_err(|e| match e.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            let why = format!("{} is there already; remove it or choose another socket", socket.display());
            Error::new(Kind::Conflict, why).at(&socket)
        }
        _ => Error::io("listen at", &socket, &e),
    })?;
    let keep: pager::Keep = match hm.options().read_only {
        true => Box::new(|_| true),
        false => {
            let (store, id) = (Arc::clone(store), id.to_owned());
            Box::new(move |set| keep(&store, &id, set))
        }
    };
    let (log, about) = (store.log().clone(), id.to_owned());
    let guarded = hm.pagers().guarded.get_or_init(|| {
        Arc::new(pager::Guarded::new(Box::new(move |message| log.warning(&about, || message))))
    });
    let pager = pager::Pager::start(image, listener, request, known.as_ref(), keep, Arc::clone(guarded))
        .map_err(|error| {
            let _ = fs::remove_file(&socket);
            error.at(path).about(id)
        })?;
    // A cloud-hypervisor asks over a connection, and ends when that breaks.
    if record.snapshot.source_hypervisor != HypervisorKind::CloudHypervisor {
        pager.prepare_guard();
    }
    let (id, pin, process) = (id.to_owned(), Mutex::new(pin), std::process::id());
    let is_stopped = AtomicBool::new(false);
    let inner = Arc::new(Inner { id, socket, pager, pin, is_stopped, process });
    hm.pagers().add(&inner);
    // A close that has just passed by did not see it.
    hm.open_store()?;
    Ok(Pager { inner })
}

/// Notes a working set in the sidecar, unless it has one. `false` where that is to be tried again later.
fn keep(store: &Store, id: &str, set: &WorkingSet) -> bool {
    let _job = match store.try_job(id) {
        Ok(Some(job)) => job,
        // It is being compressed, which rewrites the sidecar.
        Ok(None) => return false,
        Err(_) => return true,
    };
    let write = || -> Result<()> {
        let dir = store.snapshot_dir(id)?;
        if let Some(mut sidecar) = Sidecar::read(&dir)?.filter(|sidecar| sidecar.working_set.is_none()) {
            sidecar.working_set = Some(set.clone());
            store.replace_sidecar(&dir, id, &sidecar)?;
        }
        Ok(())
    };
    // It is a hint: a disk that is full goes without it.
    let _ = write();
    true
}

impl Pager {
    /// The snapshot whose memory is served.
    pub fn snapshot_id(&self) -> &str {
        &self.inner.id
    }

    /// Where VMMs connect, as no one but this user may. The host may change owner and mode of that file for VMMs of
    /// another user.
    pub fn socket(&self) -> &Path {
        &self.inner.socket
    }

    /// What it has done so far; after its end, too.
    ///
    /// # Errors
    /// `closed` in a forked child.
    pub fn metrics(&self) -> Result<PagerMetrics> {
        self.inner.check_process()?;
        guard(|| Ok(self.inner.pager.metrics()))
    }

    /// Waits until at least one VM has connected, and each that did is gone or has all of its memory: without `fill`
    /// none ever has that.
    ///
    /// # Errors
    /// `timeout`, `cancelled`, `closed` once it was stopped.
    pub fn wait(&self, call: Call<'_>) -> Result<()> {
        self.inner.check_process()?;
        guard(|| self.inner.pager.wait(call.limit())).map_err(|error| error.about(&self.inner.id))
    }

    /// Stops serving. Stopping twice is fine.
    ///
    /// # Errors
    /// `closed` in a forked child, which leaves the pager of its parent alone.
    pub fn stop(&self) -> Result<()> {
        self.inner.check_process()?;
        guard(|| {
            self.inner.stop();
            Ok(())
        })
    }
}

impl Inner {
    fn check_process(&self) -> Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let why = "this pager belongs to the process that forked this one; serve the memory here";
        Err(Error::new(Kind::Closed, why).about(&self.id))
    }

    fn stop(&self) {
        self.pager.stop();
        // Only once: the path may be someone else's afterwards.
        if !self.is_stopped.swap(true, Ordering::AcqRel) {
            let _ = fs::remove_file(&self.socket);
            drop(lock(&self.pin).take());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // In a forked child there is no thread to stop, and its mutexes may be held for ever.
        if self.process == std::process::id() {
            self.stop();
        }
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        if self.inner.process == std::process::id() {
            self.inner.stop();
        }
    }
}

impl fmt::Debug for Pager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pager").field("socket", &self.inner.socket).finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("socket", &self.socket).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
