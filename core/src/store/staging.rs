//! Staging: a snapshot in the making, out of sight until it is whole.

use std::sync::Arc;

use super::sidecar::Sidecar;
use super::{GUEST, RECORD, SIDECAR, Store, generation};
use crate::error::{Error, Kind, Result};
use crate::sys::dir::{Dir, EntryKind};
use crate::sys::lock::ByteLock;
use crate::types::new_id;

/// A snapshot in the making. Dropping it removes every trace; [`Stage::publish`] makes it a snapshot.
#[derive(Debug)]
pub(crate) struct Stage {
    store: Arc<Store>,
    id: String,
    guest: Dir,
    /// The name that was claimed, with the instance it was claimed for.
    claim: Option<(String, String)>,
    /// Held from before the first trace until after the last; `None` once it was handed on.
    job: Option<ByteLock>,
}

impl Stage {
    /// Begins a snapshot under a new id.
    pub(crate) fn begin(store: &Arc<Store>) -> Result<Self> {
        let id = new_id()?;
        let job =
            store.try_job(&id)?.ok_or_else(|| Error::new(Kind::Internal, format!("id {id} is in use")))?;
        let made = store.private()?.staging.make_dir(&id)?;
        let guest = made.make_dir(GUEST).inspect_err(|_| {
            let _ = store.private().and_then(|private| private.staging.remove_tree(&id));
        })?;
        Ok(Self { store: Arc::clone(store), id, guest, claim: None, job: Some(job) })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The directory that becomes the payload.
    pub(crate) fn guest(&self) -> &Dir {
        &self.guest
    }

    /// Claims `name` among the snapshots of `instance`.
    pub(crate) fn claim_name(&mut self, instance: &str, name: &str) -> Result<()> {
        self.store.claim_name(instance, name, &self.id)?;
        self.claim = Some((instance.to_owned(), name.to_owned()));
        Ok(())
    }

    /// Flushes every file and directory of the payload, deepest first.
    pub(crate) fn sync(&self) -> Result<()> {
        self.store.sync_tree(&self.guest)
    }

    /// Leaves what is there to the next opener, who removes it.
    pub(crate) fn leave(mut self) {
        self.job = None;
    }

    /// Makes this a snapshot, durably: all or nothing, in the order of design §5. A note is left that its
    /// checksums, and its compression if it `compresses`, must come to an end. Returns the job for that.
    pub(crate) fn publish(
        mut self,
        record: &[u8],
        mut sidecar: Sidecar,
        compresses: bool,
    ) -> Result<ByteLock> {
        let (snapshots, private) = (self.store.snapshots()?, self.store.private()?);
        let durable = self.store.durable;
        let dir = private.staging.dir(&self.id)?;
        sidecar.admit_record(None, record);
        durable.write_new(&dir, SIDECAR, &sidecar.to_bytes()?)?;
        durable.create(&dir, RECORD, record)?;
        if compresses {
            self.store.begin_job(&self.id)?;
        } else {
            self.store.note_checksums(&self.id)?;
        }
        private.staging.rename_new(&self.id, snapshots, &self.id)?;
        if let Err(error) = durable.dir(snapshots) {
            // Not acknowledged, so it must not be there; the rename back is as good as its own flush.
            let _ = snapshots.rename_new(&self.id, &private.staging, &self.id);
            return Err(error);
        }
        self.store.note_change(&self.id);
        self.claim = None;
        self.job.take().ok_or_else(|| Error::new(Kind::Internal, "a stage was published without its job"))
    }

    fn clear(&self) -> Result<()> {
        let private = self.store.private()?;
        private.staging.remove_tree(&self.id)?;
        self.store.end_job(&self.id)?;
        if let Some((instance, name)) = &self.claim {
            self.store.release_name(instance, name, &self.id)?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Without its job the stage was published, and is a snapshot now.
        if self.job.is_some() {
            // What cannot be removed now is removed by the next opener.
            let _ = self.clear();
        }
    }
}

impl Store {
    /// Removes the stages, notes of jobs and records in the making whose owners are dead.
    pub(crate) fn clear_dead_stages(&self) -> Result<()> {
        let private = self.private()?;
        for entry in private.staging.entries()? {
            let Some(name) = entry.name.to_str() else { continue };
            if let Some(id) = name.strip_suffix(generation::SCRATCH) {
                if let Ok(Some(_counting)) = self.try_generation_lock(id) {
                    let _ = private.staging.unlink(name);
                }
                continue;
            }
            let id = match entry.kind {
                EntryKind::Directory => name,
                _ => name.strip_suffix(".json").unwrap_or(name),
            };
            // Held while removing, so that no one begins under this id meanwhile.
            if let Ok(Some(_job)) = self.try_job(id) {
                // What cannot be removed, as another user's, keeps no one from working.
                let _ = self.clear_handover(id).and_then(|()| private.staging.remove_tree(&entry.name));
            }
        }
        Ok(())
    }

    /// Flushes every file and directory beneath `dir`, deepest first.
    pub(crate) fn sync_tree(&self, dir: &Dir) -> Result<()> {
        for entry in dir.entries()? {
            match entry.kind {
                EntryKind::Directory => self.sync_tree(&dir.dir(&entry.name)?)?,
                EntryKind::File => self.durable.file(&dir.read(&entry.name)?, &dir.join(&entry.name))?,
                EntryKind::Symlink | EntryKind::Socket | EntryKind::Special => {}
            }
        }
        self.durable.dir(dir)
    }
}
