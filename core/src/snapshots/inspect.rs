//! `snapshots.inspect`

use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::store::payload;
use crate::store::sidecar::Sidecar;
use crate::types::Inspection;

pub(super) fn inspect(hm: &Hypeman, id: &str) -> Result<Inspection> {
    let store = hm.open_store()?;
    let snapshot = store.record(id)?.snapshot;
    // Pinned where it can be, so that no file is pulled away while we look; a read-only open has no locks.
    let _pin = store.try_read(id).ok().flatten();
    let files = payload::files(&store.guest(id)?).map_err(|error| error.about(id))?;
    let sidecar = Sidecar::read(&store.snapshot_dir(id)?).map_err(|error| error.about(id))?;
    Ok(Inspection {
        snapshot,
        allocated_bytes: files.iter().map(|file| file.allocated_bytes).fold(0, u64::saturating_add),
        files,
        generation: store.generation(id)?,
        capture: sidecar.map(|sidecar| sidecar.capture),
    })
}
