//! Guest memory that a capture kept: compressed into the stage, and written nowhere else.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
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
    let progress = |now, all| {
        done.store(now, Ordering::Relaxed);
        total.store(all, Ordering::Relaxed);
    };
    call.report(Phase::Compressing, 0, 0)?;
    let limit = call.limit().clone();
    let made = thread::scope(|scope| {
        let (tell, told) = mpsc::sync_channel(1);
        let (memory, out, limit, progress) = (&memory, out.file(), &limit, &progress);
        let work = move || {
            let made = memory::compress(memory, out, settings, hm.threads(), limit, progress);
            // It fits, and whoever waits for it stays.
            let _ = tell.send(made);
        };
        thread::Builder::new()
            .name("hypeman-kept".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|e| Error::io("start a thread to write", directory.join(&name), &e))?;
        loop {
            match told.recv_timeout(REPORT) {
                Ok(made) => return made,
                Err(RecvTimeoutError::Timeout) => {
                    // Whoever cancels has cancelled the other thread, too, whose error is the answer.
                    let (done, total) = (done.load(Ordering::Relaxed), total.load(Ordering::Relaxed));
                    let _ = call.report(Phase::Compressing, done, total);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(Kind::Internal, "compressing guest memory panicked"));
                }
            }
        }
    })
    .map_err(|error| error.at(directory.join(&name)))?;
    directory.link(out, &name)?;
    Ok(made)
}
