//! `snapshots.list`

use std::sync::Arc;

use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::types::{Snapshot, SnapshotFilter};

pub(super) fn list(hm: &Hypeman, filter: &SnapshotFilter) -> Result<Vec<Arc<Snapshot>>> {
    let store = hm.open_store()?;
    filter.check()?;
    store.list(filter)
}
