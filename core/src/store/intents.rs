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

    /// The notes that are there, by snapshot. One that cannot be read was not whole when its writer died, so that nothing was
    /// paused: `None`.
    pub(crate) fn intents(&self) -> Result<Vec<(String, Option<Intent>)>> {
        let intents = &self.private()?.intents;
        let mut found = Vec::new();
        for entry in intents.entries()? {
            let Some(id) = entry.name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            let Ok(Some(file)) = intents.read_if_any(&entry.name) else { continue };
            let intent = json::read(&file, &intents.join(&entry.name)).ok();
            found.push((id.to_owned(), intent.and_then(|value| serde_json::from_value(value).ok())));
        }
        Ok(found)
    }
}

fn file_name(snapshot_id: &str) -> String {
    format!("{snapshot_id}.json")
}
