//! Capturing a VM that stands where its last image was taken, from where its VMM writes no second one (QEMU's
//! `postmigrate`). The guest has not run since, so that image is this one's, too, and the disks are as they were.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::disks::refuse_missed;
use super::live::{Taken, copy_qemu_config};
use super::plan::{Extent, Plan};
use super::restore::compare::copies_within;
use super::restore::copy::expand;
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{CAPTURE_DIRECTORY, Vmm};
use crate::instances::Found;
use crate::memory;
use crate::store::Store;
use crate::store::checksums::Checksums;
use crate::store::images::LastImage;
use crate::store::payload::Memory;
use crate::store::sidecar::Sidecar;
use crate::store::staging::Stage;
use crate::sys::dir::Dir;
use crate::sys::lock::ByteLock;
use crate::types::Capture;

pub(super) fn capture(
    hm: &Hypeman,
    found: &Found,
    (stage, turn): (Stage, ByteLock),
    mut vmm: Box<dyn Vmm>,
    mut facts: Capture,
    call: &mut Call<'_>,
) -> Result<Taken> {
    let store = hm.writable_store()?;
    let about = |error: Error| error.about(&found.id);
    let _process = store.process_turn(vmm.peer(), call.limit())?;
    let standstill = vmm.standstill(call.limit()).map_err(about)?;
    let noted = store.last_image(vmm.peer())?;
    let last = noted.filter(|last| standstill.is_some() && last.standstill == standstill);
    let Some(last) = last else { return Err(no_image(found)) };
    let Ok(Some(_pin)) = store.try_read(&last.snapshot_id) else { return Err(no_image(found)) };
    let source = Source::open(store, &last.snapshot_id, found)?;
    facts.hypervisor_version = Some(vmm.version().to_owned()).filter(|version| !version.is_empty());
    facts.memory_format.clone_from(&source.capture.memory_format);
    facts.memory_file.clone_from(&source.capture.memory_file);

    let root = found.directory.as_deref().map(Dir::open).transpose()?;
    let plan = Plan::make(found, root.as_ref(), stage.guest(), Extent::WithoutImages)?;
    let disks = vmm.written_disks(call.limit()).map_err(about)?;
    refuse_missed(&plan, found, &disks)?;
    let image = stage.guest().ensure_dir(CAPTURE_DIRECTORY)?;
    plan.copy_still(hm.threads(), call)?;
    copy_qemu_config(found, root.as_ref(), &image)?;
    plan.flush_written()?;
    plan.copy_written(hm.threads(), call)?;
    expand(hm, &source.guest, &source.memory, memory::MAX_IMAGE_BYTES, stage.guest(), call)?;
    source.compare(hm, stage.guest(), call)?;

    if vmm.standstill(call.limit()).map_err(about)? != standstill {
        let why = format!("the VM of instance {} ran while it was copied; try again", found.id);
        return Err(Error::new(Kind::Busy, why).about(&found.id));
    }
    let last = LastImage { snapshot_id: stage.id().to_owned(), ..last };
    let outside = plan.outside;
    Ok(Taken { stage, turn, facts, outside, memory: None, image: Some(last) })
}

/// The snapshot whose image is used again.
struct Source {
    guest: Dir,
    memory: Memory,
    capture: Capture,
    checksums: Option<Checksums>,
}

impl Source {
    fn open(store: &Store, id: &str, found: &Found) -> Result<Self> {
        let gone = |error: Error| if error.kind() == Kind::NotFound { no_image(found) } else { error };
        // The same VM may be another instance, too, for which QEMU writes in another form.
        if store.record(id).map_err(gone)?.snapshot.source_instance_id != found.id {
            return Err(no_image(found));
        }
        let dir = store.snapshot_dir(id).map_err(gone)?;
        let guest = dir.dir(crate::store::GUEST)?;
        let (memory, sidecar) = (Memory::find(&guest)?, Sidecar::read_sealed(&dir)?);
        match (memory, sidecar) {
            (Some(memory), Some(sidecar)) => {
                let checksums = sidecar.checksums.filter(Checksums::is_known);
                Ok(Self { guest, memory, capture: sidecar.capture, checksums })
            }
            _ => Err(no_image(found)),
        }
    }

    /// Compares the copy of its memory with what was captured: the new snapshot's checksums will be of the copy, and
    /// would hide what is damaged.
    fn compare(&self, hm: &Hypeman, copy: &Dir, call: &Call<'_>) -> Result<()> {
        let Some(checksums) = &self.checksums else { return Ok(()) };
        let raw = self.memory.raw_path();
        let copied = [(Path::new(&raw), Path::new(&raw))];
        copies_within(hm, checksums, (&self.guest, copy), &copied, &AtomicU64::new(0), call.limit())
    }
}

fn no_image(found: &Found) -> Error {
    let why = format!(
        "the VM of instance {} stands where its memory was last saved or migrated away, from where it is saved no \
         second time, and no snapshot here has that image; if it has not moved to another host, resume it and pause it \
         again",
        found.id
    );
    Error::new(Kind::InvalidState, why).about(&found.id)
}
