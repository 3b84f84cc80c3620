//! The job of a snapshot: compression, if its record asks for it, then checksums.
//!
//! ```text
//! write memory.zst without a name -> read it back and compare -> flush -> link -> flush dir
//!     -> record: compressed -> unlink memory -> flush dir -> checksums into the sidecar -> forget the job
//! ```
//! Each state in between is a valid snapshot, and the job carries on from whatever is there.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use super::checksum::checksum;
use super::compress::remove_compressed;
use super::jobs::Running;
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::memory;
use crate::panic::guard;
use crate::store::payload::{self, Memory};
use crate::store::record::Record;
use crate::store::{Store, no_snapshot};
use crate::sys::dir::Dir;
use crate::types::{CompressionConfig, CompressionSettings, CompressionState};

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ended,
    /// All is done, but for a raw file that someone reads, for as long as a VM lives, perhaps.
    AwaitsReaders,
    /// Nothing was done: someone else has its lock.
    IsTaken,
}

/// After how much memory a compression looks whether its snapshot is still there: some ten times a second.
const LOOK_EVERY_BYTES: u64 = 64 << 20;

/// Brings the job of a snapshot to its end, from whatever state it is in.
pub(super) fn run(store: &Store, running: &Running, threads: NonZeroUsize) -> Result<Outcome> {
    let id = running.id.as_str();
    let limit = Limit::until(&running.cancel);
    let dir = match store.snapshot_dir(id) {
        Ok(dir) => dir,
        Err(error) if error.kind() == Kind::NotFound => {
            return store.end_job(id).map(|()| Outcome::Ended);
        }
        Err(error) => return Err(error),
    };
    let guest = dir.dir(crate::store::GUEST)?;
    let job = Job { store, id, dir: &dir, threads, limit: &limit, running };
    let mut record = Record::read(&dir, id)?;
    if record.snapshot.compression_state == Some(CompressionState::Compressing)
        && let Err(error) = guard(|| job.compress(&guest, &mut record))
    {
        // Stopped, or deleted meanwhile: no failure of the compression.
        if error.kind() == Kind::Cancelled {
            return Err(error);
        }
        if store.is_gone(id) {
            return Err(no_snapshot(id));
        }
        store.log().warning(id, || format!("snapshot {id} could not be compressed and stays raw: {error}"));
        // If even that cannot be written, the record goes on saying `compressing`, and the next opener tries.
        job.record_failure(&error)
            .map_err(|unwritten| unwritten.context(format!("{error}; and that cannot be written down")))?;
        record = Record::read(&dir, id)?;
    }
    let is_compressed = record.snapshot.compression_state == Some(CompressionState::Compressed);
    if matches!(
        record.snapshot.compression_state,
        None | Some(CompressionState::None | CompressionState::Error)
    ) {
        // Of a compression that failed or was cancelled: no one reads it as long as there is raw memory.
        remove_compressed(store, id)?;
    }
    let is_tidy = !is_compressed || job.unlink_raw(&guest)?;
    running.progress.end();
    if let Some(sidecar) = checksum(&dir, &guest, is_compressed, threads, &limit)? {
        job.check_still_there()?;
        store.replace_sidecar(&dir, id, &sidecar)?;
    }
    if !is_tidy && !job.unlink_raw(&guest)? {
        return Ok(Outcome::AwaitsReaders);
    }
    store.end_job(id).map(|()| Outcome::Ended)
}

/// What the steps of one job share.
struct Job<'j> {
    store: &'j Store,
    id: &'j str,
    dir: &'j Dir,
    threads: NonZeroUsize,
    limit: &'j Limit,
    running: &'j Running,
}

