//! Snapshots: a verb a file.

mod again;
mod cancel;
mod checksum;
mod chunks;
mod compress;
pub(crate) mod create;
mod delete;
mod disks;
mod fork;
mod get;
mod held;
mod inspect;
mod job;
mod jobs;
mod kept;
mod known_chunks;
mod last;
mod list;
mod live;
mod mapped_ram;
mod memory;
mod plan;
mod ranges;
pub(crate) mod recover;
pub(crate) mod restore;
pub(crate) mod serve_memory;
mod verify;
mod wait;

use std::sync::Arc;

use crate::call::Call;
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::panic::guard;
use crate::types::{
    CompressionConfig, ForkSnapshot, Inspection, Instance, ServeMemory, Snapshot, SnapshotFilter,
    VerifyReport,
};

pub(crate) use jobs::Jobs;
pub use memory::MemoryImage;
pub use serve_memory::Pager;

/// The snapshots of a data directory.
#[derive(Clone, Copy, Debug)]
pub struct Snapshots<'h> {
    pub(crate) hm: &'h Hypeman,
}

impl Snapshots<'_> {
    /// Lists the snapshots that match `filter`, newest first, then by id. Damaged records are left out and never
    /// hide the others.
    ///
    /// Kept in memory, which the snapshots returned share: what libhypeman changes, in any process, and what others add
    /// or remove shows at once; records that others rewrite show after at most one call for each 512 snapshots.
    ///
    /// # Errors
    /// `invalid_request` for an unknown kind, `closed`, errors of the disk.
    pub fn list(&self, filter: &SnapshotFilter) -> Result<Vec<Arc<Snapshot>>> {
        guard(|| list::list(self.hm, filter))
    }

    /// Gets the snapshot `id`, always fresh from its record. Names and prefixes are not looked for.
    ///
    /// # Errors
    /// `not_found`, `corrupt` when its record is damaged, `closed`, errors of the disk.
    pub fn get(&self, id: &str) -> Result<Snapshot> {
        guard(|| get::get(self.hm, id))
    }

    /// As [`Snapshots::get`], if the record is known and the kernel can tell without asking the disk that it is as it
    /// was: for threads that must not wait, as those of event loops. `None` where it takes a `get`.
    ///
    /// # Errors
    /// `closed`.
    pub fn get_in_memory(&self, id: &str) -> Result<Option<Snapshot>> {
        guard(|| get::get_in_memory(self.hm, id))
    }

    /// Deletes the snapshot `id`, damaged ones too. Its compression is stopped first.
    ///
    /// # Errors
    /// `not_found`, `busy` while someone reads it, `permission`, `closed`, errors of the disk.
    pub fn delete(&self, id: &str) -> Result<()> {
        guard(|| delete::delete(self.hm, id))
    }

    /// Waits until the compression of `id` has ended, well or not, in whichever process it runs, and returns the
    /// snapshot as it is then. A job whose owner died is taken over.
    ///
    /// # Errors
    /// `not_found`, `timeout`, `cancelled`, `corrupt`, `closed`, errors of the disk.
    pub fn wait(&self, id: &str, call: Call<'_>) -> Result<Snapshot> {
        guard(|| wait::wait(self.hm, id, call))
    }

    /// Starts compressing the raw memory of `id` in the background: again after an error or a cancel, or for the
    /// first time. `None` repeats the settings of the record, or takes the defaults.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `invalid_state` when it is compressed already or has no memory, `busy` when
    /// it is being compressed, `permission`, `closed`, errors of the disk.
    pub fn compress(&self, id: &str, compression: Option<&CompressionConfig>) -> Result<Snapshot> {
        guard(|| compress::compress(self.hm, id, compression))
    }

    /// Stops the compression of `id`, if one runs: its state is `none` then, its memory raw.
    ///
    /// # Errors
    /// `not_found`, `busy` when another process compresses it, `permission`, `closed`, errors of the disk.
    pub fn cancel_compression(&self, id: &str) -> Result<Snapshot> {
        guard(|| cancel::cancel(self.hm, id))
    }

    /// Tells what the 14 fields cannot say: files, sizes on disk, how it was captured.
    ///
    /// # Errors
    /// `not_found`, `corrupt`, `closed`, errors of the disk.
    pub fn inspect(&self, id: &str) -> Result<Inspection> {
        guard(|| inspect::inspect(self.hm, id))
    }

    /// Reads every byte of the payload of `id` and compares it with the checksums that were made in the background
    /// after its capture. Damage is what the report is for, not an error. Of the record it can only tell whether it
    /// can be read.
    ///
    /// # Errors
    /// `not_found`, `busy` when its files are being removed, `corrupt` when it has no payload at all, `cancelled`,
    /// `timeout`, `closed`, errors of the disk.
    pub fn verify(&self, id: &str, call: Call<'_>) -> Result<VerifyReport> {
        guard(|| verify::verify(self.hm, id, call))
    }

    /// Makes a new instance of the snapshot `id`, with files of its own: where the file system reflinks, it shares
    /// their blocks with the snapshot and with its other forks. The source may be gone; the snapshot stays as it is.
    ///
    /// The targets are those of [`crate::InstanceSnapshots::restore`]. With `Running`, the image is loaded into the VMM
    /// that waits at `api_socket` (cloud-hypervisor, firecracker). QEMU opens its disks when it starts: fork to
    /// `Standby`, start it with the disks of the new instance, then restore the snapshot onto that. Paths in
    /// cloud-hypervisor's configuration are rewritten; firecracker must find the fork's files where the source's were, by a
    /// mount namespace or a link, and is refused else.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `conflict` (name or place taken; handed out before, with `duplicates` deny),
    /// `incompatible` (each mismatch is named), `invalid_state` (a VMM with a VM), `not_supported`, `busy`, `corrupt`,
    /// `hypervisor`, `no_space`, `permission`, `timeout`, `cancelled`, `closed`, `io`. After each, there is no new
    /// instance.
    pub fn fork(&self, id: &str, request: &ForkSnapshot, call: Call<'_>) -> Result<Instance> {
        guard(|| fork::fork(self.hm, id, request, call))
    }

    /// Opens the guest memory of `id` for reading at any offset, while it is being compressed, too.
    ///
    /// Of what libhypeman compressed, next to nothing is read now; of other compressed files their frame headers are,
    /// and all of an lz4 file whose blocks have no checksums of their own.
    ///
    /// # Errors
    /// `not_found`, `invalid_state` when it has no memory, `not_supported` for a compressed file that can only be
    /// read from its start (the vendor's zstd), `busy` when its files are being removed, `corrupt`, `closed`, errors
    /// of the disk.
    pub fn memory(&self, id: &str) -> Result<MemoryImage> {
        guard(|| memory::memory(self.hm, id))
    }

    /// Serves the guest memory of `id` to VMs that run already, page by page as they touch it, straight from its file,
    /// compressed or not: to any number of them, which connect to [`Pager::socket`] as Firecracker does for a snapshot
    /// with a `Uffd` memory backend.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `invalid_state` when it has no memory, `not_supported` for memory that has no
    /// pages (QEMU's and vz's), for a compressed file that can only be read from its start, and on other systems than
    /// Linux, `busy` when its files are being removed, `corrupt`, `closed`, errors of the system.
    pub fn serve_memory(&self, id: &str, request: &ServeMemory) -> Result<Pager> {
        guard(|| serve_memory::serve_memory(self.hm, id, request))
    }
}
