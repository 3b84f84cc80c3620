//! `snapshots.get`

use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::types::Snapshot;

pub(super) fn get(hm: &Hypeman, id: &str) -> Result<Snapshot> {
    Ok(hm.open_store()?.record(id)?.snapshot)
}
