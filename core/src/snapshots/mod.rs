//! Snapshots: a verb a file.

use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::types::{CompressionConfig, Inspection, Snapshot, SnapshotFilter};

/// The snapshots of a data directory.
#[derive(Clone, Copy, Debug)]
pub struct Snapshots<'h> {
    pub(crate) hm: &'h Hypeman,
}

impl Snapshots<'_> {
    /// Lists the snapshots that match `filter`, newest first, then by id. Damaged records are left out and never
    /// hide the others.
    ///
    /// # Errors
    /// `invalid_request` for an unknown kind, `closed`, errors of the disk.
    pub fn list(&self, _filter: &SnapshotFilter) -> Result<Vec<Snapshot>> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// Gets the snapshot `id`, always fresh from its record. Names and prefixes are not looked for.
    ///
    /// # Errors
    /// `not_found`, `corrupt` when its record is damaged, `closed`, errors of the disk.
    pub fn get(&self, _id: &str) -> Result<Snapshot> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// Deletes the snapshot `id`, damaged ones too. Its compression job is stopped first.
    ///
    /// # Errors
    /// `not_found`, `busy` while someone reads it, `closed`, errors of the disk.
    pub fn delete(&self, _id: &str, _call: Call<'_>) -> Result<()> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// Waits until the compression of `id` has ended, well or not, in whichever process it runs, and returns the
    /// snapshot as it is then. A job whose owner died is taken over.
    ///
    /// # Errors
    /// `not_found`, `timeout`, `cancelled`, `corrupt`, `closed`, errors of the disk.
    pub fn wait(&self, _id: &str, _call: Call<'_>) -> Result<Snapshot> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// Starts compressing the raw memory of `id` in the background: again after an error or a cancel, or for the
    /// first time. `None` repeats the settings of the record.
    ///
    /// # Errors
    /// `invalid_request`, `not_found`, `invalid_state` when it is compressed or being compressed already, or has no
    /// memory, `closed`, errors of the disk.
    pub fn compress(&self, _id: &str, _compression: Option<&CompressionConfig>) -> Result<Snapshot> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// Stops the compression of `id`, if one runs: its state is `none` then, its memory raw.
    ///
    /// # Errors
    /// `not_found`, `busy` when another process compresses it, `closed`, errors of the disk.
    pub fn cancel_compression(&self, _id: &str) -> Result<Snapshot> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// Tells what the 14 fields cannot say: files, sizes on disk, how it was captured.
    ///
    /// # Errors
    /// `not_found`, `corrupt`, `closed`, errors of the disk.
    pub fn inspect(&self, _id: &str) -> Result<Inspection> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }
}
