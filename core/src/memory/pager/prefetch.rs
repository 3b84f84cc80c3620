//! Installing what VMs wanted first, before this one asks.

use std::sync::atomic::Ordering;

use super::Shared;
use super::fetch::{fetch, neighbours};
use super::install::{Refused, Vm};
use super::metrics::Cause;
use super::record::PART_BYTES;

/// Installs `parts` of the image, in their order, those that no other thread has begun with. A part that is damaged is
/// left to whoever needs it.
///
/// This gives way to no one: what it installs are the next faults, and it is there before them only if they do not hold
/// it up.
pub(super) fn prefetch(shared: &Shared, vm: &Vm, parts: &[u64]) {
    let mut spare = Vec::new();
    while let Some(part) = parts.get(vm.prefetch_next.fetch_add(1, Ordering::Relaxed)) {
        let Some(offset) = part.checked_mul(PART_BYTES) else { continue };
        let pages = vm.regions.iter().filter_map(|region| Some((region, region.page_of(offset)?)));
        for (region, page) in pages {
            if shared.is_stopping() || vm.wants_nothing() {
                return;
            }
            if region.is_done(page) {
                continue;
            }
            let buffer = shared.is_for_one().then_some(&mut spare);
            let Ok(piece) = fetch(&shared.image, region, page, buffer) else { continue };
            let pages = neighbours(region, page, &piece);
            let installed = vm.install(region, pages, &piece, Cause::Prefetch, &shared.counters);
            piece.give_back(&mut spare);
            match installed {
                Ok(()) | Err(Refused::Again) => {}
                Err(Refused::Gone | Refused::Failed(_)) => return,
            }
        }
    }
}
