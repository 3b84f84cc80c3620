//! The files of a snapshot: `config.json`, `state.json`, and `memory-ranges`, which has the ranges of guest memory one
//! after the other.
//!
//! cloud-hypervisor itself takes the missing end of a memory file for zeros, so its size is checked here.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::NAME;
use crate::error::{Error, Kind, Result};
use crate::sys::disk;

pub(super) const CONFIG: &str = "config.json";
pub(super) const STATE: &str = "state.json";
pub(super) const MEMORY: &str = "memory-ranges";

/// Far more than the state of a VM with a thousand processors.
const JSON_BYTES: u64 = 256 << 20;

/// A snapshot in which nothing obvious is amiss.
#[derive(Debug)]
pub(super) struct Image {
    /// The configuration of the VM.
    pub(super) config: Value,
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
            let path = directory.join(name);
            match disk::open_for_reading(opened, name) {
                Ok(file) => Ok((path, file)),
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    let message = format!("{} is missing; a snapshot of {NAME} needs it", path.display());
                    Err(Error::new(Kind::Corrupt, message).at(path))
                }
                Err(e) => Err(Error::io("open", path, &e)),
            }
        };
        // cloud-hypervisor takes a half-written text for a success.
        let config = parse(&open(CONFIG)?)?;
        let memory_bytes = bytes_of_ranges(&open(STATE)?)?;
        let (path, memory) = open(MEMORY)?;
        let found = memory.metadata().map_err(|e| Error::io("look at", &path, &e))?.len();
        if found != memory_bytes {
            let message = format!(
                "{} has {found} bytes, where {STATE} says {memory_bytes}: it is cut off, or of another snapshot",
                path.display()
            );
            return Err(Error::new(Kind::Corrupt, message).at(path));
        }
        Ok(Self { config, memory_bytes })
    }
}

fn bytes_of_ranges(file: &(PathBuf, File)) -> Result<u64> {
    let state: State = parse(file)?;
    let inner = state.snapshots.memory_manager.snapshot_data.state;
    let memory: MemoryState = serde_json::from_str(&inner).map_err(|e| unreadable(&file.0, &e))?;
    let lengths = memory.memory_ranges.data.iter().map(|range| range.length);
    Ok(lengths.fold(0, u64::saturating_add))
}

pub(super) fn parse<T: DeserializeOwned>((path, file): &(PathBuf, File)) -> Result<T> {
    let mut text = Vec::new();
    file.take(JSON_BYTES).read_to_end(&mut text).map_err(|e| Error::io("read", path, &e))?;
    serde_json::from_slice(&text).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &serde_json::Error) -> Error {
    let message = format!("{} is not what {NAME} writes there: {error}", path.display());
    Error::new(Kind::Corrupt, message).at(path)
}
