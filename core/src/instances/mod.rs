//! Instances: the VMs that a host, or the vendor's server, told us of.

use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::types::{CreateSnapshot, Instance, RegisterInstance, Snapshot};

/// The instances of a data directory.
#[derive(Clone, Copy, Debug)]
pub struct Instances<'h> {
    pub(crate) hm: &'h Hypeman,
}

impl<'h> Instances<'h> {
    /// Tells the store of a VM. Telling it the same again is fine and gives the same instance.
    ///
    /// # Errors
    /// `invalid_request`, `conflict` when the name or id stands for something else, `closed`, errors of the disk.
    pub fn register(&self, _request: &RegisterInstance) -> Result<Instance> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// Finds an instance by exact id, then exact name, then unique id prefix.
    ///
    /// # Errors
    /// `not_found`, `conflict` when several ids begin so, `closed`, errors of the disk.
    pub fn get(&self, _id: &str) -> Result<Instance> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// Every instance, by name.
    ///
    /// # Errors
    /// `closed`, errors of the disk.
    pub fn list(&self) -> Result<Vec<Instance>> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// Forgets a registered instance. The VM, its files and its snapshots stay as they are.
    ///
    /// # Errors
    /// As [`Instances::get`]; `invalid_state` for an instance of the vendor's server; `busy` during a capture.
    pub fn unregister(&self, _id: &str) -> Result<()> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
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
    /// compression goes on in the background (see [`crate::Snapshots::wait`]).
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `conflict` (name taken), `invalid_state`, `busy`, `hypervisor`, `no_space`,
    /// `permission`, `timeout`, `cancelled`, `closed`, `io`. After each, nothing is left and the VM runs.
    pub fn create(&self, _id: &str, _request: &CreateSnapshot, _call: Call<'_>) -> Result<Snapshot> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }
}
