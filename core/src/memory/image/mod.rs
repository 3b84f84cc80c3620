//! A memory image at random access, raw or compressed: any page costs one small frame, checked before it is used.
//!
//! `places.rs` finds the frame of a byte without reading the whole index, `cache.rs` keeps the last decoded frames.

mod cache;
mod places;

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache::Cache;
use places::Places;

use super::file::{grow, raw_bytes, read_compressed, read_raw};
use super::format::Decoder;
use super::index::Frame;
use crate::call::Limit;
use crate::error::{Error, Result};
use crate::sys::sparse::next_data;
use crate::types::{Algorithm, ExtentKind, MemoryExtent};

/// An open image. Any number of threads may read at once; what one of them finds damaged concerns no other.
pub(crate) struct Image {
    file: File,
    raw_bytes: u64,
    /// `None` for a raw file.
    compressed: Option<Compressed>,
}

/// What reading a compressed file takes.
struct Compressed {
    algorithm: Algorithm,
    places: Places,
    cache: Mutex<Cache>,
    /// Decoders that no one uses now: one for each thread that ever read at the same time as others.
    idle: Mutex<Vec<Tools>>,
}

/// What one reader needs while it decodes a frame.
struct Tools {
    decoder: Decoder,
    stored: Vec<u8>,
    /// Memory for the next frame: of one that left the cache, since fresh memory has to be zeroed first.
    spare: Vec<u8>,
}

impl Image {
    /// Opens the raw image in `file`.
    pub(crate) fn raw(file: File) -> Result<Self> {
        Ok(Self { raw_bytes: raw_bytes(&file)?, file, compressed: None })
    }

    /// Opens the compressed image in `file`.
    ///
    /// Of our own files only the footer of the index is read. Others are read once, so that their frames are known:
    /// headers only where each frame has its checksum, everything where the file has one checksum in all.
    ///
    /// # Errors
    /// `not_supported` for a file that can only be read from its start: one long zstd frame, linked lz4 blocks;
    /// `corrupt`, `io`.
    pub(crate) fn compressed(file: File, algorithm: Algorithm) -> Result<Self> {
        let places = Places::open(algorithm, &file, &Limit::default())?;
        let raw_bytes = places.raw_bytes();
        let compressed =
            Compressed { algorithm, places, cache: Mutex::default(), idle: Mutex::new(Vec::new()) };
        Ok(Self { file, raw_bytes, compressed: Some(compressed) })
    }

    /// The length of the image.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Fills `buffer` from byte `offset` of the image and returns how much of it: less only at the end of the image.
    ///
    /// # Errors
    /// `corrupt` where a frame that is needed is damaged; what `buffer` holds then is undefined. `io`.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.raw_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let (buffer, _) = buffer.split_at_mut(wanted);
        let Some(compressed) = &self.compressed else {
            read_raw(&self.file, buffer, offset)?;
            return Ok(wanted);
        };
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            let frame = compressed.places.find(&self.file, at)?;
            let part = usize::try_from(frame.raw_end() - at).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(part);
            if frame.is_zero {
                now.fill(0);
            } else {
                let memory = compressed.memory(&self.file, &frame)?;
                let skip = (at - frame.raw_at) as usize;
                // A frame holds exactly what its place says, or it does not decode.
                let found = memory.get(skip..).and_then(|memory| memory.get(..part)).unwrap_or_default();
                now.copy_from_slice(found);
            }
            at += part as u64;
            rest = later;
        }
        Ok(wanted)
    }

    /// What the image consists of, from its start to its end, without a gap; neighbours differ in kind.
    pub(crate) fn extents(&self) -> Result<Vec<MemoryExtent>> {
        let mut extents = Vec::new();
        let Some(compressed) = &self.compressed else {
            let mut at = 0;
            while at < self.raw_bytes {
                let data = next_data(&self.file, at)
                    .map_err(|e| Error::os("find the holes of", "the raw memory", &e))?
                    .unwrap_or(self.raw_bytes..self.raw_bytes);
                // Someone may lengthen the file meanwhile.
                let (start, end) = (data.start.min(self.raw_bytes), data.end.min(self.raw_bytes));
                append(&mut extents, start - at, ExtentKind::Hole);
                append(&mut extents, end - start, ExtentKind::Data);
                at = end;
            }
            return Ok(extents);
        };
        compressed.places.each(&self.file, |frame| {
            let kind = if frame.is_zero { ExtentKind::Zero } else { ExtentKind::Data };
            append(&mut extents, frame.raw_bytes.into(), kind);
        })?;
        Ok(extents)
    }
}

impl Compressed {
    /// The memory of a data frame: from the cache, or decoded and checked now.
    fn memory(&self, file: &File, frame: &Frame) -> Result<Arc<Vec<u8>>> {
        if let Some(memory) = lock(&self.cache).get(frame.at) {
            return Ok(memory);
        }
        let idle = lock(&self.idle).pop();
        let mut tools = match idle {
            Some(tools) => tools,
            None => Tools { decoder: Decoder::new(self.algorithm)?, stored: Vec::new(), spare: Vec::new() },
        };
        let decoded = tools.decode(file, frame);
        let memory = decoded.map(Arc::new);
        if let Ok(memory) = &memory {
            let evicted = lock(&self.cache).put(frame.at, Arc::clone(memory));
            tools.spare = evicted.and_then(Arc::into_inner).unwrap_or_default();
        }
        // A decoder that met damage is as good as before.
        lock(&self.idle).push(tools);
        memory
    }
}

impl Tools {
    fn decode(&mut self, file: &File, frame: &Frame) -> Result<Vec<u8>> {
        let mut memory = std::mem::take(&mut self.spare);
        grow(&mut memory, frame.raw_bytes.into())?;
        memory.truncate(frame.raw_bytes as usize);
        grow(&mut self.stored, frame.stored_bytes.into())?;
        let (stored, _) = self.stored.split_at_mut(frame.stored_bytes as usize);
        read_compressed(file, stored, frame.at)?;
        self.decoder.frame(frame, stored, &mut memory, false)?;
        Ok(memory)
    }
}

/// Whoever panicked under one of these locks left a cache that is still one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends `size_bytes` to a list of extents, to its last one where that is of the same kind.
fn append(extents: &mut Vec<MemoryExtent>, size_bytes: u64, kind: ExtentKind) {
    match extents.last_mut() {
        _ if size_bytes == 0 => {}
        Some(last) if last.kind == kind => last.size_bytes += size_bytes,
        last => {
            let offset = last.map_or(0, |last| last.offset + last.size_bytes);
            extents.push(MemoryExtent { offset, size_bytes, kind });
        }
    }
}
