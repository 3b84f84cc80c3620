//! Writing the paused guest's state and memory into two files, and refusing before the pause what would fail in it.

use std::io;

use serde_json::json;

use super::message::Settings;
use super::{Firecracker, MEMORY_FILE, MEMORY_FORMAT, NAME, STATE_FILE, run_state_of};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::full_disk::{check_room, no_space_or};
use crate::hypervisor::reach::{self, Access};
use crate::hypervisor::{CaptureTarget, Captured, RunState, WrittenDisk, patience};
use crate::sys::disk;

/// The first release that writes a Diff into a file that is there, and the first of whose Diffs after a Full has no
/// more than what changed.
const DIFF_SINCE: (u32, u32) = (1, 8);

/// Guest memory up to this is one piece. Before that release, a Diff of several was corrupt.
const ONE_SLOT_BYTES: u64 = 3 << 30;
const DIFF_OF_SLOTS_SINCE: (u32, u32) = (1, 15);

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
        let settings: Settings = self.get("/vm/config", limit)?;
        let memory_bytes = settings.memory_bytes();
        self.client.patience = patience(memory_bytes);
        self.settings = Some(settings);
        Ok(memory_bytes)
    }

    /// The size of the memory file, where only the pages that have changed can be written into the last one.
    pub(super) fn diff_over(&self) -> Option<u64> {
        let settings = self.settings.as_ref().filter(|settings| settings.tracks_changes())?;
        let memory_bytes = settings.memory_bytes();
        let since = if memory_bytes > ONE_SLOT_BYTES { DIFF_OF_SLOTS_SINCE } else { DIFF_SINCE };
        (self.release() >= since).then_some(memory_bytes)
    }

    pub(super) fn disks_written(&mut self, limit: &Limit) -> Result<Vec<WrittenDisk>> {
        let settings: Settings = self.get("/vm/config", limit)?;
        let drives = settings.drives.into_iter().filter(|drive| drive.is_read_only != Some(true));
        let written = drives.map(|drive| WrittenDisk {
            name: drive.path_on_host.as_ref().map_or(drive.drive_id, |path| path.display().to_string()),
            path: drive.path_on_host.map(|path| reach::seen_by(self.client.peer(), &path)),
        });
        Ok(written.collect())
    }

    /// Refuses a directory in which the snapshot would fail, or would write over something.
    pub(super) fn check_place(&self, target: &CaptureTarget<'_>) -> Result<()> {
        let directory = target.directory;
        let place = (directory, target.directory_fd);
        reach::check(NAME, self.client.peer(), place, target.seen_as, Access::Write)?;
        check_absent(target)?;
        check_room(NAME, target, self.settings.as_ref().map_or(0, Settings::memory_bytes))
    }

    pub(super) fn capture_to(
        &mut self,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Captured> {
        check_absent(target)?;
        let memory_bytes = match &self.settings {
            Some(settings) => settings.memory_bytes(),
            None => self.measure(limit)?,
        };
        let body = json!({
            // Pages of a Diff are written to their places in a file of that size, and nothing else of it is touched.
            "snapshot_type": if target.over_last { "Diff" } else { "Full" },
            "snapshot_path": target.seen_as.join(STATE_FILE),
            "mem_file_path": target.seen_as.join(MEMORY_FILE),
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
    let names = [STATE_FILE, MEMORY_FILE];
    for name in names.into_iter().filter(|&name| name != MEMORY_FILE || !target.over_last) {
        let error = match disk::open_for_reading(target.directory_fd, name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => e,
            Ok(_) => io::Error::from_raw_os_error(libc::EEXIST),
        };
        return Err(Error::io("create", target.directory.join(name), &error));
    }
    Ok(())
}
