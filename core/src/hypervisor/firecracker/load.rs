//! Loading a captured VM. A Firecracker whose load fails ends, so what can be known to fail is refused before.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Value, json};

use super::state_file::{self, Head};
use super::{Firecracker, MEMORY_FILE, MEMORY_FORMAT, NAME, STATE_FILE, run_state_of};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::reach::{self, Access};
use crate::hypervisor::{LoadSource, MemoryBackend, RunState, patience};
use crate::sys::{disk, process};

/// Guest memory comes in whole units of this.
const MEMORY_UNIT_BYTES: u64 = 1 << 20;

/// The first release that calls it so.
const TRACK_DIRTY_PAGES_SINCE: (u32, u32) = (1, 13);

impl Firecracker {
    pub(super) fn load_from(
        &mut self,
        source: &LoadSource<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let state = self.instance(limit)?.state;
        if run_state_of(&state) != RunState::NotStarted {
            let message = format!(
                "firecracker says that its VM is {state:?}; a VM is loaded into a new firecracker only"
            );
            return Err(self.client.error(Kind::InvalidState, message));
        }
        let directory = (source.directory, source.directory_fd);
        reach::check(NAME, self.client.peer(), directory, source.seen_as, Access::Read)?;
        let state = read_state(source)?;
        let head = examine(&state, source)?;
        self.check_names(&state, source)?;
        let memory_bytes = match source.memory {
            MemoryBackend::File | MemoryBackend::OnDemand => check_memory(source)?,
            MemoryBackend::Uffd(socket) => check_pager(socket)?,
        };
        self.client.patience = patience(memory_bytes);

        progress(0, memory_bytes)?;
        self.put("/snapshot/load", &self.body(source), limit).map_err(|error| refusal(error, &head))?;
        let state = self.instance(limit)?.state;
        if !matches!(run_state_of(&state), RunState::Paused { .. }) {
            let message = format!("firecracker has loaded the VM, but says that it is {state:?}");
            return Err(self.client.error(Kind::InvalidState, message));
        }
        progress(memory_bytes, memory_bytes)
    }

    /// The request, with the optional fields only where they say something: no version knows all of them.
    fn body(&self, source: &LoadSource<'_>) -> Value {
        let (kind, path) = match source.memory {
            // A private mapping of the file: its pages come when they are touched.
            MemoryBackend::File | MemoryBackend::OnDemand => ("File", source.seen_as.join(MEMORY_FILE)),
            MemoryBackend::Uffd(socket) => ("Uffd", socket.to_owned()),
        };
        let mut body = json!({
            "snapshot_path": source.seen_as.join(STATE_FILE),
            "mem_backend": { "backend_type": kind, "backend_path": path },
            "resume_vm": false,
        });
        if source.tracks_changes {
            let since = self.release() >= TRACK_DIRTY_PAGES_SINCE;
            body[if since { "track_dirty_pages" } else { "enable_diff_snapshots" }] = true.into();
        }
        if !source.network_overrides.is_empty() {
            let overrides = source.network_overrides.iter();
            body["network_overrides"] = overrides
                .map(|(interface, device)| json!({ "iface_id": interface, "host_dev_name": device }))
                .collect();
        }
        body
    }

    /// Refuses what the state names and this host does not have in that place.
    fn check_names(&self, state: &[u8], source: &LoadSource<'_>) -> Result<()> {
        for (from, to) in source.moved {
            let is_named = state_file::names(state, from.as_os_str().as_encoded_bytes());
            if is_named && self.sees_another(from, to) {
                let message = format!(
                    "the state of this VM names {}, and firecracker cannot be told another path; make it lead to {} \
                     (a symbolic link, or a mount namespace of firecracker's own)",
                    from.display(),
                    to.display()
                );
                return Err(Error::new(Kind::NotSupported, message).at(from));
            }
        }
        for (interface, device) in source.network_overrides {
            if !state_file::names(state, interface.as_bytes()) {
                let message = format!(
                    "this VM has no network interface {interface:?} that could get {device:?}; use an iface_id of it"
                );
                return Err(Error::new(Kind::InvalidRequest, message));
            }
        }
        Ok(())
    }

    /// Whether what Firecracker finds at `from` is surely not what we find at `to`.
    fn sees_another(&self, from: &Path, to: &Path) -> bool {
        let Some(root) = process::root_of(self.client.peer().pid) else { return false };
        let Ok(ours) = fs::metadata(to) else { return false };
        match fs::metadata(root.join(from.strip_prefix("/").unwrap_or(from))) {
            Ok(theirs) => (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()),
            Err(e) => e.kind() == io::ErrorKind::NotFound,
        }
    }
}

