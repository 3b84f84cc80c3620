//! Deleting: a rename makes a snapshot vanish at once and whole, the unlinking may take its time.

use super::Store;
use crate::error::{Error, Result};
use crate::types::new_id;

impl Store {
    /// Takes snapshot `id` out of sight, durably, and then removes its files.
    pub(crate) fn discard(&self, id: &str) -> Result<()> {
        let (snapshots, private) = (self.snapshots()?, self.private()?);
        let name = new_id()?;
        snapshots.rename_new(id, &private.trash, &name).map_err(|error| match error.errno() {
            Some(libc::ENOENT) => super::no_snapshot(id),
            _ => error.about(id),
        })?;
        // From here on the snapshot is gone for every caller, so an error below must not say that it is not.
        self.note_change(id);
        self.durable.dir(snapshots)?;
        private.jobs.unlink(id)?;
        // What cannot be removed now is removed by the next opener.
        let _ = private.trash.remove_tree(&name);
        Ok(())
    }

    /// Removes what deletions of dead openers left.
    pub(crate) fn empty_trash(&self) -> Result<()> {
        let trash = &self.private()?.trash;
        let entries = trash.entries()?;
        entries.iter().map(|entry| trash.remove_tree(&entry.name)).fold(Ok(()), Result::<(), Error>::and)
    }
}
