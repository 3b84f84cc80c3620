//! Having the shim save the paused VM.

use std::fs;
use std::mem;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{MANIFEST_FILE, STATE_FILE, Vz};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::full_disk::no_space_or;
use crate::hypervisor::{CaptureTarget, Captured, patience};

/// How long saving may take. The shim does not tell how much memory there is: as long as 64 GiB would.
pub(super) const SAVING_PATIENCE: Duration = patience(64 << 30);

/// Beneath the directory that we were given: the shim removes the one that it was told when it fails.
const FRESH_DIRECTORY: &str = "saving";

impl Vz {
    pub(super) fn capture_to(
        &mut self,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Captured> {
        let fresh = target.directory.join(FRESH_DIRECTORY);
        let told = target.seen_as.join(FRESH_DIRECTORY);
        progress(0, 0)?;
        let usual = mem::replace(&mut self.client.patience, SAVING_PATIENCE);
        let saved = self.put("vm.snapshot", Some(&json!({ "destination_path": told })), limit);
        self.client.patience = usual;
        saved.map_err(|error| no_space_or(error.context("the VM was not saved"), target, STATE_FILE))?;

        for name in [STATE_FILE, MANIFEST_FILE] {
            let path = fresh.join(name);
            if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() > 0) {
                let message = format!("the vz shim reports success, but wrote no {}", path.display());
                return Err(self.client.error(Kind::Hypervisor, message));
            }
        }
        let size_bytes = move_up(&fresh, target.directory)?;
        progress(size_bytes, size_bytes)?;
        Ok(Captured { memory_file: None, memory_format: "vz-machine-state" })
    }
}

/// Moves all that is in `fresh` to `directory` above it, and tells its bytes.
fn move_up(fresh: &Path, directory: &Path) -> Result<u64> {
    let mut size_bytes = 0;
    for entry in fs::read_dir(fresh).map_err(|e| Error::io("list", fresh, &e))? {
        let entry = entry.map_err(|e| Error::io("list", fresh, &e))?;
        let path = entry.path();
        size_bytes += entry.metadata().map_err(|e| Error::io("look at", &path, &e))?.len();
        fs::rename(&path, directory.join(entry.file_name())).map_err(|e| Error::io("move", &path, &e))?;
    }
    fs::remove_dir(fresh).map_err(|e| Error::io("remove", fresh, &e))?;
    Ok(size_bytes)
}
