//! `snapshots.get`

use std::sync::Arc;

use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::types::Snapshot;

pub(super) fn get(hm: &Hypeman, id: &str) -> Result<Snapshot> {
    hm.open_store()?.snapshot(id).map(Arc::unwrap_or_clone)
}

pub(super) fn get_in_memory(hm: &Hypeman, id: &str) -> Result<Option<Snapshot>> {
    Ok(hm.open_store()?.snapshot_in_memory(id).map(Arc::unwrap_or_clone))
}
