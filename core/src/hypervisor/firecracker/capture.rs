//! Writing the paused guest's state and memory into two files, and refusing before the pause what would fail in it.

use std::io;

use serde_json::json;

use super::message::Settings;
use super::{Firecracker, MEMORY_FILE, MEMORY_FORMAT, NAME, STATE_FILE, run_state_of};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::full_disk::{check_room, no_space_or};
use crate::hypervisor::reach::{self, Access};
use crate::hypervisor::{CaptureTarget, Captured, RunState, patience};
use crate::sys::disk;

impl Firecracker {
    /// Learns how large the memory file will be, of a VM that can be captured.
    pub(super) fn measure(&mut self, limit: &Limit) -> Result<u64> {
        let state = self.instance(limit)?.state;
        if !matches!(run_state_of(&state), RunState::Running | RunState::Paused { .. }) {
            let message = format!(
                "firecracker says that its VM is {state:?}: it has nothing to capture; start it first"
            );
            return Err(self.client.error(Kind::InvalidState, message));
        }
        let memory_bytes = self.get::<Settings>("/vm/config", limit)?.memory_bytes();
        self.client.patience = patience(memory_bytes);
        self.memory_bytes = Some(memory_bytes);
        Ok(memory_bytes)
    }

    /// Refuses a directory in which the snapshot would fail, or would write over something.
    pub(super) fn check_place(&self, target: &CaptureTarget<'_>) -> Result<()> {
        let directory = target.directory;
        reach::check(NAME, self.client.peer(), directory, target.directory_fd, Access::Write)?;
        check_absent(target)?;
        check_room(NAME, target, self.memory_bytes.unwrap_or_default())
    }

    pub(super) fn capture_to(
        &mut self,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Captured> {
        check_absent(target)?;
        let memory_bytes = match self.memory_bytes {
            Some(memory_bytes) => memory_bytes,
            None => self.measure(limit)?,
        };
        // A Diff onto the last image would be whole only if no other client has had a snapshot taken since: each one
        // empties the log of dirty pages, and nothing that Firecracker tells shows that it was emptied.
        let body = json!({
            "snapshot_type": "Full",
            "snapshot_path": target.directory.join(STATE_FILE),
            "mem_file_path": target.directory.join(MEMORY_FILE),
        });
        let endpoint = "/snapshot/create";
        let answer = self.client.request_meanwhile("PUT", endpoint, Some(&body), limit, &mut || {
            let written = disk::allocated_bytes(target.directory_fd, MEMORY_FILE).unwrap_or(0);
            progress(written.min(memory_bytes), memory_bytes)
        })?;
        self.accept("PUT", endpoint, &answer).map_err(|error| no_space_or(error, target, MEMORY_FILE))?;

        let written_bytes = |name| {
            let file = disk::take_written(target.directory_fd, name)
                .map_err(|e| Error::io("open what firecracker wrote to", target.directory.join(name), &e))?;
            Ok::<_, Error>(file.metadata().map_or(0, |facts| facts.len()))
        };
        let (state_bytes, found_bytes) = (written_bytes(STATE_FILE)?, written_bytes(MEMORY_FILE)?);
        if state_bytes == 0 || found_bytes != memory_bytes {
            let message = format!(
                "firecracker reports success, but left {state_bytes} bytes of state and {found_bytes} of {memory_bytes} \
                 bytes of memory in {}",
                target.directory.display()
            );
            return Err(self.client.error(Kind::Hypervisor, message));
        }
        progress(memory_bytes, memory_bytes)?;
        Ok(Captured { memory_file: Some(MEMORY_FILE), memory_format: MEMORY_FORMAT })
    }
}

/// Refuses a directory that has such files: Firecracker would write over them.
fn check_absent(target: &CaptureTarget<'_>) -> Result<()> {
    for name in [STATE_FILE, MEMORY_FILE] {
        let error = match disk::open_for_reading(target.directory_fd, name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => e,
            Ok(_) => io::Error::from_raw_os_error(libc::EEXIST),
        };
        return Err(Error::io("create", target.directory.join(name), &error));
    }
    Ok(())
}
