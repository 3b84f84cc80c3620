//! Instances: the VMs that a host, or the vendor's server, told us of.

mod find;
mod get;
mod list;
mod register;
mod state;
mod unregister;

use std::time::Duration;

use crate::call::Call;
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::panic::guard;
use crate::snapshots;
use crate::types::{CreateSnapshot, Instance, RegisterInstance, RestoreSnapshot, Snapshot};

pub(crate) use find::{Found, all, find};
pub(crate) use state::{Source, source};

/// The registry is held for milliseconds; whoever holds it longer than this has been stopped.
pub(crate) const REGISTRY_PATIENCE: Duration = Duration::from_secs(10);

/// The instances of a data directory.
#[derive(Clone, Copy, Debug)]
pub struct Instances<'h> {
    pub(crate) hm: &'h Hypeman,
}

impl<'h> Instances<'h> {
    /// Tells the store of a VM. Telling it the same again is fine and gives the same instance.
    ///
    /// # Errors
    /// `invalid_request`, `conflict` when the name or id stands for something else, `permission`, `closed`, errors
    /// of the disk.
    pub fn register(&self, request: &RegisterInstance) -> Result<Instance> {
        guard(|| register::register(self.hm, request))
    }

    /// Finds an instance by exact id, then exact name, then unique id prefix, and asks its VMM for its state.
    ///
    /// # Errors
    /// `not_found`, `conflict` when several ids begin so, `closed`, errors of the disk.
    pub fn get(&self, id: &str) -> Result<Instance> {
        guard(|| get::get(self.hm, id))
    }

    /// Every instance, by name, each with its state. Damaged ones are left out.
    ///
    /// # Errors
    /// `closed`, errors of the disk.
    pub fn list(&self) -> Result<Vec<Instance>> {
        guard(|| list::list(self.hm))
    }

    /// Forgets a registered instance. The VM, its files and its snapshots stay as they are.
    ///
    /// # Errors
    /// As [`Instances::get`]; `invalid_state` for an instance of the vendor's server; `busy` during a capture.
    pub fn unregister(&self, id: &str) -> Result<()> {
        guard(|| unregister::unregister(self.hm, id))
    }

    /// Snapshots, as made from an instance.
    pub fn snapshots(&self) -> InstanceSnapshots<'h> {
        InstanceSnapshots { hm: self.hm }
    }
}

/// What is done with an instance and its snapshots.
#[derive(Clone, Copy, Debug)]
pub struct InstanceSnapshots<'h> {
    pub(crate) hm: &'h Hypeman,
}

impl InstanceSnapshots<'_> {
    /// Captures a snapshot of instance `id` (exact id, exact name or unique id prefix).
    ///
    /// A running VM is paused and resumed, whatever happens. The snapshot is on the disk when this returns;
    /// compression goes on in the background (see [`crate::Snapshots::wait`]). A second create on the same instance
    /// waits for its turn. After a cancel or a timeout the call returns at once, and a thread of the handle waits
    /// for the VMM and resumes the VM.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `conflict` (name taken), `invalid_state`, `busy`, `hypervisor`, `no_space`,
    /// `permission`, `timeout`, `cancelled`, `closed`, `io`. After each, nothing is left and the VM runs.
    pub fn create(&self, id: &str, request: &CreateSnapshot, call: Call<'_>) -> Result<Snapshot> {
        guard(|| snapshots::create::create(self.hm, id, request, call))
    }

    /// Restores `snapshot_id` onto the instance that it was taken of, or that was forked from it, `id`.
    ///
    /// With target `Standby` or `Stopped` the files are put into place: built beside the live ones, flushed, then
    /// exchanged with them under a journal, so that the instance is as it was or as it should be, whatever is killed.
    /// What no snapshot holds (`logs/`, sockets) stays. With target `Running` the image is loaded into the VMM that
    /// the host has started and that waits for it, and the guest goes on. QEMU opens its disks when it starts, so it
    /// wants both steps, and its start in between; cloud-hypervisor and firecracker take both in one call.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `conflict` (handed out before, with `duplicates` deny), `invalid_state` (a live
    /// guest, a VMM with a VM, files not in place), `incompatible` (each mismatch is named), `busy`, `corrupt`, `hypervisor`, `no_space`, `permission`,
    /// `timeout`, `cancelled`, `closed`, `io`. After an error of the first step the instance is as it was.
    pub fn restore(
        &self,
        snapshot_id: &str,
        id: &str,
        request: &RestoreSnapshot,
        call: Call<'_>,
    ) -> Result<Instance> {
        guard(|| snapshots::restore::restore(self.hm, snapshot_id, id, request, call))
    }
}
