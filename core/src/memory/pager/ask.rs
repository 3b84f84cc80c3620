//! The thread of a VM whose VMM answers the page faults of its guest itself, and asks for each page over a connection:
//! cloud-hypervisor, which takes a restore for the second half of a post-copy migration.
//!
//! The memory of its guest is a file without a name that we have, too. A page is written there, and the VMM maps it once
//! it was told so: what lies in the file without being mapped no guest sees, so that the neighbours of a page are
//! written with it. A page that was ever written is the guest's, and is not written again.
//!
//! A VMM that gets no answer ends, and so does one that hears that a page cannot be had.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::fetch::{fetch, neighbours};
use super::install::memory_of;
use super::metrics::{Cause, Counters, add};
use super::record::PART_BYTES;
use super::regions::{Region, SMALL_PAGE_BYTES};
use super::spin::Spin;
use crate::error::{Error, Kind, Result};
use crate::memory::file::u64_at;
use crate::memory::image::Piece;
use crate::memory::zero::is_zero;
use crate::sys::socket;
use crate::sys::sparse::fill_holes;

/// A request, an answer, and the range behind a request.
const FRAME_BYTES: usize = 16;
const PAGE_FAULT: u16 = 9;
const ABANDON: u16 = 6;
const OK: u16 = 1;
const FAILED: u16 = 2;

/// A VM that asks for its pages.
pub(super) struct Asking {
    questions: UnixStream,
    memory: File,
    regions: Vec<Region>,
    /// Where the last frame was decoded.
    spare: Vec<u8>,
    spin: Spin,
}

impl Asking {
    pub(super) fn new(questions: File, memory: File, regions: Vec<Region>) -> Result<Self> {
        let refused = |what: &str| Error::new(Kind::InvalidRequest, format!("a VM was refused: {what}"));
        let questions = UnixStream::from(OwnedFd::from(questions));
        socket::tick(&questions).map_err(|e| refused(&format!("it asks over what is no socket ({e})")))?;
        let bytes = memory.metadata().map_err(|e| Error::os("look at", "guest memory", &e))?.len();
        if regions.iter().any(|region| region.offset_of(region.pages()) > bytes) {
            return Err(refused(&format!(
                "its memory is a file of {bytes} bytes, which is less than it has"
            )));
        }
        Ok(Self { questions, memory, regions, spare: Vec::new(), spin: Spin::new(Duration::ZERO) })
    }

    /// Answers until the VMM hangs up, as it does when it has all of its memory, or the pager stops.
    pub(super) fn run(mut self, shared: &Shared) -> Result<()> {
        self.spin = Spin::new(Duration::from_micros(shared.settings.spin_us.into()));
        while let Some(asked) = self.question(shared)? {
            let noticed = Instant::now();
            let given = {
                let _urgent = shared.urgent();
                self.give(&asked, shared)
            };
            let status = match given {
                Ok(()) => OK,
                Err(error) => {
                    shared.counters.error(&error);
                    FAILED
                }
            };
            self.answer(status, shared)?;
            shared.counters.fault(noticed.elapsed());
        }
        if self.regions.iter().all(|region| region.next_missing(0).is_none()) {
            add(&shared.counters.vms_whole, 1);
        }
        Ok(())
    }

    /// The guest-physical addresses of the pages that are wanted; `None` once nothing more is.
    fn question(&mut self, shared: &Shared) -> Result<Option<Range<u64>>> {
        let Some(request) = self.read(shared)? else { return Ok(None) };
        let [low, high, ..] = request;
        match (u16::from_le_bytes([low, high]), u64_at(&request, 8)) {
            (PAGE_FAULT, Some(16)) => {}
            (ABANDON, _) => return self.answer(OK, shared).map(|()| None),
            (other, _) => {
                let why = format!("a VM asked for what no pager gives (request {other})");
                return Err(Error::new(Kind::NotSupported, why));
            }
        }
        let Some(range) = self.read(shared)? else { return Ok(None) };
        let (start, bytes) = (u64_at(&range, 0).unwrap_or_default(), u64_at(&range, 8).unwrap_or_default());
        Ok(Some(start..start.saturating_add(bytes)))
    }

    /// Puts the pages at `asked` into the memory of the guest.
    fn give(&mut self, asked: &Range<u64>, shared: &Shared) -> Result<()> {
        let mut spare = std::mem::take(&mut self.spare);
        let given = self.give_with(asked, shared, &mut spare);
        self.spare = spare;
        given
    }

