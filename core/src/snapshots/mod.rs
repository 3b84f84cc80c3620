//! Snapshots: a verb a file.

mod cancel;
mod checksum;
mod chunks;
mod compress;
pub(crate) mod create;
mod delete;
mod disks;
mod get;
mod inspect;
mod job;
mod jobs;
mod known_chunks;
mod list;
mod live;
mod memory;
mod plan;
mod ranges;
pub(crate) mod recover;
pub(crate) mod restore;
mod verify;
mod wait;

use crate::call::Call;
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::panic::guard;
use crate::types::{CompressionConfig, Inspection, Snapshot, SnapshotFilter, VerifyReport};

pub(crate) use jobs::Jobs;
pub use memory::MemoryImage;

/// The snapshots of a data directory.
#[derive(Clone, Copy, Debug)]
pub struct Snapshots<'h> {
    pub(crate) hm: &'h Hypeman,
}

impl Snapshots<'_> {
    /// Lists the snapshots that match `filter`, newest first, then by id. Damaged records are left out and never
    /// hide the others.
    ///
    /// Kept in memory: what libhypeman changes, in any process, and what others add or remove shows at once; records
    /// that others rewrite show after at most one call for each 512 snapshots.
    ///
    /// # Errors
    /// `invalid_request` for an unknown kind, `closed`, errors of the disk.
    pub fn list(&self, filter: &SnapshotFilter) -> Result<Vec<Snapshot>> {
        guard(|| list::list(self.hm, filter))
    }

    /// Gets the snapshot `id`, always fresh from its record. Names and prefixes are not looked for.
    ///
    /// # Errors
    /// `not_found`, `corrupt` when its record is damaged, `closed`, errors of the disk.
    pub fn get(&self, id: &str) -> Result<Snapshot> {
        guard(|| get::get(self.hm, id))
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
}
