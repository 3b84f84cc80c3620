//! One pass over all frames of a compressed file, in parallel: to write their memory, or only to check them.

use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::file::{damaged, grow, read_compressed, write_raw_sparse};
use super::format::{self, Decoder};
use super::frames::{Cursor, Frames};
use super::index::Frame;
use super::workers::{self, Crew, Priority};
use crate::call::Limit;
use crate::error::Result;
use crate::types::Algorithm;

/// Work is handed out in pieces of about this much: enough that the threads seldom meet.
const BATCH_BYTES: u64 = 1 << 20;
/// Nor in more frames than this, however short they are.
const BATCH_FRAMES: usize = 1024;

/// Memory that is decoded at once, or one frame: so that it is written while it is in the cache of the CPU.
const PART_BYTES: u64 = 256 << 10;

/// What a pass is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// The memory, as fast as it can be had: the index's checksum of each frame is enough.
    Write(&'a File),
    /// Every checksum there is, and that it decodes.
    Check,
    /// Only whether the stored bytes are those of the index: what they decode to is known.
    Reread,
}

/// A pass and what its threads share.
pub(super) struct Pass<'a> {
    pub(super) compressed: &'a File,
    pub(super) algorithm: Algorithm,
    pub(super) frames: &'a Frames,
    pub(super) purpose: Purpose<'a>,
    pub(super) priority: Priority,
    /// Told how much memory is done and how much there is, by every thread.
    pub(super) progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl Pass<'_> {
    /// Goes through all frames.
    pub(super) fn run(&self, threads: NonZeroUsize, limit: &Limit) -> Result<()> {
        let queue = Mutex::new(Queue { cursor: self.frames.cursor(self.compressed)?, held_back: None });
        let done = AtomicU64::new(0);
        workers::run(threads, self.priority, limit, |crew| {
            let mut worker = Worker::new(self, crew)?;
            let mut batch = Vec::new();
            loop {
                crew.check()?;
                queue.lock().unwrap_or_else(PoisonError::into_inner).take(&mut batch)?;
                if batch.is_empty() {
                    return Ok(());
                }
                worker.batch(&batch)?;
                let memory: u64 = batch.iter().map(|frame| u64::from(frame.raw_bytes)).sum();
                let before = done.fetch_add(memory, Ordering::Relaxed);
                (self.progress)(before + memory, self.frames.raw_bytes);
            }
        })
    }
}

/// Hands out frames in batches that lie together in the file.
struct Queue<'f> {
    cursor: Cursor<'f>,
    /// The first frame of the next batch, which did not go into the last one.
    held_back: Option<Frame>,
}

impl Queue<'_> {
    fn take(&mut self, batch: &mut Vec<Frame>) -> Result<()> {
        batch.clear();
        let (mut stored_bytes, mut data_bytes) = (0, 0);
        while let Some(frame) =
            self.held_back.take().map_or_else(|| self.cursor.next(), |frame| Ok(Some(frame)))?
        {
            let follows = batch.last().is_none_or(|last: &Frame| last.end() == frame.at);
            let is_full =
                stored_bytes >= BATCH_BYTES || data_bytes >= BATCH_BYTES || batch.len() == BATCH_FRAMES;
            if !follows || is_full {
                self.held_back = Some(frame);
                break;
            }
            stored_bytes += u64::from(frame.stored_bytes);
            data_bytes += if frame.is_zero { 0 } else { u64::from(frame.raw_bytes) };
            batch.push(frame);
        }
        Ok(())
    }
}

