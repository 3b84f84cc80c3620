//! Decoding the frames of a compressed image: those that are asked for, and no more of them than that takes.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Piece;
use super::cache::Cache;
use super::places::Places;
use crate::call::Limit;
use crate::error::Result;
use crate::memory::file::{grow, read_compressed};
use crate::memory::format::{self, Decoder};
use crate::memory::index::Frame;
use crate::types::Algorithm;

/// What an image that is read now and then keeps decoded: 512 frames of 32 KiB, or four of the largest.
const CACHE_BYTES: u64 = 16 << 20;
/// Fronts of frames: what single pages of an image that is read here and there have left.
const FRONTS_BYTES: u64 = 4 << 20;

/// What reading a compressed file takes.
pub(super) struct Compressed {
    algorithm: Algorithm,
    places: Places,
    /// Whole frames.
    cache: Cache,
    /// Fronts of frames of which no more was needed yet.
    fronts: Cache,
    /// Decoders that no one uses now: one for each thread that ever read at the same time as others.
    idle: Mutex<Vec<Tools>>,
}

/// What one reader needs while it decodes a frame.
struct Tools {
    decoder: Decoder,
    stored: Vec<u8>,
}

impl Compressed {
    pub(super) fn open(algorithm: Algorithm, file: &File) -> Result<Self> {
        let places = Places::open(algorithm, file, &Limit::default())?;
        let (cache, fronts) = (Cache::new(CACHE_BYTES), Cache::new(FRONTS_BYTES));
        Ok(Self { algorithm, places, cache, fronts, idle: Mutex::new(Vec::new()) })
    }

    /// Keeps at most `bytes` of whole frames from now on.
    pub(super) fn keep(&mut self, bytes: u64) {
        self.cache = Cache::new(bytes);
    }

    /// The length of the image.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.places.raw_bytes()
    }

    /// Gives every frame to `put`, in order.
    pub(super) fn each_frame(&self, file: &File, put: impl FnMut(&Frame)) -> Result<()> {
        self.places.each(file, put)
    }

    /// The frame with byte `at`: from the cache, or decoded and checked now.
    pub(super) fn piece(&self, file: &File, at: u64) -> Result<Piece> {
        if let Some(piece) = self.cache.get(at) {
            return Ok(piece);
        }
        self.whole(file, &self.places.find(file, at)?)
    }

    fn whole(&self, file: &File, frame: &Frame) -> Result<Piece> {
        self.cache.get_or(frame.raw_at, || self.decode(file, frame, frame.raw_bytes, &mut self.cache.spare()))
    }

    /// A piece with byte `at`, of whose memory `wanted` bytes are needed from there on: where they lie in the front of a
    /// frame, only that is decoded. Whoever needs more of the same frame gets, and leaves, the whole of it.
    pub(super) fn with(&self, file: &File, at: u64, wanted: usize) -> Result<Piece> {
        if let Some(piece) = self.cache.get(at).or_else(|| self.fronts.get(at)) {
            return Ok(piece);
        }
        let frame = self.places.find(file, at)?;
        let front_bytes = self.front_bytes(&frame, at, wanted);
        if front_bytes < frame.raw_bytes && self.fronts.get(frame.raw_at).is_none() {
            let decode = || self.decode(file, &frame, front_bytes, &mut self.fronts.spare());
            let piece = self.fronts.get_or(frame.raw_at, decode)?;
            // Less where someone else began with less of it at the same time.
            if at < piece.end() {
                return Ok(piece);
            }
        }
        self.whole(file, &frame)
    }

    /// The frame with byte `at`, decoded into `buffer` where it is not in the cache.
    pub(super) fn passing(&self, file: &File, at: u64, buffer: &mut Vec<u8>) -> Result<Piece> {
        if let Some(piece) = self.cache.get(at) {
            return Ok(piece);
        }
        let frame = self.places.find(file, at)?;
        self.decode(file, &frame, frame.raw_bytes, buffer)
    }

    /// As [`Compressed::passing`], but no more of the frame than up to the `wanted` bytes at `at`, unless `is_begun` says of
    /// the place where it begins that its front was decoded before: then all of it. Returns where the frame ends, too.
    pub(super) fn passing_front(
        &self,
        file: &File,
        at: u64,
        wanted: usize,
        buffer: &mut Vec<u8>,
        is_begun: impl FnOnce(u64) -> bool,
    ) -> Result<(Piece, u64)> {
        if let Some(piece) = self.cache.get(at) {
            let end = piece.end();
            return Ok((piece, end));
        }
        let frame = self.places.find(file, at)?;
        let bytes =
            if is_begun(frame.raw_at) { frame.raw_bytes } else { self.front_bytes(&frame, at, wanted) };
        Ok((self.decode(file, &frame, bytes, buffer)?, frame.raw_end()))
    }

    /// How much of the front of `frame` has to be decoded for the `wanted` bytes at `at`.
    fn front_bytes(&self, frame: &Frame, at: u64, wanted: usize) -> u32 {
        // Without an index only the frame as a whole has a checksum.
        if frame.is_zero || frame.hash.is_none() {
            return frame.raw_bytes;
        }
        let needed = ((at - frame.raw_at) as usize).saturating_add(wanted).min(frame.raw_bytes as usize);
        (format::front_bytes(self.algorithm, needed) as u32).min(frame.raw_bytes)
    }

    /// The first `bytes` of `frame`, in the place of `memory`.
    fn decode(&self, file: &File, frame: &Frame, bytes: u32, memory: &mut Vec<u8>) -> Result<Piece> {
        let piece = |memory| Piece { at: frame.raw_at, bytes: bytes.into(), memory };
        if frame.is_zero {
            return Ok(piece(None));
        }
        let idle = lock(&self.idle).pop();
        let mut tools = match idle {
            Some(tools) => tools,
            None => Tools { decoder: Decoder::new(self.algorithm)?, stored: Vec::new() },
        };
        memory.truncate(bytes as usize);
        let decoded = grow(memory, bytes.into()).and_then(|()| tools.decode(file, frame, memory));
        // A decoder that met damage is as good as before.
        lock(&self.idle).push(tools);
        decoded.map(|()| piece(Some(Arc::new(std::mem::take(memory)))))
    }
}

