//! What must hold before an image is loaded: it fits this VMM and this host, and its files are in place, untouched.

use std::os::unix::fs::MetadataExt;

use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Peer, Vmm};
use crate::instances::Found;
use crate::store::Store;
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
    let Some(sidecar) = Sidecar::read(&store.snapshot_dir(&snapshot.id)?)? else { return Ok(()) };
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

/// Tells whether the files of `snapshot` lie in place as a restore left them, and the VMM started after that.
pub(super) fn is_placed(store: &Store, found: &Found, snapshot: &Snapshot, vmm: &Peer) -> Result<bool> {
    let Some(placed) = store.placed(&found.id)? else { return Ok(false) };
    let here = process::boot_id().is_ok_and(|now| now == placed.boot_id);
    if placed.snapshot_id != snapshot.id || !here || vmm.start_ticks < placed.ticks {
        return Ok(false);
    }
    // A guest that was booted from them since has written to them.
    Ok(placed.files.iter().all(|file| {
        file.path.metadata().is_ok_and(|now| {
            let modified_ns = i128::from(now.mtime()) * 1_000_000_000 + i128::from(now.mtime_nsec());
            now.ino() == file.inode && now.len() == file.size_bytes && modified_ns == file.modified_ns
        })
    }))
}
