//! What must hold before an image is loaded: it fits this VMM and this host, and its files are in place, untouched.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{CAPTURE_DIRECTORY, Vmm, WrittenDisk};
use crate::instances::Found;
use crate::store::Store;
use crate::store::journals::PlacedFile;
use crate::store::sidecar::Sidecar;
use crate::sys::host::host;
use crate::sys::process;
use crate::types::{Host, RestoreSnapshot, Snapshot};

/// Compares what was recorded at capture with the VMM and the host that are to load it; names each mismatch.
pub(super) fn compatible(
    store: &Store,
    snapshot: &Snapshot,
    vmm: &dyn Vmm,
    request: &RestoreSnapshot,
) -> Result<()> {
    let Some(sidecar) = Sidecar::read_sealed(&store.snapshot_dir(&snapshot.id)?)? else { return Ok(()) };
    let capture = sidecar.capture;
    let (Host { kernel: _, architecture, cpu_model }, now) = (&capture.host, host());
    let facts = [
        ("hypervisor version", capture.hypervisor_version.as_deref().unwrap_or_default(), vmm.version()),
        ("architecture", architecture.as_str(), now.architecture.as_str()),
        ("CPU", cpu_model.as_str(), now.cpu_model.as_str()),
    ];
    let mismatches: Vec<_> = facts
        .iter()
        .filter(|(_, then, now)| !then.is_empty() && then != now)
        .map(|(what, then, now)| format!("{what}: captured with {then:?}, here {now:?}"))
        .collect();
    if mismatches.is_empty() || request.allow_incompatible {
        return Ok(());
    }
    let why = format!(
        "snapshot {} does not fit: {}; load it where it fits, or set allow_incompatible",
        snapshot.id,
        mismatches.join("; ")
    );
    Err(Error::new(Kind::Incompatible, why).about(&snapshot.id))
}

/// Tells whether the memory and the disks of `snapshot` lie in place as a restore left them, and the VMM, which has
/// those very disks open, started after that. Other files, such as logs, a VMM writes to before it loads.
pub(super) fn is_placed(
    store: &Store,
    found: &Found,
    snapshot: &Snapshot,
    vmm: &mut dyn Vmm,
    call: &Call<'_>,
) -> Result<bool> {
    let Some(placed) = store.placed(&found.id)? else { return Ok(false) };
    let here = process::boot_id().is_ok_and(|now| now == placed.boot_id);
    if placed.snapshot_id != snapshot.id || !here || vmm.peer().start_ticks < placed.ticks {
        return Ok(false);
    }
    let disks = vmm.written_disks(call.limit())?;
    let image = found.directory.as_deref().map(|directory| directory.join(CAPTURE_DIRECTORY));
    let of_image =
        placed.files.iter().filter(|file| image.as_ref().is_some_and(|image| file.path.starts_with(image)));
    let mut wanted: Vec<_> = of_image.map(|file| file.path.clone()).collect();
    wanted.extend(found.disks.iter().filter(|disk| !disk.readonly).map(|disk| disk.path.clone()));
    // A guest that was booted from them since has written to them.
    let in_place = |path: &PathBuf| placed.files.iter().any(|file| file.path == *path && is_untouched(file));
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
