//! `snapshots.compress`

use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::store::Store;
use crate::store::payload::Memory;
use crate::types::{CompressionConfig, CompressionState, Snapshot};

pub(super) fn compress(hm: &Hypeman, id: &str, compression: Option<&CompressionConfig>) -> Result<Snapshot> {
    let store = hm.writable_store()?;
    let asked = compression.map(CompressionConfig::settings).transpose()?;
    if asked == Some(None) {
        return Err(Error::new(
            Kind::InvalidRequest,
            "compress was asked for with enabled false; to stop a compression use cancel_compression",
        ));
    }
    let snapshot = store.record(id)?.snapshot;
    check(&snapshot, Memory::find(&store.guest(id)?)?)?;
    let is_compressing = snapshot.compression_state == Some(CompressionState::Compressing);
    if is_compressing && hm.jobs().has(id) {
        // Its lock is taken when its turn comes.
        return Err(busy(id));
    }
    if !is_compressing {
        // A job that only makes checksums makes way, and they are made at the end of this one.
        hm.jobs().stop(id);
    }
    let job = store.try_job(id)?.ok_or_else(|| busy(id))?;
    // Again, now that no one else changes it.
    let mut record = store.record(id)?;
    check(&record.snapshot, Memory::find(&store.guest(id)?)?)?;
    let recorded =
        record.snapshot.compression.as_ref().map(CompressionConfig::settings).transpose()?.flatten();
    let settings = match asked.flatten().or(recorded) {
        Some(settings) => settings,
        None => CompressionConfig::on().settings()?.ok_or_else(|| Error::new(Kind::Internal, "on is off"))?,
    };
    record.snapshot.compression_state = Some(CompressionState::Compressing);
    record.snapshot.compression = Some(settings.into());
    record.snapshot.compression_error = None;
    // What an earlier job left was made with other settings, perhaps.
    remove_compressed(store, id)?;
    store.begin_job(id)?;
    store.rewrite(&record)?;
    drop(job);
    hm.jobs().start(store, id)?;
    Ok(record.snapshot)
}

/// Removes compressed forms of raw memory that is there. The caller has the job.
pub(super) fn remove_compressed(store: &Store, id: &str) -> Result<()> {
    let guest = store.guest(id)?;
    while let Some(memory) = Memory::find(&guest)?
        && let (Some(_), Some((algorithm, _))) = (memory.raw_bytes, memory.compressed)
    {
        memory.open_dir(&guest)?.unlink(memory.compressed_name(algorithm))?;
    }
    Ok(())
}

/// Refuses what has no raw memory to compress.
fn check(snapshot: &Snapshot, memory: Option<Memory>) -> Result<()> {
    let refuse = |what: &str| {
        Err(Error::new(Kind::InvalidState, format!("snapshot {} {what}", snapshot.id)).about(&snapshot.id))
    };
    match memory {
        None => refuse("has no guest memory to compress"),
        // The raw file of a finished compression may still be there for a moment.
        Some(_) if snapshot.compression_state == Some(CompressionState::Compressed) => {
            refuse("is compressed already")
        }
        Some(memory) if memory.raw_bytes.is_none() => refuse("is compressed already"),
        Some(_) => Ok(()),
    }
}

fn busy(id: &str) -> Error {
    Error::new(Kind::Busy, format!("snapshot {id} is being compressed or checked already; wait for that"))
        .about(id)
}
