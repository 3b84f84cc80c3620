//! Disks that are too small for guest memory: seen before the pause, or told from other failures of a VMM.

use super::CaptureTarget;
use crate::error::{Error, Kind, Result};
use crate::sys::disk;

/// What device state and the bookkeeping of a file system may take beside guest memory.
const MARGIN_BYTES: u64 = 1 << 20;

/// With less than this left, a write that failed has met a full disk.
const FULL_DISK_BYTES: u64 = 1 << 20;

/// Refuses a disk without room for what `vmm` will write: all of guest memory, and some state.
pub(super) fn check_room(vmm: &str, target: &CaptureTarget<'_>, memory_bytes: u64) -> Result<()> {
    let directory = target.directory;
    let free = disk::free_bytes(target.directory_fd)
        .map_err(|e| Error::io("look at the free space of", directory, &e))?;
    let wanted = memory_bytes.saturating_add(MARGIN_BYTES);
    if free < wanted {
        let message = format!(
            "{vmm} writes {wanted} bytes of memory and state to {}, where {free} are free; free some space and try again",
            directory.display()
        );
        return Err(Error::new(Kind::NoSpace, message).at(directory));
    }
    Ok(())
}

/// `no_space` where that is what stopped the VMM from writing `file`, whose own words may not say so; else `error`.
pub(super) fn no_space_or(error: Error, target: &CaptureTarget<'_>, file: &str) -> Error {
    let told = ["No space left on device", "Disk quota exceeded"]
        .iter()
        .any(|words| error.message().contains(words));
    let seen = disk::free_bytes(target.directory_fd).is_ok_and(|free| free < FULL_DISK_BYTES);
    if error.kind() == Kind::Hypervisor && (told || seen) {
        let message = format!("{}; free some space and try again", error.message());
        return Error::new(Kind::NoSpace, message).at(target.directory.join(file));
    }
    error
}
