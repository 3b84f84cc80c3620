//! Installing all that is still missing, in the background: by two threads for all VMs, which give way to faults.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::Shared;
use super::fetch::fetch;
use super::install::{Refused, Vm};
use super::metrics::{Cause, add};
use super::record::PART_BYTES;
use super::regions::{HUGE_PAGE_BYTES, Region};
use crate::error::{Error, Result};
use crate::sys::priority::lower_this_thread;

/// Guest memory that one thread fills at a time.
const CHUNK_BYTES: u64 = HUGE_PAGE_BYTES;

/// Fills one VM after the other, until the pager stops.
pub(super) fn work(shared: &Shared) {
    lower_this_thread();
    let mut buffer = Vec::with_capacity(CHUNK_BYTES as usize);
    while let Some(vm) = shared.next_to_fill() {
        while let Some((region, pages)) = chunk(&vm, vm.fill_next.fetch_add(1, Ordering::Relaxed)) {
            if shared.is_stopping() || vm.wants_nothing() {
                break;
            }
            if let Err(error) = fill(shared, &vm, region, pages, &mut buffer) {
                shared.counters.error(&error);
            }
            let done = vm.fill_done.fetch_add(1, Ordering::AcqRel) + 1;
            if done == chunks(&vm) && is_whole(&vm) && !vm.wants_nothing() {
                match vm.let_go() {
                    Ok(()) => {
                        shared.guarded.forget(&vm);
                        add(&shared.counters.vms_whole, 1);
                        // Last: whoever waits for this goes by the metrics then.
                        vm.is_whole.store(true, Ordering::Release);
                    }
                    Err(e) => shared.counters.error(&Error::os("let go of", "a VM", &e)),
                }
            }
        }
    }
}

/// Whether a VM has chunks that no one fills yet.
pub(super) fn is_waiting(vm: &Vm) -> bool {
    !vm.wants_nothing() && vm.fill_next.load(Ordering::Relaxed) < chunks(vm)
}

fn chunks(vm: &Vm) -> u64 {
    vm.regions.iter().map(|region| region.bytes().div_ceil(CHUNK_BYTES)).sum()
}

/// The pages of chunk `number`.
fn chunk(vm: &Vm, mut number: u64) -> Option<(&Region, Range<u64>)> {
    for region in &vm.regions {
        let chunks = region.bytes().div_ceil(CHUNK_BYTES);
        if number < chunks {
            let pages = CHUNK_BYTES / region.page_bytes;
            return Some((region, number * pages..((number + 1) * pages).min(region.pages())));
        }
        number -= chunks;
    }
    None
}

fn is_whole(vm: &Vm) -> bool {
    vm.regions.iter().all(|region| region.next_missing(0).is_none())
}

/// Fills some pages, as far as they can be had.
fn fill(shared: &Shared, vm: &Vm, region: &Region, pages: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
    let mut next = pages.start;
    let mut damage = Ok(());
    while let Some(page) = region.next_missing(next).filter(|page| *page < pages.end) {
        shared.give_way();
        if shared.is_stopping() || vm.wants_nothing() {
            return Ok(());
        }
        let piece = match fetch(&shared.image, region, page, Some(buffer)) {
            Ok(piece) => piece,
            Err(error) => {
                damage = Err(error);
                next = page + (PART_BYTES / region.page_bytes).max(1);
                continue;
            }
        };
        let mut found = region.pages_within(piece.at..piece.end());
        if piece.memory.is_none() {
            // Of gigabytes of zeros others fill their share.
            found.end = found.end.min(pages.end);
        }
        next = found.end;
        let installed = vm.install(region, page..found.end, &piece, Cause::Fill, &shared.counters);
        // What is decoded next finds room in the same place.
        piece.give_back(buffer);
        match installed {
            Ok(()) | Err(Refused::Again) => {}
            Err(Refused::Gone) => return Ok(()),
            Err(Refused::Failed(e)) => return Err(Error::os("fill the memory of", "a VM", &e)),
        }
    }
    damage
}
