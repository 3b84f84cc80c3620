//! Name claims: the name of a snapshot is unique per source instance, in one process or in many.
//!
//! A claim is a file whose name is a hash of (instance, name), made exclusively, and whose content is the snapshot's
//! id. The hash takes care of length, characters and letter case. A claim is good while its snapshot exists or is
//! being made; a claim that is missing follows from the records, so that claims are not flushed.

use std::io::Read;

use sha2::{Digest, Sha256};

use super::Store;
use super::durable::UNFLUSHED;
use crate::error::{Error, Kind, Result};
use crate::types::SnapshotFilter;

impl Store {
    /// Claims `name` for the snapshot `id` of `instance`. The caller has the turn of that instance and the job of `id`.
    ///
    /// # Errors
    /// `conflict` when a snapshot of this instance has the name.
    pub(crate) fn claim_name(&self, instance: &str, name: &str, id: &str) -> Result<()> {
        let filter = SnapshotFilter {
            name: Some(name.to_owned()),
            source_instance_id: Some(instance.to_owned()),
            ..SnapshotFilter::default()
        };
        if let Some(other) = self.list(&filter)?.first() {
            return Err(taken(instance, name, &other.id));
        }
        let names = &self.private()?.names;
        let key = key(instance, name);
        // A second round follows the removal of one stale claim; we have the turn, so no one makes another.
        for _ in 0..2 {
            match UNFLUSHED.create(names, &key, id.as_bytes()) {
                Err(error) if error.errno() == Some(libc::EEXIST) => {}
                done => return done,
            }
            match self.claimant(&key)? {
                Some(owner) if self.is_alive(&owner)? => return Err(taken(instance, name, &owner)),
                _ => names.unlink(&key)?,
            }
        }
        Err(Error::new(Kind::Busy, format!("the name {name:?} is being claimed by others; try again"))
            .about(instance))
    }

    /// Gives up the claim of `id` on `name`, if it has it.
    pub(crate) fn release_name(&self, instance: &str, name: &str, id: &str) -> Result<()> {
        let names = &self.private()?.names;
        let key = key(instance, name);
        if self.claimant(&key)?.as_deref() == Some(id) {
            names.unlink(&key)?;
        }
        Ok(())
    }

    fn claimant(&self, key: &str) -> Result<Option<String>> {
        let names = &self.private()?.names;
        let Some(file) = names.read_if_any(key)? else { return Ok(None) };
        let mut id = String::new();
        // A claim cut short by a crash names no one.
        Ok(file.take(256).read_to_string(&mut id).ok().map(|_| id))
    }

    /// Tells whether snapshot `id` exists, or is being made by someone who lives.
    fn is_alive(&self, id: &str) -> Result<bool> {
        match self.snapshot_dir(id) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() != Kind::NotFound => return Err(error),
            Err(_) => {}
        }
        match self.try_job(id) {
            Ok(job) => Ok(job.is_none()),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn key(instance: &str, name: &str) -> String {
    let digest = Sha256::new().chain_update(instance).chain_update([0]).chain_update(name).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn taken(instance: &str, name: &str, owner: &str) -> Error {
    Error::new(
        Kind::Conflict,
        format!(
            "snapshot name already exists: snapshot name {name:?} already exists for source instance {instance}; choose another, or delete snapshot {owner}"
        ),
    )
    .about(owner)
}
