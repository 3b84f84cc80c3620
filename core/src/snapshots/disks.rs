//! A snapshot without a disk that the VM writes to looks whole and is not, and one whose disk was copied while the VM
//! wrote to it is torn: both are refused before the pause.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::plan::{Moment, Plan};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::WrittenDisk;
use crate::instances::Found;

/// Refuses `disks` of which `plan` does not copy each one while the VM of `found` is paused.
pub(super) fn refuse_missed(plan: &Plan<'_>, found: &Found, disks: &[WrittenDisk]) -> Result<()> {
    for disk in disks {
        let name = &disk.name;
        let file = disk.path.as_deref().map(file_if_any).transpose()?.flatten();
        let moment = file.as_ref().and_then(|file| plan.moment_of(file.dev(), file.ino()));
        let why = match (moment, &disk.path) {
            (Some(Moment::Paused), _) => continue,
            (Some(Moment::Before), _) => format!(
                "the VM of instance {0} writes to the disk {name}, which is registered as read-only, or beside other \
                 disks not at all; unregister {0} and register it with this disk, writable",
                found.id
            ),
            (None, Some(_)) => format!(
                "the VM of instance {0} writes to the disk {name}, which is neither in its directory nor among its \
                 disks, so that a snapshot would miss it; unregister {0} and register it with this disk",
                found.id
            ),
            (None, None) => format!(
                "the VM of instance {} writes to the disk {name}, which is no file of this machine, so that a \
                 snapshot would miss it; detach it, or attach it read-only",
                found.id
            ),
        };
        return Err(Error::new(Kind::InvalidState, why).at(name).about(&found.id));
    }
    Ok(())
}

/// The file at `path`, where there is one: the VMM may live elsewhere, or mean no file. What cannot be looked at just now
/// is none of these.
fn file_if_any(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) => match e.raw_os_error() {
            None | Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) => Ok(None),
            Some(_) => Err(Error::io("look at", path, &e)),
        },
    }
}
