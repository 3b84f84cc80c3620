//! `snapshots.compress`

use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
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
    store.snapshot_dir(id)?;
    let Some(job) = store.try_job(id)? else {
        return Err(Error::new(
            Kind::Busy,
            format!("snapshot {id} is being compressed already; wait for it"),
        )
        .about(id));
    };
    let mut record = store.record(id)?;
    let refuse = |what: &str| Err(Error::new(Kind::InvalidState, format!("snapshot {id} {what}")).about(id));
    match Memory::find(&store.guest(id)?)? {
        None => return refuse("has no guest memory to compress"),
        Some(memory) if memory.raw_bytes.is_none() => return refuse("is compressed already"),
        Some(_) => {}
    }
    let recorded =
        record.snapshot.compression.as_ref().map(CompressionConfig::settings).transpose()?.flatten();
    let settings = match asked.flatten().or(recorded) {
        Some(settings) => settings,
        None => CompressionConfig::on().settings()?.ok_or_else(|| Error::new(Kind::Internal, "on is off"))?,
    };
    record.snapshot.compression_state = Some(CompressionState::Compressing);
    record.snapshot.compression = Some(settings.into());
    record.snapshot.compression_error = None;
    store.begin_job(id)?;
    store.rewrite(&record)?;
    hm.jobs().start(store, id, job)?;
    Ok(record.snapshot)
}
