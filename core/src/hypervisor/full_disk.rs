//! Telling a full disk from other failures of a VMM, whose own words may not say so.

use super::CaptureTarget;
use crate::error::{Error, Kind};
use crate::sys::disk;

/// With less than this left, a write that failed has met a full disk.
const FULL_DISK_BYTES: u64 = 1 << 20;

/// `no_space` where that is what stopped the VMM from writing `file`, else `error`.
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
