//! Putting pages into a VM, from any thread: never one that was given back, none twice.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::coming::Coming;
use super::metrics::{Cause, Counters};
use super::regions::{Region, SMALL_PAGE_BYTES};
use crate::memory::image::Piece;
use crate::memory::zero::is_zero;
use crate::sys::pidfd::PidFd;
use crate::sys::uffd::{Event, Uffd};

/// Pages of data that are installed in one go: whoever wants to read events waits no longer than that.
const MOST_PAGES: u64 = 16;
/// The same of zeros, which cost next to nothing.
const MOST_ZERO_PAGES: u64 = 512;

/// A VM that gets its memory from us.
#[derive(Debug)]
pub(super) struct Vm {
    /// Another for each VM of a pager.
    pub(super) token: u64,
    pub(super) uffd: Uffd,
    /// Who came with it, where that is known and is not this process itself.
    pub(super) vmm: Option<PidFd>,
    pub(super) regions: Vec<Region>,
    /// Held to read events, shared to install pages: a page that is given back is known as such before the kernel
    /// clears it, so that what the image says of it cannot come after.
    gate: RwLock<()>,
    /// Neither it nor we want anything more.
    pub(super) is_over: AtomicBool,
    /// It has all of its memory.
    pub(super) is_whole: AtomicBool,
    pub(super) prefetch_next: AtomicUsize,
    pub(super) coming: Coming,
    pub(super) fill_next: AtomicU64,
    pub(super) fill_done: AtomicU64,
}

/// Why a page was not installed.
#[derive(Debug)]
pub(super) enum Refused {
    /// Events are to be read first.
    Again,
    /// There is no one any more who could use it.
    Gone,
    Failed(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Self::Again,
            Some(libc::ESRCH | libc::ENOENT) => Self::Gone,
            _ => Self::Failed(error),
        }
    }
}

impl Vm {
    pub(super) fn new(token: u64, uffd: Uffd, vmm: Option<PidFd>, regions: Vec<Region>) -> Self {
        Self {
            token,
            uffd,
            vmm,
            regions,
            gate: RwLock::new(()),
            is_over: AtomicBool::new(false),
            is_whole: AtomicBool::new(false),
            prefetch_next: AtomicUsize::new(0),
            coming: Coming::default(),
            fill_next: AtomicU64::new(0),
            fill_done: AtomicU64::new(0),
        }
    }

    /// Whether pages are of no use to it any more.
    pub(super) fn wants_nothing(&self) -> bool {
        self.is_over.load(Ordering::Acquire) || self.is_whole.load(Ordering::Acquire)
    }

    /// Reads what has happened, and notes which pages were given back.
    pub(super) fn read_events(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let _no_one_installs = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let before = events.len();
        self.uffd.events(events)?;
        for event in events.iter().skip(before) {
            if let Event::Removed(start, end) = event {
                self.regions.iter().for_each(|region| region.set_removed(*start, *end));
            }
        }
        Ok(())
    }

