//! The memory of a VM whose VMM asks for its pages: a file without a name that both have.
//!
//! A page is written there, and the VMM maps it once it was told so: what lies in the file without being mapped no guest
//! sees, so that the neighbours of a page, and what an earlier guest wanted, are written before they are asked for. A page
//! that was ever written is the guest's, and is not written again.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Shared;
use super::fetch::{fetch, neighbours};
use super::install::memory_of;
use super::metrics::Cause;
use super::record::PART_BYTES;
use super::regions::{Region, SMALL_PAGE_BYTES};
use crate::error::{Error, Kind, Result};
use crate::memory::image::Piece;
use crate::memory::zero::is_zero;
use crate::sys::sparse::fill_holes;

pub(super) struct Asked {
    file: File,
    regions: Vec<Region>,
    /// Held by whoever writes: between the look whether a page is there and the note that it is, no one else may have
    /// given it to the guest.
    gate: Mutex<()>,
    /// No one asks any more.
    pub(super) is_over: AtomicBool,
}

impl Asked {
    /// `file` has to be long enough for all `regions`.
    pub(super) fn new(file: File, regions: Vec<Region>) -> Self {
        Self { file, regions, gate: Mutex::new(()), is_over: AtomicBool::new(false) }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.regions.iter().all(|region| region.next_missing(0).is_none())
    }

    /// The page at a guest-physical address.
    pub(super) fn find(&self, address: u64) -> Option<(&Region, u64)> {
        self.regions.iter().find_map(|region| Some((region, region.page_at(address)?)))
    }

    /// Puts the pages at `asked`, guest-physical addresses, into the memory of the guest. `spare` is where frames are
    /// decoded.
    pub(super) fn give(&self, asked: &Range<u64>, shared: &Shared, spare: &mut Vec<u8>) -> Result<()> {
        let is_whole = [asked.start, asked.end].iter().all(|end| end.is_multiple_of(SMALL_PAGE_BYTES));
        let found = self.find(asked.start).and_then(|(region, first)| {
            let end = first.checked_add((asked.end - asked.start) / SMALL_PAGE_BYTES)?;
            (is_whole && first < end && end <= region.pages()).then_some((region, first..end))
        });
        let Some((region, pages)) = found else {
            let why =
                format!("a VM asked for memory at {:#x}..{:#x}, which it has not", asked.start, asked.end);
            return Err(Error::new(Kind::InvalidRequest, why));
        };
        if pages.clone().any(|page| region.is_done(page)) {
            // A page that was written before it was asked for is there. One that the guest gave back since is not.
            self.make_room(region, pages.clone())?;
        }
        while let Some(page) = region.next_missing(pages.start).filter(|page| *page < pages.end) {
            self.bring(region, page, Cause::Fault, shared, spare)?;
        }
        Ok(())
    }

    /// Puts `parts` of the image into the memory of the guest, in their order, ahead of whoever asks. A part that is
    /// damaged is left to that one.
    pub(super) fn prefetch(&self, shared: &Shared, parts: &[u64]) {
        let mut spare = Vec::new();
        for part in parts {
            let Some(offset) = part.checked_mul(PART_BYTES) else { continue };
            for region in &self.regions {
                if shared.is_stopping() || self.is_over.load(Ordering::Acquire) {
                    return;
                }
                let wanted = region.page_of(offset).filter(|page| !region.is_done(*page));
                let brought =
                    wanted.map(|page| self.bring(region, page, Cause::Prefetch, shared, &mut spare));
                // A file that takes no more bytes tells whoever asks for them.
                if let Some(Err(error)) = brought
                    && error.kind() != Kind::Corrupt
                {
                    return;
                }
            }
        }
    }

    /// Writes `page`, and what comes with it.
    fn bring(
        &self,
        region: &Region,
        page: u64,
        cause: Cause,
        shared: &Shared,
        spare: &mut Vec<u8>,
    ) -> Result<()> {
        let buffer = shared.is_for_one().then_some(&mut *spare);
        let piece = fetch(&shared.image, region, page, buffer)?;
        let around = neighbours(region, page, &piece);
        let around = match piece.memory {
            Some(_) => around,
            None => page..around.end.min(page + PART_BYTES / SMALL_PAGE_BYTES),
        };
        self.put(region, around, &piece, cause, shared)?;
        piece.give_back(spare);
        Ok(())
    }

    /// Writes those of `pages`, all of which are in `piece`, that never were.
    fn put(
        &self,
        region: &Region,
        pages: Range<u64>,
        piece: &Piece,
        cause: Cause,
        shared: &Shared,
    ) -> Result<()> {
        let memory = |pages| memory_of(region, pages, piece);
        let is_zero = |page| memory(page..page + 1).is_none_or(is_zero);
        let _no_one_else_writes = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
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
                    .file
                    .write_all_at(bytes, region.offset_of(first))
                    .map_err(|e| Error::os("write", "guest memory", &e))?,
            }
            region.set_present(first..next);
            shared.counters.installed(cause, zeros, (next - first) * SMALL_PAGE_BYTES);
        }
        Ok(())
    }

    /// Makes zeros of what is nothing yet; a page that is there stays as it is.
    fn make_room(&self, region: &Region, pages: Range<u64>) -> Result<()> {
        fill_holes(&self.file, region.offset_of(pages.start)..region.offset_of(pages.end))
            .map_err(|e| Error::os("make room in", "guest memory", &e))
    }
}
