//! How long a running compression at level 9 keeps the one who ends it waiting: no peer, milliseconds.

use std::ops::ControlFlow;
use std::time::Instant;

use hypeman_core::{Call, CompressionConfig, Hypeman, Kind};

use crate::Result;
use crate::images::{Content, Zeros};
use crate::random::Random;
use crate::samples::{Samples, quantile};
use crate::scene::Scene;

/// How far a compression may come before it is ended: far enough that every thread is inside a frame.
const PER_MILLE: u64 = 10;

/// The 99th percentile of `snapshots.cancel_compression`, each at another place of the image. It includes the end of
/// the frames that were being encoded, and the record, rewritten and flushed.
pub fn cancel(scene: &mut Scene) -> Result<Samples> {
    let times = if scene.options.quick { 10 } else { 100 };
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let id = stage.capture()?;
    let mut source = Random::new(7);
    let mut ours = Vec::new();
    for _ in 0..rounds {
        let mut spent_ms = Vec::new();
        for _ in 0..times {
            start(&stage.hm, &id, source.below(PER_MILLE))?;
            let start = Instant::now();
            stage.hm.snapshots().cancel_compression(&id)?;
            spent_ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        ours.push(quantile(&spent_ms, 0.99));
    }
    stage.hm.snapshots().delete(&id)?;
    Ok(Samples { ours, peer: Vec::new() })
}

/// The 99th percentile of `close` during a compression. The next opener resumes the job.
pub fn close(scene: &mut Scene) -> Result<Samples> {
    let times = if scene.options.quick { 3 } else { 20 };
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let id = stage.capture()?;
    let mut source = Random::new(11);
    let mut ours = Vec::new();
    for _ in 0..rounds {
        let mut spent_ms = Vec::new();
        for _ in 0..times {
            let hm = Hypeman::open(stage.hm.data_dir())?;
            start(&hm, &id, source.below(PER_MILLE))?;
            let start = Instant::now();
            hm.close();
            spent_ms.push(start.elapsed().as_secs_f64() * 1e3);
            stage.hm.snapshots().cancel_compression(&id)?;
        }
        ours.push(quantile(&spent_ms, 0.99));
    }
    stage.hm.snapshots().delete(&id)?;
    Ok(Samples { ours, peer: Vec::new() })
}

/// Starts compressing and returns when at least `per_mille` of the work is done.
fn start(hm: &Hypeman, id: &str, per_mille: u64) -> Result<()> {
    hm.snapshots().compress(id, Some(&CompressionConfig::with("zstd", Some(9))))?;
    let call = Call::default().progress(|progress| {
        let is_far = progress.bytes_done > progress.bytes_total / 1000 * per_mille;
        if is_far { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match hm.snapshots().wait(id, call) {
        Err(error) if error.kind() == Kind::Cancelled => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err("the compression ended before it could be cancelled".into()),
    }
}