impl Tools {
    /// Fills `memory` with `frame`, or with the front of it.
    fn decode(&mut self, file: &File, frame: &Frame, memory: &mut [u8]) -> Result<()> {
        grow(&mut self.stored, frame.stored_bytes.into())?;
        let (stored, _) = self.stored.split_at_mut(frame.stored_bytes as usize);
        read_compressed(file, stored, frame.at)?;
        if memory.len() < frame.raw_bytes as usize {
            self.decoder.front(frame, stored, memory)
        } else {
            self.decoder.frame(frame, stored, memory, false)
        }
    }
}

/// Whoever panicked under one of these locks left a cache that is still one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::memory::file::write_compressed;
    use crate::memory::tests::{compressed, file_of, guest_memory, lz4, zstd};

    #[test]
    fn a_page_alone_costs_no_more_than_the_front_of_its_frame() {
        let memory = guest_memory(5 << 20);
        for (settings, front) in [(zstd(9), 128 << 10), (zstd(12), 128 << 10), (lz4(0), 4096)] {
            let file = compressed(&file_of(&memory), settings).0;
            let image = Compressed::open(settings.algorithm, &file).unwrap();
            let page = |image: &Compressed, file: &File, at: usize| -> Result<Vec<u8>> {
                let piece = image.with(file, at as u64, 4096)?;
                let skip = at - piece.at as usize;
                Ok(piece.memory.unwrap()[skip..skip + 4096].to_vec())
            };
            // The first page of a frame, the same again, the last page of that frame, and one between them.
            for at in [0, 0, 60 << 10, 8192] {
                assert!(page(&image, &file, at).unwrap() == memory[at..at + 4096], "{settings:?}, byte {at}");
            }
            assert_eq!(image.fronts.get(0).unwrap().end(), front, "{settings:?}");
            assert_eq!(image.cache.get(0).is_some(), settings.algorithm == Algorithm::Lz4);
            // Damage behind the front is found all the same, before a byte of the frame is used.
            let frame = image.places.find(&file, 0).unwrap();
            let mut last = [0];
            read_compressed(&file, &mut last, frame.end() - 1).unwrap();
            write_compressed(&file, &[last[0] ^ 1], frame.end() - 1).unwrap();
            let image = Compressed::open(settings.algorithm, &file).unwrap();
            let damage = page(&image, &file, 0);
            assert_eq!(damage.unwrap_err().kind(), Kind::Corrupt, "{settings:?}");
        }
    }
}