    fn give_with(&self, asked: &Range<u64>, shared: &Shared, spare: &mut Vec<u8>) -> Result<()> {
        let is_whole = [asked.start, asked.end].iter().all(|end| end.is_multiple_of(SMALL_PAGE_BYTES));
        let found = self.regions.iter().find_map(|region| {
            let first = region.page_at(asked.start)?;
            let end = first.checked_add((asked.end - asked.start) / SMALL_PAGE_BYTES)?;
            (is_whole && first < end && end <= region.pages()).then_some((region, first..end))
        });
        let Some((region, pages)) = found else {
            let why =
                format!("a VM asked for memory at {:#x}..{:#x}, which it has not", asked.start, asked.end);
            return Err(Error::new(Kind::InvalidRequest, why));
        };
        if pages.clone().any(|page| region.is_done(page)) {
            // A page that lay beside one asked for before is there. One that the guest gave back since is not.
            self.make_room(region, pages.clone())?;
        }
        while let Some(page) = region.next_missing(pages.start).filter(|page| *page < pages.end) {
            let buffer = shared.is_for_one().then_some(&mut *spare);
            let piece = fetch(&shared.image, region, page, buffer)?;
            let around = neighbours(region, page, &piece);
            let around = match piece.memory {
                Some(_) => around,
                None => page..around.end.min(page + PART_BYTES / SMALL_PAGE_BYTES),
            };
            self.put(region, around, &piece, &shared.counters)?;
            piece.give_back(spare);
        }
        Ok(())
    }

    /// Writes those of `pages`, all of which are in `piece`, that never were.
    fn put(&self, region: &Region, pages: Range<u64>, piece: &Piece, counters: &Counters) -> Result<()> {
        let memory = |pages| memory_of(region, pages, piece);
        let is_zero = |page| memory(page..page + 1).is_none_or(is_zero);
        let mut next = pages.start;
        while let Some(first) = region.next_missing(next).filter(|page| *page < pages.end) {
            let zeros = is_zero(first);
            next = first + 1;
            while next < pages.end && !region.is_done(next) && is_zero(next) == zeros {
                next += 1;
            }
            match memory(first..next).filter(|_| !zeros) {
                None => self.make_room(region, first..next)?,
                Some(bytes) => self
                    .memory
                    .write_all_at(bytes, region.offset_of(first))
                    .map_err(|e| Error::os("write", "guest memory", &e))?,
            }
            region.set_present(first..next);
            counters.installed(Cause::Fault, zeros, (next - first) * SMALL_PAGE_BYTES);
        }
        Ok(())
    }

    /// Makes zeros of what is nothing yet; a page that is there stays as it is.
    fn make_room(&self, region: &Region, pages: Range<u64>) -> Result<()> {
        fill_holes(&self.memory, region.offset_of(pages.start)..region.offset_of(pages.end))
            .map_err(|e| Error::os("make room in", "guest memory", &e))
    }

    /// The next 16 bytes; `None` where the VMM has hung up or the pager stops.
    fn read(&mut self, shared: &Shared) -> Result<Option<[u8; FRAME_BYTES]>> {
        let mut frame = [0; FRAME_BYTES];
        let mut left = &mut frame[..];
        while !left.is_empty() {
            let read = match socket::receive_now(&self.questions, left) {
                Err(e) if socket::is_tick(&e) && self.spin.goes_on() => {
                    std::thread::yield_now();
                    continue;
                }
                Err(e) if socket::is_tick(&e) => self.questions.read(left),
                read => read,
            };
            match read {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    self.spin.found();
                    left = left.get_mut(count..).unwrap_or_default();
                }
                Err(e) if socket::is_tick(&e) && !shared.is_stopping() => {}
                Err(e) if socket::is_tick(&e) || e.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Err(e) => return Err(Error::os("hear", "a VM", &e)),
            }
        }
        Ok(Some(frame))
    }

    fn answer(&mut self, status: u16, shared: &Shared) -> Result<()> {
        let [low, high] = status.to_le_bytes();
        let frame: [u8; FRAME_BYTES] = [low, high, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut left = &frame[..];
        while !left.is_empty() && !shared.is_stopping() {
            match self.questions.write(left) {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(e) if socket::is_tick(&e) => {}
                // It has ended, or has all: the next read says so.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(e) => return Err(Error::os("answer", "a VM", &e)),
            }
        }
        Ok(())
    }
}

/// Counts as one that has not got everything, until this is dropped.
pub(super) struct Present<'s>(&'s Shared);

impl<'s> Present<'s> {
    pub(super) fn new(shared: &'s Shared) -> Self {
        shared.asking.fetch_add(1, Ordering::AcqRel);
        add(&shared.counters.vms, 1);
        add(&shared.counters.vms_seen, 1);
        Self(shared)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.counters.vms.fetch_sub(1, Ordering::Relaxed);
        self.0.asking.fetch_sub(1, Ordering::AcqRel);
    }
}
