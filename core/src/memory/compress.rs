//! Compresses a memory image in parallel, and proves that it did before anyone removes the image.
//!
//! Threads take pieces of the image in order, encode them alone, hand them in to learn where their bytes go, and write
//! while others encode. Runs of zeros become one frame across pieces. Nothing here grows with the image.
//!
//! The proof has two halves: frames are decoded and compared with their memory as soon as they are made, while both are
//! in the cache of the CPU (each, or at the fastest levels some of them, [`format::frames_per_proof`]); and everything that
//! was written is read back and compared with what was made.

use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Compressed;
use super::batch::{Batch, encoded};
use super::file::{
    check_empty, compressed_bytes, damaged, raw_bytes, read_raw, set_compressed_bytes, write_compressed,
};
use super::format;
use super::frames::Frames;
use super::index::{self, Fingerprint, MAX_FRAMES};
use super::order::{Order, Ready, Turns};
use super::pass::{Pass, Purpose};
use super::pieces::Pieces;
use super::workers::{self, Crew, Priority};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::sys::sparse::drop_cache;
use crate::types::CompressionSettings;

/// Compresses `raw` into the empty file `out` on `threads` threads of low priority, checks frames against `raw`, and reads
/// back all it wrote. Does not fsync. Drops `raw` from the page cache as it goes.
///
/// `progress` is told bytes done and bytes in all, by any of the threads, and not always in order. The contents of
/// `out` are undefined after an error; a cancel is obeyed within one frame.
///
/// # Errors
/// `no_space`, `io`, `cancelled`, `timeout`; `corrupt` where what was read back is not what was compressed.
pub(crate) fn compress(
    raw: &File,
    out: &File,
    settings: CompressionSettings,
    threads: NonZeroUsize,
    limit: &Limit,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Compressed> {
    let image_bytes = raw_bytes(raw)?;
    let written = write(raw, out, settings, threads, limit, progress)?;
    check(out, settings, &written, threads, limit, &|_, all| progress(all, all))?;
    progress(image_bytes, image_bytes);
    Ok(Compressed { raw_bytes: image_bytes, compressed_bytes: compressed_bytes(out)? })
}

/// What was compressed, to be found again in what was written.
pub(super) struct Written {
    pub(super) raw_bytes: u64,
    pub(super) fingerprint: Fingerprint,
}

/// Compresses without reading back.
pub(super) fn write(
    raw: &File,
    out: &File,
    settings: CompressionSettings,
    threads: NonZeroUsize,
    limit: &Limit,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Written> {
    check_empty(out)?;
    let raw_bytes = raw_bytes(raw)?;
    let frame_bytes = format::frame_bytes(settings);
    if raw_bytes.div_ceil(frame_bytes as u64) > MAX_FRAMES {
        return Err(Error::new(
            Kind::NotSupported,
            format!(
                "{raw_bytes} bytes of memory need more frames than a seek table can list; use a higher level"
            ),
        ));
    }
    let head = format::head(settings.algorithm, raw_bytes)?;
    write_compressed(out, &head, 0)?;
    // No codec makes more of its input than this, so that nothing is written here before the frames have ended.
    let staging = raw_bytes + raw_bytes / 8 + (4 << 20);
    let tail_bytes = format::plain_tail_bytes(settings.algorithm, raw_bytes);
    let body_bytes = raw_bytes - tail_bytes;
    let job = Job {
        raw,
        out,
        settings,
        raw_bytes,
        pieces: Mutex::new(Pieces::new(raw, body_bytes, frame_bytes)),
        order: Order::new(
            out,
            settings.algorithm,
            index::Writer::new(out, head.len() as u64, staging),
            threads,
        ),
        done: AtomicU64::new(0),
        progress,
    };
    workers::run(threads, Priority::Background, limit, |crew| job.work(crew))?;
    if self::raw_bytes(raw)? != raw_bytes {
        return Err(Error::new(
            Kind::InvalidState,
            "the raw memory changed its size while it was compressed",
        ));
    }
    let mut index = job.order.finish(|| limit.check())?;
    if tail_bytes > 0 {
        let mut tail = vec![0; tail_bytes as usize];
        read_raw(raw, &mut tail, body_bytes)?;
        let stored = format::plain_frame(&tail);
        write_compressed(out, &stored, index.end())?;
        index.push(&encoded(&stored, tail_bytes as u32, false))?;
    }
    let fingerprint = index.fingerprint();
    let end = format::finish(settings.algorithm, out, index)?;
    set_compressed_bytes(out, end)?;
    Ok(Written { raw_bytes, fingerprint })
}

/// Reads back what was written: every byte has to be as it was made, and where.
pub(super) fn check(
    out: &File,
    settings: CompressionSettings,
    written: &Written,
    threads: NonZeroUsize,
    limit: &Limit,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<()> {
    let algorithm = settings.algorithm;
    let frames = Frames::indexed(algorithm, out, written.raw_bytes, limit)?;
    let Some((frames, index)) = frames.as_ref().and_then(|frames| Some((frames, frames.index()?))) else {
        return Err(damaged(0, "the index that was just written is gone"));
    };
    format::check_frame(algorithm, out, index)?;
    if frames.raw_bytes != written.raw_bytes || index.fingerprint(out)? != written.fingerprint {
        return Err(damaged(0, "its index names other frames than were compressed"));
    }
    let pass = Pass {
        compressed: out,
        algorithm,
        frames,
        purpose: Purpose::Reread,
        priority: Priority::Background,
        progress,
    };
    pass.run(threads, limit)
}

/// A running compression, shared by its threads.
struct Job<'a> {
    raw: &'a File,
    out: &'a File,
    settings: CompressionSettings,
    raw_bytes: u64,
    pieces: Mutex<Pieces<'a>>,
    order: Order<'a>,
    done: AtomicU64,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl Job<'_> {
    fn work(&self, crew: &Crew<'_>) -> Result<()> {
        let turns = Turns::take(&self.order);
        let mut batch = Batch::new(self.settings)?;
        loop {
            crew.check()?;
            if !self.order.wait_for_room() {
                break;
            }
            let piece = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).next()?;
            let Some(piece) = piece else { break };
            batch.fill(self.raw, &piece, crew)?;
            let Some(ready) = self.order.hand_in(&piece, &batch, || crew.check())? else { break };
            for Ready { at, piece, stored } in ready {
                write_compressed(self.out, stored.as_deref().unwrap_or(batch.stored()), at)?;
                drop_cache(self.raw, piece.data());
                let done = self.done.fetch_add(piece.bytes(), Ordering::Relaxed) + piece.bytes();
                (self.progress)(done, self.raw_bytes);
            }
        }
        turns.end();
        Ok(())
    }
}
