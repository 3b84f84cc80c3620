//! The catalogue: every good record of the directory, in memory, so that no call parses what is known.
//!
//! A cache, never the truth. It is made when first asked for. For `list` it is kept fresh by three looks:
//! 1. *Our own writers*, in any process, append the id that they changed to `catalogue/changes`; the part of that
//!    file that is new is read on each call, and those records are read again.
//! 2. *Foreign adds and removes* change the times of `snapshots/`; then the directory is read and compared. Of a large
//!    one, which every create of our own changes, too, the kernel tells which names come and go (inotify), if it is
//!    not on a network and the user has a watch left.
//! 3. *Foreign rewrites* leave no such trace: each call looks at the next 512 records and reads those again whose
//!    inode, size or times differ. A store of n records is swept whole by n / 512 calls.
//!
//! `get` needs none of this: it looks at the one record on each call, and reads it where it is not the version that
//! was read before.

mod read;
mod refresh;
mod table;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{RECORD, Store};
use crate::error::Result;
use crate::sys::dir::Dir;
use crate::sys::version::Version;
use crate::types::{Snapshot, SnapshotFilter, is_safe_id};

/// The file that lists ids, a line each, as their snapshots change.
pub(super) const CHANGES: &str = "changes";

/// About 160,000 changes.
const LONG_CHANGES_BYTES: u64 = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// Never held while the disk is asked.
    table: RwLock<table::Table>,
    /// Held while the table is compared with the disk: one call at a time.
    looks: Mutex<refresh::Looks>,
}

impl Catalogue {
    fn table(&self) -> RwLockReadGuard<'_, table::Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, table::Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// The snapshots that match, newest first, then by id.
    pub(crate) fn list(&self, filter: &SnapshotFilter) -> Result<Vec<Arc<Snapshot>>> {
        let Some(snapshots) = &self.snapshots else { return Ok(Vec::new()) };
        self.refresh(snapshots)?;
        Ok(self.catalogue.table().matching(filter))
    }

    /// The snapshot `id` as its record says now.
    ///
    /// # Errors
    /// `not_found`, `corrupt`, errors of the disk.
    pub(crate) fn snapshot(&self, id: &str) -> Result<Arc<Snapshot>> {
        // One that was never read need not be looked at to be read now.
        let is_known = self.catalogue.table().version(id).is_some();
        if is_known
            && let Some(version) = self.version(id, Dir::version)
            && let Some(known) = self.catalogue.table().known(id, version)
        {
            return Ok(known);
        }
        let generation = self.catalogue.table().generation();
        let (version, record) = self.record_versioned(id)?;
        let snapshot = Arc::new(record.snapshot);
        if let Some(version) = version {
            self.catalogue.table_mut().offer(generation, version, &snapshot);
        }
        Ok(snapshot)
    }

    /// As [`Store::snapshot`], if it is known and that can be told without waiting, for the disk or for a lock.
    pub(crate) fn snapshot_in_memory(&self, id: &str) -> Option<Arc<Snapshot>> {
        let version = self.version(id, Dir::version_in_memory)?;
        self.catalogue.table.try_read().ok()?.known(id, version)
    }

    /// The version of the record of `id`, if that says whether it is as it was when it was read.
    fn version(&self, id: &str, look: fn(&Dir, &str) -> Option<Version>) -> Option<Version> {
        // Elsewhere the clock is another's, and what the kernel knows of a file may be old.
        let snapshots = self.snapshots.as_ref().filter(|_| self.trusts_times && is_safe_id(id))?;
        look(snapshots, &format!("{id}/{RECORD}"))
    }

    /// Tells the catalogues of all handles that snapshot `id` was added, changed or removed.
    pub(super) fn note_change(&self, id: &str) {
        // A note that cannot be written delays what others see until their sweep comes by; it loses nothing.
        let noted = self.private().and_then(|private| private.catalogue.append(CHANGES));
        if let Ok(mut file) = noted {
            // One write of a short line is atomic at the end of a file.
            let _ = file.write_all(format!("{id}\n").as_bytes());
        }
    }

    /// Begins the list of changes anew once it is long; other handles then look at everything once.
    pub(crate) fn trim_changes(&self) -> Result<()> {
        let catalogue = &self.private()?.catalogue;
        match catalogue.stat(CHANGES)? {
            Some(stat) if stat.size_bytes > LONG_CHANGES_BYTES => catalogue.unlink(CHANGES),
            _ => Ok(()),
        }
    }
}
