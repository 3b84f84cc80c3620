//! `snapshots.cancel_compression`

use super::compress::remove_compressed;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::types::{CompressionState, Snapshot};

pub(super) fn cancel(hm: &Hypeman, id: &str) -> Result<Snapshot> {
    let store = hm.writable_store()?;
    let snapshot = store.record(id)?.snapshot;
    if snapshot.compression_state != Some(CompressionState::Compressing) {
        // A job that has compressed it may still be tidying up, and is left to it.
        return Ok(snapshot);
    }
    hm.jobs().stop(id);
    let Some(job) = store.try_job(id)? else {
        let why = format!("snapshot {id} is being compressed by another process; cancel it there");
        return Err(Error::new(Kind::Busy, why).about(id));
    };
    let mut record = store.record(id)?;
    if record.snapshot.compression_state == Some(CompressionState::Compressing) {
        record.snapshot.compression_state = Some(CompressionState::None);
        record.snapshot.compression = None;
        // First: who dies in between leaves a compression that begins anew.
        remove_compressed(store, id)?;
        store.rewrite(&record)?;
    }
    // What is left of it: the checksums of what is there now.
    drop(job);
    hm.jobs().start(store, id)?;
    Ok(record.snapshot)
}
