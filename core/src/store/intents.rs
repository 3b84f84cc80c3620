//! Pause intents: before a VM is paused, a note in the data directory says so. If this host dies inside the pause, the next
//! opener finds a note whose job no one holds and lets exactly that VM run again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::durable::UNFLUSHED;
use super::{Store, json};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::Peer;
use crate::types::HypervisorKind;

/// A VM that is, or is about to be, paused for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// The snapshot that is being made; its job lock tells whether the owner of this note lives.
    pub(crate) snapshot_id: String,
    pub(crate) instance_id: String,
    pub(crate) hypervisor: HypervisorKind,
    pub(crate) api_socket: PathBuf,
    /// Whether the guest ran before: only then may it be resumed.
    pub(crate) was_running: bool,
    /// The boot of this machine in which the VMM runs.
    pub(crate) boot_id: String,
    pub(crate) peer: Peer,
}

impl Store {
    /// Leaves the note. Not flushed: it outlives its writer without that, and after a power cut there is no VM to wake.
    pub(crate) fn write_intent(&self, intent: &Intent) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(intent)
            .map_err(|e| Error::new(Kind::Internal, format!("cannot write a pause intent: {e}")))?;
        UNFLUSHED.create(&self.private()?.intents, &file_name(&intent.snapshot_id), &bytes)
    }

    /// Removes the note: the VM runs again, or is gone. Not flushed, as acting on it twice is harmless.
    pub(crate) fn clear_intent(&self, snapshot_id: &str) -> Result<()> {
        self.private()?.intents.unlink(file_name(snapshot_id))
    }

    /// The notes that are there, by snapshot. One that is no JSON was not whole when its writer died, so that nothing was
    /// paused: `None`. One that cannot be read now, or only by a newer version, is left out: its VM may be paused.
    pub(crate) fn intents(&self) -> Result<Vec<(String, Option<Intent>)>> {
        let intents = &self.private()?.intents;
        let mut found = Vec::new();
        for entry in intents.entries()? {
            let Some(id) = entry.name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            let Ok(Some(file)) = intents.read_if_any(&entry.name) else { continue };
            match json::read(&file, &intents.join(&entry.name)) {
                Ok(intent) => {
                    found.extend(serde_json::from_value(intent).ok().map(|one| (id.to_owned(), one)))
                }
                Err(error) if error.kind() == Kind::Corrupt => found.push((id.to_owned(), None)),
                Err(_) => {}
            }
        }
        Ok(found)
    }
}

fn file_name(snapshot_id: &str) -> String {
    format!("{snapshot_id}.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypeman::Durability;
    use crate::log::Log;

    #[test]
    fn half_a_note_says_that_nothing_was_paused_and_a_whole_one_of_a_newer_version_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path(), Durability::Full, false, Log::default()).unwrap();
        let intent = Intent {
            snapshot_id: "known".to_owned(),
            instance_id: "web".to_owned(),
            hypervisor: HypervisorKind::Qemu,
            api_socket: "/run/web.qmp".into(),
            was_running: true,
            boot_id: "b".to_owned(),
            peer: Peer { pid: 1, uid: 0, start_ticks: 1 },
        };
        store.write_intent(&intent).unwrap();
        let notes = temp.path().join("snapshots/.libhypeman/intents");
        std::fs::write(notes.join("newer.json"), "{\"paused_by\": \"a version to come\"}").unwrap();
        std::fs::write(notes.join("half.json"), "{\"snapshot_id\": \"ha").unwrap();
        let found = store.intents().unwrap();
        assert_eq!(found, [("half".to_owned(), None), ("known".to_owned(), Some(intent))]);
    }
}
