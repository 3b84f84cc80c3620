//! Notes of what must come to an end after its snapshot was acknowledged, compression and checksums: an empty file
//! each, from before its record says `compressing`.

use super::Store;
use crate::error::Result;

impl Store {
    /// Notes, durably, that the compression of `id` begins. Noting it twice is fine.
    pub(crate) fn begin_job(&self, id: &str) -> Result<()> {
        let jobs = &self.private()?.jobs;
        jobs.open_or_create(id)?;
        // An empty file is whole as soon as it has its name.
        self.durable.dir(jobs)
    }

    /// Notes that the checksums of `id` are to be made. A power cut may take the note: then they stay unmade, which
    /// `verify` says, and nothing else is lost.
    pub(super) fn note_checksums(&self, id: &str) -> Result<()> {
        self.private()?.jobs.open_or_create(id).map(drop)
    }

    /// Forgets the job of `id`. Need not be durable: a job that has ended finds nothing to do.
    pub(crate) fn end_job(&self, id: &str) -> Result<()> {
        self.private()?.jobs.unlink(id)
    }

    /// Tells whether the job of `id` has not come to its end.
    pub(crate) fn has_job(&self, id: &str) -> Result<bool> {
        Ok(self.private()?.jobs.stat(id)?.is_some())
    }

    /// The snapshots whose jobs have not come to their end.
    pub(crate) fn jobs(&self) -> Result<Vec<String>> {
        let entries = self.private()?.jobs.entries()?;
        Ok(entries.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect())
    }
}
