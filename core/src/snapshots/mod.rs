//! Snapshots: a verb a file.

mod cancel;
mod compress;
pub(crate) mod create;
mod delete;
mod disks;
mod get;
mod inspect;
mod jobs;
mod list;
mod live;
mod plan;
pub(crate) mod recover;
pub(crate) mod restore;
mod wait;

use crate::call::Call;
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::panic::guard;
use crate::types::{CompressionConfig, Inspection, Snapshot, SnapshotFilter};

pub(crate) use jobs::Jobs;

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
}
