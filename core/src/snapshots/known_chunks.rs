//! What is known of a raw memory file, so that damage in it is found before its bytes are used: a chunk is read and
//! compared as a whole when its first byte is asked for, and then believed for as long as the image is open.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chunks::{Extents, Failure, checksum};
use super::verify::checksums;
use crate::error::{Error, Kind, Result};
use crate::store::checksums::FileChecksums;
use crate::store::payload::Memory;
use crate::sys::dir::Dir;

/// The checksums of an open raw memory file.
pub(super) struct KnownChunks {
    file: File,
    checksums: FileChecksums,
    chunk_bytes: u64,
    /// A bit for each chunk that was compared and is right.
    right: Vec<AtomicU64>,
}

impl KnownChunks {
    /// What the sidecar of the snapshot in `dir` says of the raw `file` of `memory`; `None` where it says nothing, or
    /// is damaged itself: that keeps no one from reading memory.
    ///
    /// # Errors
    /// `corrupt` where the file is longer or shorter than it was.
    pub(super) fn of(dir: &Dir, memory: &Memory, file: &File) -> Result<Option<Self>> {
        let Ok(Some(known)) = checksums(dir) else { return Ok(None) };
        let Some(checksums) = known.file(&memory.raw_path()).cloned() else { return Ok(None) };
        let failed = |e| Error::os("look at", "the raw memory", &e);
        let size_bytes = file.metadata().map_err(failed)?.len();
        if size_bytes != checksums.size_bytes {
            let why = format!(
                "the memory file is damaged: it has {size_bytes} bytes and had {}",
                checksums.size_bytes
            );
            return Err(Error::new(Kind::Corrupt, why));
        }
        let chunks = size_bytes.div_ceil(known.chunk_bytes);
        let right = (0..chunks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let file = file.try_clone().map_err(failed)?;
        Ok(Some(Self { file, checksums, chunk_bytes: known.chunk_bytes, right }))
    }

    /// Compares the chunks that hold the bytes at `offset`, unless that was done.
    ///
    /// # Errors
    /// `corrupt` where one is not what it was; errors of the disk.
    pub(super) fn check(&self, offset: u64, len: u64) -> Result<()> {
        let end = offset.saturating_add(len).min(self.checksums.size_bytes);
        for chunk in offset / self.chunk_bytes..end.div_ceil(self.chunk_bytes) {
            let (word, bit) = (chunk / 64, 1 << (chunk % 64));
            let Some(word) = usize::try_from(word).ok().and_then(|word| self.right.get(word)) else { break };
            if word.load(Ordering::Relaxed) & bit == 0 {
                self.compare(chunk)?;
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn compare(&self, chunk: u64) -> Result<()> {
        let start = chunk * self.chunk_bytes;
        let end = start.saturating_add(self.chunk_bytes).min(self.checksums.size_bytes);
        match checksum(&self.file, start..end, &mut Extents::unsought(), &mut Vec::new(), &|| Ok(())) {
            Ok(sum) if Some(sum) == self.checksums.chunk(chunk) => Ok(()),
            Ok(_) => {
                let why = format!(
                    "the memory file is damaged in its bytes {start} to {end}: they are not what they were; `verify` tells all that is wrong with it"
                );
                Err(Error::new(Kind::Corrupt, why))
            }
            Err(Failure::Stopped(error) | Failure::Unreadable(error)) => Err(error),
        }
    }
}