fn read_state(source: &LoadSource<'_>) -> Result<Vec<u8>> {
    let path = source.directory.join(STATE_FILE);
    let file = disk::open_for_reading(source.directory_fd, STATE_FILE).map_err(|e| missing(&path, &e))?;
    let mut state = Vec::new();
    file.take(state_file::LARGEST_BYTES + 1)
        .read_to_end(&mut state)
        .map_err(|e| Error::io("read", &path, &e))?;
    if state.len() as u64 > state_file::LARGEST_BYTES {
        let message = format!("{} is larger than any state file of firecracker", path.display());
        return Err(Error::new(Kind::Corrupt, message).at(path));
    }
    Ok(state)
}

fn examine(state: &[u8], source: &LoadSource<'_>) -> Result<Head> {
    let path = source.directory.join(STATE_FILE);
    let head = state_file::examine(state).map_err(|damage| {
        let message = format!("{} {damage}; use another snapshot", path.display());
        Error::new(Kind::Corrupt, message).at(&path)
    })?;
    if head.arch != std::env::consts::ARCH {
        let message = format!("this VM was captured on {}; load it on such a host", head.arch);
        return Err(Error::new(Kind::Incompatible, message).at(path));
    }
    Ok(head)
}

/// Returns the bytes of guest memory, of a file that can be mapped as it.
fn check_memory(source: &LoadSource<'_>) -> Result<u64> {
    let path = source.directory.join(MEMORY_FILE);
    if let Some(format) = source.memory_format.filter(|&format| format != MEMORY_FORMAT) {
        let message = format!("{} is of the form {format}, which firecracker does not load", path.display());
        return Err(Error::new(Kind::Incompatible, message).at(path));
    }
    let file = disk::open_for_reading(source.directory_fd, MEMORY_FILE).map_err(|e| missing(&path, &e))?;
    let memory_bytes = file.metadata().map_err(|e| Error::io("look at", &path, &e))?.len();
    if memory_bytes == 0 || !memory_bytes.is_multiple_of(MEMORY_UNIT_BYTES) {
        let message =
            format!("{} has {memory_bytes} bytes, but guest memory is whole MiB: it was cut", path.display());
        return Err(Error::new(Kind::Corrupt, message).at(path));
    }
    if let Some(captured) = source.memory_bytes.filter(|&captured| captured != memory_bytes) {
        let message = format!(
            "{} has {memory_bytes} bytes, where {captured} were captured; restore the snapshot anew",
            path.display()
        );
        return Err(Error::new(Kind::Corrupt, message).at(path));
    }
    Ok(memory_bytes)
}

/// Firecracker connects by itself, once: we only look. How much memory there is, its server knows.
fn check_pager(socket: &Path) -> Result<u64> {
    let facts = fs::metadata(socket).map_err(|e| Error::io("look at", socket, &e))?;
    if !facts.file_type().is_socket() {
        let message = format!("{} is no socket; name the one of a userfaultfd server", socket.display());
        return Err(Error::new(Kind::InvalidRequest, message).at(socket));
    }
    Ok(0)
}

fn missing(path: &Path, error: &io::Error) -> Error {
    if error.kind() != io::ErrorKind::NotFound {
        return Error::io("open", path, error);
    }
    let message =
        format!("{} is missing: firecracker needs `state` and raw `memory` to load a VM", path.display());
    Error::new(Kind::Corrupt, message).at(path)
}

/// Firecracker's words, and what they mean for the one who started it.
fn refusal(error: Error, head: &Head) -> Error {
    if error.kind() != Kind::Hypervisor {
        return error;
    }
    // The checksum was right, so what it could not read is of another version.
    let is_of_another_version = ["bitcode", "bincode", "Invalid data version", "InvalidFormatVersion"]
        .iter()
        .any(|words| error.message().contains(words));
    let note = "a firecracker whose load failed ends: start a new one";
    if is_of_another_version {
        let format = head.format.as_deref().unwrap_or("of an old version");
        let message = format!(
            "{}; the snapshot's format is {format}: load it with the firecracker that wrote it",
            error.message()
        );
        let path = error.path().map(Path::to_owned).unwrap_or_default();
        return Error::new(Kind::Incompatible, message).at(path).note(note);
    }
    error.note(note)
}
