//! Guest memory that a capture kept: compressed into the stage, and written nowhere else.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::call::{Call, Phase};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::memory::{self, Compressed};
use crate::store::payload::Memory;
use crate::store::staging::Stage;
use crate::types::{Capture, CompressionSettings};

/// How often the caller hears of progress.
const REPORT: Duration = Duration::from_millis(50);

/// Compresses `memory` to where the memory file of the capture `facts` would be compressed to. It is flushed with the
/// rest of the stage.
pub(super) fn compress(
    hm: &Hypeman,
    stage: &Stage,
    facts: &Capture,
    memory: File,
    settings: CompressionSettings,
    call: &mut Call<'_>,
) -> Result<Compressed> {
    let path = Path::new(facts.memory_file.as_deref().unwrap_or_default());
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let place = Memory { directory, name, raw_bytes: None, compressed: None };
    let directory = place.open_dir(stage.guest())?;
    let name = place.compressed_name(settings.algorithm);
    let out = directory.nameless()?;

    let (done, total) = (AtomicU64::new(0), AtomicU64::new(0));
    let limit = call.limit().clone();
    let made = thread::scope(|scope| {
        let work = || {
            let progress = |now, all| {
                done.store(now, Ordering::Relaxed);
                total.store(all, Ordering::Relaxed);
            };
            memory::compress(&memory, &out, settings, hm.threads(), &limit, &progress)
        };
        let worker = thread::Builder::new()
            .name("hypeman-kept".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|e| Error::io("start a thread to write", directory.join(&name), &e))?;
        while !worker.is_finished() {
            // Whoever cancels has cancelled the worker, too, whose error is the answer.
            let _ =
                call.report(Phase::Compressing, done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
            thread::park_timeout(REPORT);
        }
        worker.join().unwrap_or_else(|_| Err(Error::new(Kind::Internal, "compressing guest memory panicked")))
    })
    .map_err(|error| error.at(directory.join(&name)))?;
    directory.link(&out, &name)?;
    Ok(made)
}
