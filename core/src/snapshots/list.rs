//! `snapshots.list`

use std::sync::Arc;

use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::types::{Snapshot, SnapshotFilter};

pub(super) fn list(hm: &Hypeman, filter: &SnapshotFilter) -> Result<Vec<Snapshot>> {
    let store = hm.open_store()?;
    filter.check()?;
    Ok(store.list(filter)?.into_iter().map(Arc::unwrap_or_clone).collect())
}
