//! The files of a snapshot: `config.json`, `state.json`, and `memory-ranges`, which has the ranges of guest memory one
//! after the other.
//!
//! cloud-hypervisor itself takes the missing end of a memory file for zeros, so its size is checked here.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::NAME;
use crate::error::{Error, Kind, Result};
use crate::sys::disk;

pub(super) const CONFIG: &str = "config.json";
pub(super) const STATE: &str = "state.json";
pub(super) const MEMORY: &str = "memory-ranges";

/// More than the state of a VM with a thousand processors.
pub(super) const STATE_BYTES: u64 = 64 << 20;

/// More than any configuration, all of which is taken apart, which takes many times as much memory.
const CONFIG_BYTES: u64 = 4 << 20;

/// A snapshot in which nothing obvious is amiss.
#[derive(Debug)]
pub(super) struct Image {
    /// The configuration of the VM.
    pub(super) config: Value,
    pub(super) memory_bytes: u64,
}

/// Where guest memory is, as `state.json` has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GuestMemory {
    /// What is saved, in the order in which it is in the memory file.
    pub(super) ranges: Vec<Range>,
    /// What is mapped; none in a state whose cloud-hypervisor kept no such list.
    pub(super) mappings: Vec<Mapping>,
}

impl GuestMemory {
    /// Reads the text of `state.json`.
    pub(super) fn parse(state: &[u8]) -> serde_json::Result<Self> {
        let state: State = serde_json::from_slice(state)?;
        let memory: MemoryState = serde_json::from_str(&state.snapshots.memory_manager.snapshot_data.state)?;
        Ok(Self { ranges: memory.memory_ranges.data, mappings: memory.guest_ram_mappings })
    }

    /// The length of the memory file.
    pub(super) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.length).fold(0, u64::saturating_add)
    }
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
    #[serde(default)]
    guest_ram_mappings: Vec<Mapping>,
}

#[derive(Debug, Deserialize)]
struct Ranges {
    data: Vec<Range>,
}

/// A range of guest-physical addresses.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Range {
    #[serde(default)]
    pub(super) gpa: u64,
    pub(super) length: u64,
}

/// A range of guest-physical addresses, and where its bytes are in the memory of a slot.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Mapping {
    pub(super) slot: u32,
    pub(super) gpa: u64,
    pub(super) size: u64,
    pub(super) file_offset: u64,
}

impl Image {
    /// Opens the snapshot in `opened`, the directory `directory`, and sees that it is whole as far as sizes tell. Its
    /// memory is `memory` where that is given, else the file.
    ///
    /// # Errors
    /// `corrupt` when a file is missing or is not what it should be.
    pub(super) fn open(directory: &Path, opened: &File, memory: Option<&File>) -> Result<Self> {
        // cloud-hypervisor takes a half-written text for a success.
        let (path, config) = read(directory, opened, CONFIG)?;
        let config = serde_json::from_slice(&config).map_err(|e| unreadable(&path, &e))?;
        let (path, state) = read(directory, opened, STATE)?;
        let memory_bytes = GuestMemory::parse(&state).map_err(|e| unreadable(&path, &e))?.bytes();
        let (path, file) = match memory {
            Some(_) => (directory.join(MEMORY), None),
            None => open(directory, opened, MEMORY).map(|(path, file)| (path, Some(file)))?,
        };
        let found = memory.or(file.as_ref()).map(File::metadata).transpose();
        let found = found.map_err(|e| Error::io("look at", &path, &e))?.map_or(0, |found| found.len());
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

fn open(directory: &Path, opened: &File, name: &str) -> Result<(PathBuf, File)> {
    let path = directory.join(name);
    match disk::open_for_reading(opened, name) {
        Ok(file) => Ok((path, file)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            let message = format!("{} is missing; a snapshot of {NAME} needs it", path.display());
            Err(Error::new(Kind::Corrupt, message).at(path))
        }
        Err(e) => Err(Error::io("open", path, &e)),
    }
}

/// The path and the text of the file `name`.
pub(super) fn read(directory: &Path, opened: &File, name: &str) -> Result<(PathBuf, Vec<u8>)> {
    let (path, file) = open(directory, opened, name)?;
    let most = if name == CONFIG { CONFIG_BYTES } else { STATE_BYTES };
    let mut text = Vec::new();
    file.take(most + 1).read_to_end(&mut text).map_err(|e| Error::io("read", &path, &e))?;
    if text.len() as u64 > most {
        let message =
            format!("{} is larger than {} MiB: {NAME} did not write it", path.display(), most >> 20);
        return Err(Error::new(Kind::Corrupt, message).at(path));
    }
    Ok((path, text))
}

pub(super) fn unreadable(path: &Path, error: &serde_json::Error) -> Error {
    let message = format!("{} is not what {NAME} writes there: {error}", path.display());
    Error::new(Kind::Corrupt, message).at(path)
}
