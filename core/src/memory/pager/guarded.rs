//! Who ends the VMs of a handle's pagers, should the process die: one guard for all of them, made before the first VM whose
//! faults are ours comes, or when it does. To make one costs a process with gigabytes of its own a tenth of a second, and its
//! next writes to them some more: it is kept until the handle is closed.
//!
//! A VM is told to the guard before it gets a byte, and forgotten when it is gone or has all of its memory. VMs that ask
//! over a connection need no one: their VMM ends when it breaks.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::install::Vm;
use super::lock;
use crate::sys::guard::{Area, Guard};

/// Tells the host what a metric does not.
type Warn = Box<dyn Fn(String) + Send + Sync>;

pub(crate) struct Guarded {
    guard: Mutex<State>,
    warn: Warn,
    /// How many VMs have ever come.
    vms_come: AtomicU64,
    process: u32,
}

enum State {
    /// It was not needed yet.
    None,
    Made(Guard),
    /// None could be made, or it was stopped.
    Without,
}

impl Guarded {
    pub(crate) fn new(warn: Warn) -> Self {
        let process = std::process::id();
        Self { guard: Mutex::new(State::None), warn, vms_come: AtomicU64::new(0), process }
    }

    /// What a new VM is called.
    pub(super) fn token(&self) -> u64 {
        self.vms_come.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes the guard before a VM has to wait for it: that takes as long as it takes to copy what the kernel notes of the
    /// memory of this process.
    pub(super) fn prepare(&self) {
        let made = lock(&self.guard).made().map(drop);
        self.warn_of(made);
    }

    /// Has `vm` ended if this process dies. A VM for which that cannot be had is served all the same.
    pub(super) fn watch(&self, vm: &Vm) {
        let watched = lock(&self.guard).made().and_then(|guard| match guard {
            Some(guard) => guard.watch(vm.token, &vm.uffd, vm.vmm.as_ref(), areas_of(vm)),
            // The host knows already, or the pager is being stopped.
            None => Ok(()),
        });
        self.warn_of(watched);
    }

    fn warn_of(&self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            let what = "a VM stands still, and does not end, if the process that serves its memory dies";
            (self.warn)(format!("{what}: it has no guard ({error})"));
        }
    }

    /// Leaves `vm` alone from now on.
    pub(super) fn forget(&self, vm: &Vm) {
        if let State::Made(guard) = &*lock(&self.guard) {
            // Where it cannot hear that, it ends a VM that is gone, or lets go of one that is whole already.
            let _ = guard.forget(vm.token);
        }
    }

    /// Ends the guard and leaves all VMs alone.
    pub(crate) fn stop(&self) {
        // In a forked child it is someone else's, and its mutex may be held for ever.
        if self.process == std::process::id() {
            std::mem::replace(&mut *lock(&self.guard), State::Without).stop();
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    /// The guard, made where there never was one.
    fn made(&mut self) -> io::Result<Option<&Guard>> {
        if let Self::None = self {
            // It is tried once.
            *self = Self::Without;
            *self = Self::Made(Guard::start()?);
        }
        Ok(match self {
            Self::Made(guard) => Some(guard),
            Self::None | Self::Without => None,
        })
    }

    fn stop(self) {
        if let Self::Made(guard) = self {
            guard.stop();
        }
    }
}

fn areas_of(vm: &Vm) -> impl Iterator<Item = Area> {
    vm.regions.iter().map(|region| Area {
        start: region.address_of(0),
        bytes: region.bytes(),
        page_bytes: region.page_bytes,
    })
}
