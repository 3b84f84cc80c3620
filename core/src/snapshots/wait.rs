//! `snapshots.wait`

use std::time::Duration;

use crate::call::{Call, Phase};
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::types::{CompressionState, Snapshot};

/// A job of this handle wakes whoever waits; one in another process tells of its end by its record alone.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

pub(super) fn wait(hm: &Hypeman, id: &str, mut call: Call<'_>) -> Result<Snapshot> {
    // A job that fails at once, again and again, is not taken over for ever.
    let mut takeovers = 3_u32;
    loop {
        let store = hm.open_store()?;
        let watched = hm.jobs().watched(id);
        let snapshot = store.record(id)?.snapshot;
        let is_compressing = snapshot.compression_state == Some(CompressionState::Compressing);
        // A job of ours ends after its record says so: with the raw file, which the caller may look for.
        if !is_compressing && watched.is_none() {
            return Ok(snapshot);
        }
        match watched.as_ref().map(|watched| watched.bytes()) {
            Some((done, total)) => call.report(Phase::Compressing, done, total)?,
            None => call.check()?,
        }
        if is_compressing && !hm.options().read_only && !hm.jobs().has(id) && may_take_over(hm, id)? {
            // Its owner is dead, or it failed so that not even that could be written down.
            match (takeovers, hm.jobs().failure(id)) {
                (0, Some(why)) => {
                    return Err(why.context(format!("the compression of snapshot {id} cannot be finished")));
                }
                _ => {
                    takeovers = takeovers.saturating_sub(1);
                    hm.jobs().start(store, id)?;
                }
            }
        }
        let patience = call.limit().at_most(LOOK_AGAIN);
        match watched {
            Some(watched) => watched.wait(patience),
            // Its turn has not come yet.
            None if hm.jobs().has(id) => hm.jobs().wait(patience),
            None => std::thread::sleep(patience),
        }
    }
}

/// Tells whether the job of `id` is without an owner, and ours to take: the vendor's server holds no locks, so that a
/// compression of its own looks as if it had none.
fn may_take_over(hm: &Hypeman, id: &str) -> Result<bool> {
    let store = hm.open_store()?;
    let is_ours = hm.options().owns_server_instances || store.has_job(id)?;
    Ok(is_ours && store.try_job(id)?.is_some())
}
