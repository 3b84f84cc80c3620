//! `snapshots.wait`

use std::time::Duration;

use crate::call::{Call, Phase};
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::types::{CompressionState, Snapshot};

/// A job in another process tells of its end by its record alone; a dead one is noticed within 50 ms.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub(super) fn wait(hm: &Hypeman, id: &str, mut call: Call<'_>) -> Result<Snapshot> {
    // A job that fails at once, again and again, is not taken over for ever.
    let mut takeovers = 3;
    loop {
        let store = hm.open_store()?;
        let progress = hm.jobs().progress(id);
        let snapshot = store.record(id)?.snapshot;
        let is_compressing = snapshot.compression_state == Some(CompressionState::Compressing);
        // A job of ours ends after its record says so: with the raw file, which the caller may look for.
        if !is_compressing && progress.is_none() {
            return Ok(snapshot);
        }
        match progress {
            Some((done, total)) => call.report(Phase::Compressing, done, total)?,
            None => call.check()?,
        }
        if is_compressing
            && !hm.options().read_only
            && takeovers > 0
            && let Some(job) = store.try_job(id)?
        {
            takeovers -= 1;
            hm.jobs().start(store, id, job)?;
        }
        std::thread::sleep(call.limit().at_most(LOOK_AGAIN));
    }
}