impl Job<'_> {
    /// Compresses as the record says, and says in it that this is done.
    fn compress(&self, guest: &Dir, record: &mut Record) -> Result<()> {
        let id = self.id;
        let settings =
            record.snapshot.compression.as_ref().map(CompressionConfig::settings).transpose()?.flatten();
        let settings = settings.ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("the record of {id} does not say how to compress it"))
        })?;
        let memory = Memory::find(guest)?.ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("the memory file of snapshot {id} is missing")).about(id)
        })?;
        let (raw_bytes, compressed_bytes) = self.make(guest, &memory, settings)?;

        record.snapshot.compression_state = Some(CompressionState::Compressed);
        record.snapshot.compression_error = None;
        record.snapshot.compressed_size_bytes = Some(compressed_bytes);
        record.snapshot.uncompressed_size_bytes = raw_bytes;
        let leaving = Memory::find(guest)?.and_then(|memory| memory.raw_bytes).unwrap_or(0);
        record.snapshot.size_bytes = payload::size_bytes(guest)?.saturating_sub(leaving);
        self.check_still_there()?;
        self.store.rewrite(record)?;
        self.store.log().info(id, || {
            let from = raw_bytes.map(|bytes| format!(" from {bytes}")).unwrap_or_default();
            format!("compressed the memory of snapshot {id}{from} to {compressed_bytes} bytes")
        });
        Ok(())
    }

    /// Makes the compressed file, whole and on the disk. Returns the sizes of the raw file, if known, and of this one.
    fn make(
        &self,
        guest: &Dir,
        memory: &Memory,
        settings: CompressionSettings,
    ) -> Result<(Option<u64>, u64)> {
        let place = memory.open_dir(guest)?;
        let name = memory.compressed_name(settings.algorithm);
        if let Some(finished) = self.finished(&place, memory, &name, settings)? {
            return Ok(finished);
        }
        let raw = place.read(&memory.name)?;
        let out = place.nameless()?;
        let looked_at = AtomicU64::new(0);
        let progress = |done: u64, total: u64| {
            self.running.progress.bytes_done.store(done, Ordering::Relaxed);
            self.running.progress.bytes_total.store(total, Ordering::Relaxed);
            // Deleted by another process meanwhile: there is no use in going on.
            let is_due = done.saturating_sub(looked_at.load(Ordering::Relaxed)) >= LOOK_EVERY_BYTES;
            if is_due
                && looked_at.fetch_max(done, Ordering::Relaxed) < done
                && self.check_still_there().is_err()
            {
                self.running.cancel.cancel();
            }
        };
        let made = memory::compress(&raw, &out, settings, self.threads, self.limit, &progress)
            .map_err(|error| error.at(place.join(&memory.name)).about(self.id))?;
        self.store.durable().file(&out, &place.join(&name))?;
        self.limit.check()?;
        self.check_still_there()?;
        place.link(&out, &name)?;
        self.store.durable().dir(&place)?;
        Ok((Some(made.raw_bytes), made.compressed_bytes))
    }

    /// A compressed file that an earlier job had linked before it died: used if it is good, removed if not.
    fn finished(
        &self,
        place: &Dir,
        memory: &Memory,
        name: &str,
        settings: CompressionSettings,
    ) -> Result<Option<(Option<u64>, u64)>> {
        let Some(file) = place.read_if_any(name)? else { return Ok(None) };
        let found = memory::verify(&file, settings.algorithm, self.threads, self.limit);
        match found {
            Ok(raw_bytes) if memory.raw_bytes.is_none_or(|raw| raw == raw_bytes) => {
                let metadata = file.metadata().map_err(|e| Error::io("look at", place.join(name), &e))?;
                self.store.durable().file(&file, &place.join(name))?;
                self.store.durable().dir(place)?;
                Ok(Some((Some(raw_bytes), metadata.len())))
            }
            Err(error) if error.kind() == Kind::Cancelled => Err(error),
            // Without the raw file there is nothing to make it anew from.
            Err(error) if memory.raw_bytes.is_none() => Err(error.about(self.id)),
            _ => {
                place.unlink(name)?;
                Ok(None)
            }
        }
    }

    /// Fails once the snapshot was deleted: our descriptor then is of a directory in the trash.
    fn check_still_there(&self) -> Result<()> {
        let here = self.store.snapshot_dir(self.id)?.stat_self()?;
        if here.inode == self.dir.stat_self()?.inode { Ok(()) } else { Err(no_snapshot(self.id)) }
    }

    /// Removes the raw file beside the compressed one that the record speaks of; `false` while someone reads it.
    fn unlink_raw(&self, guest: &Dir) -> Result<bool> {
        let Some(memory) = Memory::find(guest)? else { return Ok(true) };
        if memory.raw_bytes.is_none() || memory.compressed.is_none() {
            return Ok(true);
        }
        let Some(_unread) = self.store.try_no_readers(self.id)? else { return Ok(false) };
        let place = memory.open_dir(guest)?;
        place.unlink(&memory.name)?;
        self.store.durable().dir(&place)?;
        Ok(true)
    }

    /// Writes into the record why its compression failed. The raw file is untouched; `compress` tries again.
    fn record_failure(&self, why: &Error) -> Result<()> {
        let mut record = self.store.record(self.id)?;
        // A failure after the record said `compressed` is one of cleaning up; the next opener carries on with that.
        if record.snapshot.compression_state == Some(CompressionState::Compressing) {
            record.snapshot.compression_state = Some(CompressionState::Error);
            record.snapshot.compression_error = Some(why.message().to_owned());
            self.store.rewrite(&record)?;
        }
        Ok(())
    }
}
