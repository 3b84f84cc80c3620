//! Who works on what: byte-range locks on files that are never removed.
//!
//! `locks/{id}.snapshot` byte 0 is the job (the making of the snapshot, then its compression, its rewriting), byte 1
//! its readers, byte 2 its generation, byte 3 those who restore or fork it. `locks/{id}.instance` is the turn to capture
//! an instance, a byte of `locks/processes` that of a VMM's pid. Holding any of them says that its owner lives; there are
//! no clocks.

use std::path::Path;
use std::time::Duration;

use super::Store;
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::sys::lock::{ByteLock, Sharing};
use crate::types::is_safe_id;

const JOB: i64 = 0;
const READERS: i64 = 1;
const GENERATION: i64 = 2;
const RESTORES: i64 = 3;

/// How often a lock that someone else holds is looked at again: a dead owner is noticed within 50 ms.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl Store {
    /// Takes the job of snapshot `id`, if no one has it.
    pub(crate) fn try_job(&self, id: &str) -> Result<Option<ByteLock>> {
        self.try_lock(&format!("{}.snapshot", checked(id)?), JOB, Sharing::Exclusive)
    }

    /// Reads snapshot `id`: until this is dropped, no one deletes it. `None` while someone removes files of it.
    pub(crate) fn try_read(&self, id: &str) -> Result<Option<ByteLock>> {
        self.try_lock(&format!("{}.snapshot", checked(id)?), READERS, Sharing::Shared)
    }

    /// Waits for the right to read snapshot `id`.
    pub(crate) fn read(&self, id: &str, limit: &Limit) -> Result<ByteLock> {
        wait(limit, || self.try_read(id))
    }

    /// Takes the readers' byte of snapshot `id` for oneself, if no one reads it.
    pub(crate) fn try_no_readers(&self, id: &str) -> Result<Option<ByteLock>> {
        self.try_lock(&format!("{}.snapshot", checked(id)?), READERS, Sharing::Exclusive)
    }

    /// Restores or forks snapshot `id`: until this is dropped, its compression stands still.
    pub(crate) fn restoring(&self, id: &str) -> Result<Option<ByteLock>> {
        self.try_lock(&format!("{}.snapshot", checked(id)?), RESTORES, Sharing::Shared)
    }

    /// Tells whether someone restores or forks snapshot `id` now.
    pub(crate) fn is_being_restored(&self, id: &str) -> Result<bool> {
        let locks = &self.private()?.locks;
        let name = format!("{}.snapshot", checked(id)?);
        let Some(file) = locks.read_if_any(&name)? else { return Ok(false) };
        ByteLock::is_taken(&file, RESTORES, &locks.join(&name))
    }

    /// Waits for the right to count the next generation of snapshot `id`, which takes moments.
    pub(super) fn generation_lock(&self, id: &str, limit: &Limit) -> Result<ByteLock> {
        wait(limit, || self.try_generation_lock(id))
    }

    /// Takes that right, if no one has it.
    pub(super) fn try_generation_lock(&self, id: &str) -> Result<Option<ByteLock>> {
        self.try_lock(&format!("{}.snapshot", checked(id)?), GENERATION, Sharing::Exclusive)
    }

    /// Takes the turn to capture or forget instance `id`, if no one has it.
    pub(crate) fn try_turn(&self, id: &str) -> Result<Option<ByteLock>> {
        self.try_lock(&format!("{}.instance", checked(id)?), JOB, Sharing::Exclusive)
    }

    /// Tells whether someone captures instance `id` now, without getting in anyone's way.
    pub(crate) fn is_turn_taken(&self, id: &str) -> Result<bool> {
        let locks = &self.private()?.locks;
        let name = format!("{}.instance", checked(id)?);
        let Some(file) = locks.read_if_any(&name)? else { return Ok(false) };
        ByteLock::is_taken(&file, JOB, &locks.join(&name))
    }

    /// Waits for the turn to capture instance `id`.
    pub(crate) fn turn(&self, id: &str, limit: &Limit) -> Result<ByteLock> {
        wait(limit, || self.try_turn(id))
    }

    /// Waits for the right to change the set of registered instances.
    pub(crate) fn registry_lock(&self, limit: &Limit) -> Result<ByteLock> {
        wait(limit, || self.try_registry_lock())
    }

    /// Takes the right to change the set of registered instances, if no one has it.
    pub(super) fn try_registry_lock(&self) -> Result<Option<ByteLock>> {
        self.try_lock("registry", JOB, Sharing::Exclusive)
    }

    pub(super) fn try_lock(&self, name: &str, byte: i64, sharing: Sharing) -> Result<Option<ByteLock>> {
        if self.read_only {
            let why = format!("{} was opened read-only, and a lock is a file in it", self.path().display());
            return Err(Error::new(Kind::Permission, why).at(self.path()));
        }
        let locks = &self.private()?.locks;
        ByteLock::try_take(locks.open_or_create(name)?, byte, sharing, &locks.join(Path::new(name)))
    }
}

/// Tries until it is there or the call ends.
pub(super) fn wait(limit: &Limit, mut attempt: impl FnMut() -> Result<Option<ByteLock>>) -> Result<ByteLock> {
    loop {
        if let Some(lock) = attempt()? {
            return Ok(lock);
        }
        limit.check()?;
        std::thread::sleep(limit.at_most(LOOK_AGAIN));
    }
}

fn checked(id: &str) -> Result<&str> {
    if is_safe_id(id) {
        return Ok(id);
    }
    Err(Error::new(Kind::NotFound, format!("{id:?} is not a valid id")).about(id))
}
