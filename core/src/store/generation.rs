//! `libhypeman.generation`: how often the memory of a snapshot was handed out, in decimal digits. Two VMs of one memory
//! share random numbers, keys and clocks, so that each gets a number of its own: counted on the disk before its guest
//! can run. A crash may leave a number that no one has; none is given twice.

use super::{Store, json};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::sys::dir::Dir;
use crate::types::Duplicates;

const GENERATION: &str = "libhypeman.generation";
/// What a number that is being written is called in the staging directory, behind the id.
pub(super) const SCRATCH: &str = ".generation";

impl Store {
    /// How often the memory of snapshot `id` was handed out.
    pub(crate) fn generation(&self, id: &str) -> Result<u64> {
        read(&self.snapshot_dir(id)?).map_err(|error| error.about(id))
    }

    /// Counts one more, durably. The caller reads the snapshot.
    ///
    /// # Errors
    /// `conflict` where there was one before and `duplicates` says that there must not be; `corrupt`, errors of the
    /// disk.
    pub(crate) fn next_generation(&self, id: &str, duplicates: Duplicates, limit: &Limit) -> Result<u64> {
        let _counting = self.generation_lock(id, limit)?;
        let dir = self.snapshot_dir(id)?;
        let next = self.check_duplicates(id, duplicates)?.saturating_add(1);
        let text = format!("{next}\n");
        self.durable
            .replace(&dir, GENERATION, text.as_bytes(), &self.private()?.staging, &format!("{id}{SCRATCH}"))
            .map_err(|error| error.about(id))?;
        Ok(next)
    }

    /// Returns how often the memory of `id` was handed out, unless once was too often already.
    pub(crate) fn check_duplicates(&self, id: &str, duplicates: Duplicates) -> Result<u64> {
        let before = self.generation(id)?;
        if before == 0 || duplicates == Duplicates::Allow {
            return Ok(before);
        }
        let why = format!(
            "the memory of snapshot {id} was handed out before ({before} times), and two guests of one memory share random numbers and keys; take a new snapshot, or set duplicates to allow if the guest draws new ones"
        );
        Err(Error::new(Kind::Conflict, why).about(id))
    }
}

fn read(dir: &Dir) -> Result<u64> {
    let Some(file) = dir.read_if_any(GENERATION)? else { return Ok(0) };
    let path = dir.join(GENERATION);
    let text = json::read_text(&file, &path)?;
    text.trim_end().parse().map_err(|_| {
        let why = format!(
            "{} is damaged: it holds no number; write the highest generation that you know of into it, or 0",
            path.display()
        );
        Error::new(Kind::Corrupt, why).at(path)
    })
}
