//! The files of a snapshot: `config.json`, `state.json`, and `memory-ranges`, which has the ranges of guest memory one
//! after the other.
//!
//! cloud-hypervisor itself takes the missing end of a memory file for zeros, so its size is checked here.

use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::Deserialize;
use serde_json::Value;

use super::NAME;
use crate::error::{Error, Kind, Result};
use crate::sys::disk;

pub(super) const CONFIG: &str = "config.json";
pub(super) const STATE: &str = "state.json";
pub(super) const MEMORY: &str = "memory-ranges";

/// Far more than the state of a VM with a thousand processors.
const JSON_BYTES: u64 = 256 << 20;

/// The opened files of a snapshot, in which nothing obvious is amiss.
#[derive(Debug)]
pub(super) struct Image {
    config: File,
    state: File,
    memory: File,
    directory: PathBuf,
    pub(super) memory_bytes: u64,
}

/// `state.json`, on the way to its table of memory ranges.
#[derive(Debug, Deserialize)]
struct State {
    snapshots: Snapshots,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Snapshots {
    memory_manager: MemoryManager,
}

#[derive(Debug, Deserialize)]
struct MemoryManager {
    snapshot_data: SnapshotData,
}

#[derive(Debug, Deserialize)]
struct SnapshotData {
    /// JSON in JSON.
    state: String,
}

#[derive(Debug, Deserialize)]
struct MemoryState {
    memory_ranges: Ranges,
}

#[derive(Debug, Deserialize)]
struct Ranges {
    data: Vec<Range>,
}

#[derive(Debug, Deserialize)]
struct Range {
    length: u64,
}

impl Image {
    /// Opens the snapshot in `opened`, the directory `directory`, and sees that it is whole as far as sizes tell.
    ///
    /// # Errors
    /// `corrupt` when a file is missing or is not what it should be.
    pub(super) fn open(directory: &Path, opened: &File) -> Result<Self> {
        let open = |name: &str| {
            disk::open_for_reading(opened, name).map_err(|e| match e.raw_os_error() {
                Some(libc::ENOENT) => {
                    let path = directory.join(name);
                    let message = format!("{} is missing; a snapshot of {NAME} needs it", path.display());
                    Error::new(Kind::Corrupt, message).at(path)
                }
                _ => Error::io("open", directory.join(name), &e),
            })
        };
        let (config, state, memory) = (open(CONFIG)?, open(STATE)?, open(MEMORY)?);
        let mut made = Self { config, state, memory, directory: directory.to_owned(), memory_bytes: 0 };
        // cloud-hypervisor takes a half-written one for a success.
        made.config()?;
        made.memory_bytes = made.bytes_of_ranges()?;
        let path = directory.join(MEMORY);
        let found = made.memory.metadata().map_err(|e| Error::io("look at", &path, &e))?.len();
        if found != made.memory_bytes {
            let message = format!(
                "{} has {found} bytes, where {STATE} says {}: it is cut off, or of another snapshot",
                path.display(),
                made.memory_bytes
            );
            return Err(Error::new(Kind::Corrupt, message).at(path));
        }
        Ok(made)
    }

    /// The configuration of the VM.
    pub(super) fn config(&self) -> Result<Value> {
        let text = self.read(&self.config, CONFIG)?;
        serde_json::from_slice(&text).map_err(|e| self.unreadable(CONFIG, &e))
    }

    /// Lets no one but its owner read what was written, where the owner are we: it holds all that the guest knows.
    pub(super) fn make_private(&self) -> Result<()> {
        for (file, name) in [(&self.config, CONFIG), (&self.state, STATE), (&self.memory, MEMORY)] {
            let path = self.directory.join(name);
            let owner = file.metadata().map_err(|e| Error::io("look at", &path, &e))?.uid();
            if owner == geteuid().as_raw() {
                file.set_permissions(Permissions::from_mode(0o600))
                    .map_err(|e| Error::io("change the mode of", &path, &e))?;
            }
        }
        Ok(())
    }

    fn bytes_of_ranges(&self) -> Result<u64> {
        let text = self.read(&self.state, STATE)?;
        let state: State = serde_json::from_slice(&text).map_err(|e| self.unreadable(STATE, &e))?;
        let inner = state.snapshots.memory_manager.snapshot_data.state;
        let memory: MemoryState = serde_json::from_str(&inner).map_err(|e| self.unreadable(STATE, &e))?;
        let lengths = memory.memory_ranges.data.iter().map(|range| range.length);
        Ok(lengths.fold(0, u64::saturating_add))
    }

    fn read(&self, file: &File, name: &str) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        file.take(JSON_BYTES)
            .read_to_end(&mut text)
            .map_err(|e| Error::io("read", self.directory.join(name), &e))?;
        Ok(text)
    }

    fn unreadable(&self, name: &str, error: &serde_json::Error) -> Error {
        let path = self.directory.join(name);
        let message = format!("{} is not what {NAME} writes there: {error}", path.display());
        Error::new(Kind::Corrupt, message).at(path)
    }
}