/// One thread's decoder and buffers: at most a batch and one frame of each kind.
struct Worker<'a> {
    pass: &'a Pass<'a>,
    crew: &'a Crew<'a>,
    decoder: Decoder,
    stored: Vec<u8>,
    raw: Vec<u8>,
    zeros: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(pass: &'a Pass<'a>, crew: &'a Crew<'a>) -> Result<Self> {
        let decoder = Decoder::new(pass.algorithm)?;
        Ok(Self { pass, crew, decoder, stored: Vec::new(), raw: Vec::new(), zeros: Vec::new() })
    }

    fn batch(&mut self, batch: &[Frame]) -> Result<()> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        let mut stored = std::mem::take(&mut self.stored);
        grow(&mut stored, last.end().saturating_sub(first.at))?;
        let (mut rest, _) = stored.split_at_mut(last.end().saturating_sub(first.at) as usize);
        read_compressed(self.pass.compressed, rest, first.at)?;
        for run in batch.chunk_by(|a, b| !a.is_zero && !b.is_zero) {
            let run_bytes: u64 = run.iter().map(|frame| u64::from(frame.stored_bytes)).sum();
            let (bytes, after) = rest.split_at_mut(run_bytes as usize);
            match run {
                [zeros] if zeros.is_zero => self.zeros(zeros, bytes)?,
                data if matches!(self.pass.purpose, Purpose::Reread) => self.reread(data, bytes)?,
                data => self.data(data, bytes)?,
            }
            rest = after;
        }
        self.stored = stored;
        Ok(())
    }

    /// Checks a frame of zeros, which stay a hole. What an index calls zeros must be stored as we store them; a walk
    /// has already seen that they are zeros.
    fn zeros(&mut self, frame: &Frame, stored: &[u8]) -> Result<()> {
        self.crew.check()?;
        if frame.hash.is_some() {
            self.zeros.clear();
            format::append_zeros(self.pass.algorithm, frame.raw_bytes, &mut self.zeros);
            if self.zeros != stored {
                return Err(damaged(frame.at, "a run of zeros is not one"));
            }
        }
        Ok(())
    }

    /// Checks frames that follow each other in the file, without decoding them.
    fn reread(&self, frames: &[Frame], stored: &[u8]) -> Result<()> {
        let mut rest = stored;
        for frame in frames {
            self.crew.check()?;
            let (bytes, after) = rest.split_at(frame.stored_bytes as usize);
            format::check_stored(frame, bytes)?;
            rest = after;
        }
        Ok(())
    }

    /// Decodes frames that follow each other in the file and in the image.
    fn data(&mut self, frames: &[Frame], stored: &[u8]) -> Result<()> {
        let (mut rest, mut stored_rest) = (frames, stored);
        while let Some(first) = rest.first() {
            let mut memory = 0;
            let fits = |frame: &&Frame| {
                let is_first = memory == 0;
                memory += u64::from(frame.raw_bytes);
                is_first || memory <= PART_BYTES
            };
            let (part, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let part_bytes: u64 = part.iter().map(|frame| u64::from(frame.stored_bytes)).sum();
            let (bytes, stored_after) = stored_rest.split_at(part_bytes as usize);
            self.part(first, part, bytes)?;
            (rest, stored_rest) = (after, stored_after);
        }
        Ok(())
    }

    /// Decodes a part of such frames, and does with its memory what the pass is for.
    fn part(&mut self, first: &Frame, frames: &[Frame], stored: &[u8]) -> Result<()> {
        let memory: u64 = frames.iter().map(|frame| u64::from(frame.raw_bytes)).sum();
        grow(&mut self.raw, memory)?;
        let (raw, _) = self.raw.split_at_mut(memory as usize);
        let (mut stored_rest, mut raw_rest) = (stored, &mut *raw);
        for frame in frames {
            self.crew.check()?;
            let (bytes, stored_after) = stored_rest.split_at(frame.stored_bytes as usize);
            let (memory, raw_after) = raw_rest.split_at_mut(frame.raw_bytes as usize);
            (stored_rest, raw_rest) = (stored_after, raw_after);
            self.decoder.frame(frame, bytes, memory, matches!(self.pass.purpose, Purpose::Check))?;
        }
        match self.pass.purpose {
            Purpose::Write(out) => write_raw_sparse(out, raw, first.raw_at),
            Purpose::Check | Purpose::Reread => Ok(()),
        }
    }
}
