//! What must hold before an image is loaded: its files are in place, untouched.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::copy::behind_links;
use crate::call::Call;
use crate::error::Result;
use crate::hypervisor::{CAPTURE_DIRECTORY, Vmm, WrittenDisk};
use crate::instances::Found;
use crate::store::Store;
use crate::store::journals::PlacedFile;
use crate::sys::process;
use crate::types::{RestoreSnapshot, Snapshot};

/// Tells whether the memory and the disks of `snapshot` lie in place as a restore left them, and the VMM, which has
/// those very disks open, started after that. Other files, such as logs, a VMM writes to before it loads.
pub(super) fn is_placed(
    store: &Store,
    found: &Found,
    snapshot: &Snapshot,
    vmm: &mut dyn Vmm,
    request: &RestoreSnapshot,
    call: &Call<'_>,
) -> Result<bool> {
    let Some(placed) = store.placed(&found.id)? else { return Ok(false) };
    let here = process::boot_id().is_ok_and(|now| now == placed.boot_id);
    if placed.snapshot_id != snapshot.id || !here || vmm.peer().start_ticks < placed.ticks {
        return Ok(false);
    }
    if !placed.has_memory && request.uffd_socket.is_none() {
        return Ok(false);
    }
    let disks = vmm.written_disks(call.limit())?;
    let image = found.directory.as_deref().map(|directory| directory.join(CAPTURE_DIRECTORY));
    let of_image =
        placed.files.iter().filter(|file| image.as_ref().is_some_and(|image| file.path.starts_with(image)));
    let mut wanted: Vec<_> = of_image.map(|file| file.path.clone()).collect();
    wanted.extend(found.disks.iter().filter(|disk| !disk.readonly).map(|disk| disk.path.clone()));
    // A guest that was booted from them since has written to them.
    let is_at = |file: &PlacedFile, path: &PathBuf| {
        file.path == *path || behind_links(&file.path) == behind_links(path)
    };
    let in_place = |path: &PathBuf| placed.files.iter().any(|file| is_at(file, path) && is_untouched(file));
    // The VMM may have another name for a file that it has open, so files are told by their inodes.
    let is_open = |disk: &WrittenDisk| {
        let inode = disk.path.as_ref().and_then(|path| path.metadata().ok()).map(|now| now.ino());
        placed.files.iter().any(|file| Some(file.inode) == inode && is_untouched(file))
    };
    Ok(wanted.iter().all(in_place) && disks.iter().all(is_open))
}

fn is_untouched(file: &PlacedFile) -> bool {
    file.path.metadata().is_ok_and(|now| {
        let modified_ns = i128::from(now.mtime()) * 1_000_000_000 + i128::from(now.mtime_nsec());
        now.ino() == file.inode && now.len() == file.size_bytes && modified_ns == file.modified_ns
    })
}
