//! The records of a store: read, and replaced beside what else knows them.

use super::record::Record;
use super::sidecar::Sidecar;
use super::{RECORD, SIDECAR, Store, json as strict, no_snapshot};
use crate::error::{Error, Kind, Result};
use crate::sys::dir::Dir;
use crate::sys::version::Version;

impl Store {
    /// Reads the record of snapshot `id` from the disk.
    ///
    /// # Errors
    /// `not_found`, `corrupt`, errors of the disk.
    pub(crate) fn record(&self, id: &str) -> Result<Record> {
        self.record_in(&self.snapshot_dir(id)?, id)
    }

    /// Reads the record of snapshot `id`, whose directory was `dir` just now.
    ///
    /// # Errors
    /// As [`Store::record`].
    fn record_in(&self, dir: &Dir, id: &str) -> Result<Record> {
        Record::read(dir, id).or_else(|error| self.unless_deleted(dir, id, error))
    }

    /// As [`Store::record`], with the version of [`Record::read_versioned`].
    pub(super) fn record_versioned(&self, id: &str) -> Result<(Option<Version>, Record)> {
        let dir = self.snapshot_dir(id)?;
        let (version, record) = Record::read_versioned(&dir, id);
        Ok((version, record.or_else(|error| self.unless_deleted(&dir, id, error))?))
    }

    /// Why the record of `id` could not be read from `dir`: one that was deleted since lies in the trash, and is no
    /// damage.
    fn unless_deleted(&self, dir: &Dir, id: &str, error: Error) -> Result<Record> {
        let here = self.snapshot_dir(id)?.stat_self()?;
        if here.inode == dir.stat_self()?.inode { Err(error) } else { Err(no_snapshot(id)) }
    }

    /// Replaces the record of its snapshot. The caller has the snapshot's job.
    pub(crate) fn rewrite(&self, record: &Record) -> Result<()> {
        let id = &record.snapshot.id;
        let dir = self.snapshot_dir(id)?;
        let new = record.to_bytes()?;
        let sidecar = Sidecar::read_sealed(&dir).or_else(|error| match error.kind() {
            // Left as it is, for `verify` to tell.
            Kind::Corrupt | Kind::Incompatible => Ok(None),
            _ => Err(error),
        });
        let scratch = &self.private()?.staging;
        let scratch_name = format!("{id}.json");
        if let Some(mut sidecar) = sidecar? {
            let now = dir.read_if_any(RECORD)?.map(|file| strict::read_bytes(&file, &dir.join(RECORD)));
            sidecar.admit_record(now.transpose()?.as_deref(), &new);
            // Admits either record, so that it must come first; both entries are of one directory and keep their order.
            self.durable.write_over(&dir, SIDECAR, &sidecar.to_bytes()?, scratch, &scratch_name)?;
        }
        self.durable.replace(&dir, RECORD, &new, scratch, &scratch_name)?;
        self.note_change(id);
        Ok(())
    }
}
