//! A memory image at random access, raw or compressed: any page costs one small frame, checked before it is used.
//!
//! `compressed.rs` decodes frames: `places.rs` finds the one of a byte without reading the whole index, `cache.rs` keeps
//! the last decoded pieces.

mod cache;
mod compressed;
mod places;

use std::fs::File;
use std::sync::Arc;

use compressed::Compressed;

use super::file::{grow, raw_bytes, read_raw};
use crate::error::{Error, Result};
use crate::sys::sparse::next_data;
use crate::types::{Algorithm, ExtentKind, MemoryExtent};

/// Bytes of a raw image that are read at once.
const RAW_PIECE_BYTES: u64 = 64 << 10;
/// The same where all of it is read.
const RAW_PASSING_BYTES: u64 = 2 << 20;

/// Compares bytes of a raw image with what is known of them: from an offset on, so many.
type Check = Box<dyn Fn(u64, u64) -> Result<()> + Send + Sync>;

/// An open image. Any number of threads may read at once; what one of them finds damaged concerns no other.
pub(crate) struct Image {
    file: File,
    raw_bytes: u64,
    /// `None` for a raw file.
    compressed: Option<Compressed>,
    /// What is known of a raw image, so that damage is found before its bytes are used.
    check: Option<Check>,
}

/// A part of an image that is read as one.
#[derive(Clone)]
pub(crate) struct Piece {
    /// Where it begins in the image.
    pub(crate) at: u64,
    /// Its length.
    pub(crate) bytes: u64,
    /// Exactly that many bytes; `None` where all of them are zero.
    pub(crate) memory: Option<Arc<Vec<u8>>>,
}

impl Piece {
    /// The end of it in the image.
    pub(crate) fn end(&self) -> u64 {
        self.at + self.bytes
    }

    /// Makes its memory the next `buffer`, unless someone else has it, too.
    pub(crate) fn give_back(self, buffer: &mut Vec<u8>) {
        if let Some(memory) = self.memory.and_then(Arc::into_inner) {
            *buffer = memory;
        }
    }
}

impl Image {
    /// Opens the raw image in `file`.
    pub(crate) fn raw(file: File) -> Result<Self> {
        Ok(Self { raw_bytes: raw_bytes(&file)?, file, compressed: None, check: None })
    }

    /// The same raw image, whose bytes from an offset on, so many of them, pass `check` before they are used. Frames of a
    /// compressed one have checksums of their own.
    #[must_use]
    pub(crate) fn checked_by(
        mut self,
        check: impl Fn(u64, u64) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Box::new(check));
        self
    }

    fn check(&self, at: u64, bytes: u64) -> Result<()> {
        self.check.as_ref().map_or(Ok(()), |check| check(at, bytes))
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
        let compressed = Compressed::open(algorithm, &file)?;
        Ok(Self { raw_bytes: compressed.raw_bytes(), file, compressed: Some(compressed), check: None })
    }

    /// The same image, which keeps at most `cache_bytes` of decoded memory.
    #[must_use]
    pub(crate) fn with_cache(mut self, cache_bytes: u64) -> Self {
        if let Some(compressed) = &mut self.compressed {
            compressed.keep(cache_bytes);
        }
        self
    }

    /// The length of the image.
    pub(crate) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Whether reading a part of this image decodes a frame first, so that it is best used whole.
    pub(crate) fn is_compressed(&self) -> bool {
        self.compressed.is_some()
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
            self.check(offset, wanted as u64)?;
            read_raw(&self.file, buffer, offset)?;
            return Ok(wanted);
        };
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            let piece = compressed.with(&self.file, at, rest.len())?;
            let part = usize::try_from(piece.end() - at).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(part);
            match &piece.memory {
                None => now.fill(0),
                Some(memory) => {
                    let skip = (at - piece.at) as usize;
                    // A frame holds exactly what its place says, or it does not decode.
                    let found = memory.get(skip..).and_then(|memory| memory.get(..part)).unwrap_or_default();
                    now.copy_from_slice(found);
                }
            }
            at += part as u64;
            rest = later;
        }
        Ok(wanted)
    }

    /// The piece with byte `at`, which has to be in the image: a whole frame of a compressed image, kept for the next
    /// reader; of a raw one a part that is aligned to its size, or a hole.
    ///
    /// # Errors
    /// `corrupt` where the frame is damaged, `io`.
    pub(crate) fn piece(&self, at: u64) -> Result<Piece> {
        match &self.compressed {
            Some(compressed) => compressed.piece(&self.file, at),
            None => {
                let start = at - at % RAW_PIECE_BYTES;
                self.raw_piece(start, (start + RAW_PIECE_BYTES).min(self.raw_bytes), &mut Vec::new())
            }
        }
    }

    /// As [`Image::piece`], for reading everything once: nothing is kept, a raw image is read in larger parts, and bytes
    /// take the place of `buffer`.
    pub(crate) fn passing(&self, at: u64, buffer: &mut Vec<u8>) -> Result<Piece> {
        match &self.compressed {
            Some(compressed) => compressed.passing(&self.file, at, buffer),
            None => self.raw_piece(at, at.saturating_add(RAW_PASSING_BYTES).min(self.raw_bytes), buffer),
        }
    }

    /// As [`Image::passing`], but of a compressed frame no more than up to the `wanted` bytes at `at`, unless `is_begun` says
    /// of the place where it begins that its front was decoded before: then all of it. Returns where the frame ends, too.
    pub(crate) fn passing_front(
        &self,
        at: u64,
        wanted: usize,
        buffer: &mut Vec<u8>,
        is_begun: impl FnOnce(u64) -> bool,
    ) -> Result<(Piece, u64)> {
        match &self.compressed {
            Some(compressed) => compressed.passing_front(&self.file, at, wanted, buffer, is_begun),
            None => self.passing(at, buffer).map(|piece| {
                let end = piece.end();
                (piece, end)
            }),
        }
    }

    fn raw_piece(&self, start: u64, end: u64, buffer: &mut Vec<u8>) -> Result<Piece> {
        let data = next_data(&self.file, start)
            .map_err(|e| Error::os("find the holes of", "the raw memory", &e))?
            .map_or(self.raw_bytes, |data| data.start.min(self.raw_bytes));
        if data > start {
            // A long hole is not compared as a whole for the sake of one page of it.
            let bytes =
                if self.check.is_some() { (data - start).min(RAW_PASSING_BYTES) } else { data - start };
            self.check(start, bytes)?;
            return Ok(Piece { at: start, bytes, memory: None });
        }
        let bytes = end.saturating_sub(start);
        self.check(start, bytes)?;
        buffer.truncate(bytes as usize);
        grow(buffer, bytes)?;
        read_raw(&self.file, buffer, start)?;
        Ok(Piece { at: start, bytes, memory: Some(Arc::new(std::mem::take(buffer))) })
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
        compressed.each_frame(&self.file, |frame| {
            let kind = if frame.is_zero { ExtentKind::Zero } else { ExtentKind::Data };
            append(&mut extents, frame.raw_bytes.into(), kind);
        })?;
        Ok(extents)
    }
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
