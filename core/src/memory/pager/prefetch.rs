//! Installing what VMs wanted first, before this one asks.

use std::sync::atomic::Ordering;

use super::Shared;
use super::fetch::{fetch, neighbours};
use super::install::{Refused, Vm};
use super::metrics::Cause;
use super::record::PART_BYTES;

/// Installs `parts` of the image, in their order, those that no other thread has begun with. A part that is damaged is
/// left to whoever needs it. `thread` is the number of this one among those of the VM.
///
/// This gives way to no one: what it installs are the next faults, and it is there before them only if they do not hold
/// it up. Who answers faults waits for what it is about to install.
pub(super) fn prefetch(shared: &Shared, vm: &Vm, parts: &[u64], thread: usize) {
    let mut spare = Vec::new();
    while let Some(part) = parts.get(vm.prefetch_next.fetch_add(1, Ordering::Relaxed)) {
        if shared.is_stopping() || vm.wants_nothing() {
            break;
        }
        vm.coming.set(thread, Some(*part));
        if install(shared, vm, *part, &mut spare).is_none() {
            break;
        }
    }
    vm.coming.set(thread, None);
}

/// Installs what is missing of a part. `None` where the VM takes nothing more.
fn install(shared: &Shared, vm: &Vm, part: u64, spare: &mut Vec<u8>) -> Option<()> {
    let Some(offset) = part.checked_mul(PART_BYTES) else { return Some(()) };
    for region in &vm.regions {
        let Some(page) = region.page_of(offset).filter(|page| !region.is_done(*page)) else { continue };
        let buffer = shared.is_for_one().then_some(&mut *spare);
        let Ok(piece) = fetch(&shared.image, region, page, buffer) else { continue };
        let pages = neighbours(region, page, &piece);
        let installed = vm.install(region, pages, &piece, Cause::Prefetch, &shared.counters);
        piece.give_back(spare);
        match installed {
            Ok(()) | Err(Refused::Again) => {}
            Err(Refused::Gone | Refused::Failed(_)) => return None,
        }
    }
    Some(())
}
