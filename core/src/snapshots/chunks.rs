//! Reads files chunk by chunk, in parallel, and makes the checksum of each. Holes are not read. What is read in the
//! background does not stay in the page cache: no one is about to read it again, and guests need the memory.

use std::fs::File;
use std::hash::Hasher;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use twox_hash::XxHash3_64;

use crate::call::Limit;
use crate::error::{Error, Result};
use crate::memory::workers::{self, Crew, Priority};
use crate::sys::dir::Dir;
use crate::sys::sparse::{drop_cache, next_data};

/// Read at once, and summed while it is in the cache of the CPU.
const BUFFER_BYTES: usize = 256 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The files of a payload that are to be read: by path beneath `guest`, with their sizes.
pub(super) struct Chunks<'a> {
    pub(super) guest: &'a Dir,
    pub(super) files: &'a [(&'a str, u64)],
    pub(super) chunk_bytes: u64,
    pub(super) threads: NonZeroUsize,
    pub(super) priority: Priority,
    /// Told how many bytes were just done.
    pub(super) done: &'a AtomicU64,
}

/// Where the checksum of a chunk belongs: the number of its file, and its own in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) chunk: u64,
}

impl Chunks<'_> {
    /// Gives the checksum of every chunk to `put`, in no order, or the error that kept it from being read. An error
    /// of `put` ends it all.
    pub(super) fn each(
        &self,
        limit: &Limit,
        put: &(dyn Fn(Place, Result<u64>) -> Result<()> + Sync),
    ) -> Result<()> {
        let next = Mutex::new(Place { file: 0, chunk: 0 });
        let chunks = self.files.iter().map(|(_, size)| size.div_ceil(self.chunk_bytes));
        let chunks = usize::try_from(chunks.fold(0, u64::saturating_add)).unwrap_or(usize::MAX);
        let Some(chunks) = NonZeroUsize::new(chunks) else { return Ok(()) };
        workers::run(self.threads.min(chunks), self.priority, limit, |crew| {
            let mut worker = Worker { chunks: self, crew, open: None, buffer: Vec::new() };
            while let Some(place) = self.take(&next) {
                crew.check()?;
                match worker.checksum(place) {
                    Err(Failure::Stopped(error)) => return Err(error),
                    Err(Failure::Unreadable(error)) => put(place, Err(error))?,
                    Ok(sum) => put(place, Ok(sum))?,
                }
                self.done.fetch_add(self.chunk_bytes, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    /// The next chunk that no one has taken.
    fn take(&self, next: &Mutex<Place>) -> Option<Place> {
        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (_, size_bytes) = self.files.get(next.file)?;
            if next.chunk < size_bytes.div_ceil(self.chunk_bytes) {
                let taken = *next;
                next.chunk += 1;
                return Some(taken);
            }
            *next = Place { file: next.file + 1, chunk: 0 };
        }
    }
}

/// Why there is no checksum of a chunk.
pub(super) enum Failure {
    /// The call ended.
    Stopped(Error),
    /// The file cannot be read there.
    Unreadable(Error),
}

/// The file that was read last.
struct Open {
    number: usize,
    file: File,
    extents: Extents,
}

/// The hole and the data behind it that were found last: to look for the end of long ones again for every chunk would
/// take longer than to read them.
#[derive(Default)]
pub(super) struct Extents {
    known: Range<u64>,
    data_start: u64,
}

impl Extents {
    /// Takes holes for data. Whoever reads one chunk and not the next gains nothing by them: on tmpfs to look for the end of
    /// an extent takes milliseconds a GiB.
    pub(super) fn unsought() -> Self {
        Self { known: 0..u64::MAX, data_start: 0 }
    }

    /// The first extent of data in `file` that ends after `at`, from `at` on; nothing at the end of all offsets.
    fn data_from(&mut self, file: &File, at: u64) -> io::Result<Range<u64>> {
        if !self.known.contains(&at) {
            let data = next_data(file, at)?.unwrap_or(u64::MAX..u64::MAX);
            (self.known, self.data_start) = (at..data.end, data.start);
        }
        Ok(self.data_start.max(at)..self.known.end)
    }
}

struct Worker<'a> {
    chunks: &'a Chunks<'a>,
    crew: &'a Crew<'a>,
    open: Option<Open>,
    buffer: Vec<u8>,
}

impl Worker<'_> {
    fn checksum(&mut self, place: Place) -> Result<u64, Failure> {
        let Some((path, size_bytes)) = self.chunks.files.get(place.file) else { return Ok(0) };
        let mut open = match self.open.take() {
            Some(open) if open.number == place.file => open,
            _ => {
                let file = self.chunks.guest.read(path).map_err(Failure::Unreadable)?;
                Open { number: place.file, file, extents: Extents::default() }
            }
        };
        let start = place.chunk * self.chunks.chunk_bytes;
        let end = start.saturating_add(self.chunks.chunk_bytes).min(*size_bytes);
        let check = || self.crew.check();
        let sum = checksum(&open.file, start..end, &mut open.extents, &mut self.buffer, &check);
        let sum = sum.map_err(|failure| match failure {
            Failure::Unreadable(error) => Failure::Unreadable(error.at(self.chunks.guest.join(path))),
            stopped => stopped,
        })?;
        if self.chunks.priority == Priority::Background {
            drop_cache(&open.file, start..end);
        }
        self.open = Some(open);
        Ok(sum)
    }
}

/// The checksum of a part of `file`, by way of `buffer`.
pub(super) fn checksum(
    file: &File,
    part: Range<u64>,
    extents: &mut Extents,
    buffer: &mut Vec<u8>,
    check: &dyn Fn() -> Result<()>,
) -> Result<u64, Failure> {
    let unreadable = |e| Failure::Unreadable(Error::os("read", "a file of the payload", &e));
    let mut sum = XxHash3_64::new();
    let (mut at, end) = (part.start, part.end);
    while at < end {
        let data = extents.data_from(file, at).map_err(unreadable)?;
        let (hole_end, data_end) = (data.start.min(end), data.end.min(end));
        while at < hole_end {
            let part = (hole_end - at).min(ZEROS.len() as u64);
            sum.write(ZEROS.get(..part as usize).unwrap_or_default());
            at += part;
        }
        while at < data_end {
            check().map_err(Failure::Stopped)?;
            let part = (data_end - at).min(BUFFER_BYTES as u64);
            buffer.resize(part as usize, 0);
            let bytes = buffer.as_mut_slice();
            file.read_exact_at(bytes, at).map_err(unreadable)?;
            sum.write(bytes);
            at += part;
        }
    }
    Ok(sum.finish())
}