    /// Gives a waiting guest the page that it waits for; `memory` is all of it.
    pub(super) fn answer(
        &self,
        region: &Region,
        page: u64,
        memory: &[u8],
        counters: &Counters,
    ) -> Result<(), Refused> {
        let zeros = region.page_bytes == SMALL_PAGE_BYTES && is_zero(memory);
        match self.put(region, page, 1, (!zeros).then_some(memory)) {
            Ok(bytes) => {
                counters.installed(Cause::Fault, zeros, bytes);
                region.set_present(page..page + 1);
                Ok(())
            }
            // Someone was faster; whoever waits has not noticed, perhaps.
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
                region.set_present(page..page + 1);
                Ok(self.uffd.wake(region.address_of(page), region.page_bytes)?)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Installs those of `pages` that are missing; `piece` has to hold all of them.
    pub(super) fn install(
        &self,
        region: &Region,
        pages: Range<u64>,
        piece: &Piece,
        cause: Cause,
        counters: &Counters,
    ) -> Result<(), Refused> {
        let mut next = pages.start;
        while let Some(page) = region.next_missing(next).filter(|page| *page < pages.end) {
            if self.wants_nothing() {
                return Err(Refused::Gone);
            }
            match self.install_run(region, page..pages.end, piece, cause, counters) {
                Ok(end) => next = end,
                // Who reads the events must come to it; it is us where a fault is answered.
                Err(Refused::Again) if cause != Cause::Fault => std::thread::sleep(Duration::from_micros(20)),
                Err(refused) => return Err(refused),
            }
        }
        Ok(())
    }

    /// Installs what is alike at the start of `pages`, and returns where that ends.
    fn install_run(
        &self,
        region: &Region,
        pages: Range<u64>,
        piece: &Piece,
        cause: Cause,
        counters: &Counters,
    ) -> Result<u64, Refused> {
        let _none_is_removed_meanwhile = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let first = pages.start;
        let Some(kind) = Run::of(region, first, piece) else { return Ok(first + 1) };
        let is_zero = matches!(kind, Run::Zero);
        let most = if is_zero { MOST_ZERO_PAGES } else { MOST_PAGES * SMALL_PAGE_BYTES / region.page_bytes };
        let limit = pages.end.min(first + most.max(1));
        let mut end = first + 1;
        while end < limit && Run::of(region, end, piece).is_some_and(|next| next.is_like(&kind)) {
            end += 1;
        }
        let memory = match kind {
            Run::Zero => None,
            Run::Data => match memory_of(region, first..end, piece) {
                Some(memory) => Some(memory),
                None => return Ok(end),
            },
        };
        match self.put(region, first, end - first, memory) {
            Ok(bytes) => {
                let end = first + bytes / region.page_bytes;
                region.set_present(first..end);
                counters.installed(cause, is_zero, bytes);
                Ok(end)
            }
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
                region.set_present(first..first + 1);
                Ok(first + 1)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Zeros where there is no `memory`. Returns the bytes that were installed.
    fn put(&self, region: &Region, page: u64, pages: u64, memory: Option<&[u8]>) -> io::Result<u64> {
        let (address, bytes) = (region.address_of(page), pages * region.page_bytes);
        match memory {
            Some(memory) => self.uffd.copy(address, memory),
            None if region.page_bytes == SMALL_PAGE_BYTES => self.uffd.zero(address, bytes),
            // The kernel has no zero page of that size.
            None => self.uffd.copy(address, &vec![0; bytes as usize]),
        }
    }

    /// Gives a waiting guest a page of zeros: it gave that page back.
    pub(super) fn answer_removed(
        &self,
        region: &Region,
        page: u64,
        counters: &Counters,
    ) -> Result<(), Refused> {
        match self.put(region, page, 1, None) {
            Ok(bytes) => counters.installed(Cause::Fault, true, bytes),
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
                self.uffd.wake(region.address_of(page), region.page_bytes)?;
            }
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    /// Lets a VM with all of its memory go its own way: the kernel answers its faults from now on.
    pub(super) fn let_go(&self) -> io::Result<()> {
        for region in &self.regions {
            self.uffd.let_go(region.address_of(0), region.bytes())?;
        }
        Ok(())
    }
}

/// What is installed as one.
enum Run {
    Zero,
    Data,
}

impl Run {
    /// What a page is; `None` where it is not to be installed.
    fn of(region: &Region, page: u64, piece: &Piece) -> Option<Self> {
        if region.is_done(page) {
            return None;
        }
        if piece.memory.is_none() {
            let is_inside = piece.at <= region.offset_of(page) && region.offset_of(page + 1) <= piece.end();
            return is_inside.then_some(Self::Zero);
        }
        let memory = memory_of(region, page..page + 1, piece)?;
        let zeros = region.page_bytes == SMALL_PAGE_BYTES && is_zero(memory);
        Some(if zeros { Self::Zero } else { Self::Data })
    }

    fn is_like(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Zero, Self::Zero) | (Self::Data, Self::Data))
    }
}

/// The bytes of some pages; `None` where the piece does not hold all of them.
pub(super) fn memory_of<'p>(region: &Region, pages: Range<u64>, piece: &'p Piece) -> Option<&'p [u8]> {
    let start = region.offset_of(pages.start).checked_sub(piece.at)?;
    let end = region.offset_of(pages.end).checked_sub(piece.at)?;
    piece.memory.as_ref()?.get(start as usize..end as usize)
}
