//! Capturing a VM that has a VMM: the pause, and what must hold around it.
//!
//! ```text
//! everything that can be refused -> copies of what stands still -> intent on the disk
//!     -> pause -> memory -> disks -> resume -> intent gone
//! ```
//! Whatever fails after the intent, the VM is settled and resumed: by this call, by a thread of the handle when the
//! caller must not wait for the VMM, or by the next opener when this process dies.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use super::disks::refuse_missed;
use super::held::Held;
use super::last::copy_last;
use super::plan::{Extent, Plan};
use crate::call::{Call, Phase};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{CAPTURE_DIRECTORY, CaptureTarget, RunState, Vmm};
use crate::instances::Found;
use crate::panic::guard;
use crate::store::handover::Handover;
use crate::store::images::LastImage;
use crate::store::intents::Intent;
use crate::store::sidecar::OutsideDisk;
use crate::store::staging::Stage;
use crate::sys::dir::Dir;
use crate::sys::lock::ByteLock;
use crate::sys::process;
use crate::types::{Capture, HypervisorKind, InstanceState};

/// QEMU's command line, as the vendor's server keeps it; its restore wants a copy beside the memory.
const QEMU_CONFIG: &str = "qemu-config.json";

/// A capture that is whole, of a VM that is again as it was.
pub(super) struct Taken {
    pub(super) stage: Stage,
    pub(super) turn: ByteLock,
    pub(super) facts: Capture,
    pub(super) outside: Vec<OutsideDisk>,
    /// Guest memory where it was kept: it is in no file of the stage.
    pub(super) memory: Option<File>,
    /// To be noted of the VMM when this is a snapshot.
    pub(super) image: Option<LastImage>,
}

/// Captures memory and disks of `found`, whose VMM is at the other end of `vmm`, into the stage.
pub(super) fn capture(
    hm: &Hypeman,
    found: &Found,
    (stage, turn): (Stage, ByteLock),
    mut vmm: Box<dyn Vmm>,
    mut facts: Capture,
    call: &mut Call<'_>,
) -> Result<Taken> {
    let store = Arc::clone(hm.writable_store()?);
    let process = store.process_turn(vmm.peer(), call.limit())?;
    vmm.prepare(call.limit()).map_err(|error| error.about(&found.id))?;
    facts.hypervisor_version = Some(vmm.version().to_owned()).filter(|version| !version.is_empty());

    // The payload outlives the stage's being handed to a thread.
    let guest = stage.guest().dir(".")?;
    let root = found.directory.as_deref().map(Dir::open).transpose()?;
    let plan = Plan::make(found, root.as_ref(), &guest, Extent::WithoutImages)?;
    let disks = vmm.written_disks(call.limit()).map_err(|error| error.about(&found.id))?;
    refuse_missed(&plan, found, &disks)?;
    let image = guest.ensure_dir(CAPTURE_DIRECTORY)?;
    let handover = match &found.staging_directory {
        Some(place) if vmm.opens_paths() => {
            let seen_as = found.staging_directory_in_vmm.as_ref().unwrap_or(place);
            Some(Handover::open(&store, &stage, place, seen_as, vmm.peer().uid)?)
        }
        _ => None,
    };
    let place = handover.as_ref().map_or(&image, Handover::dir).dir(".")?;
    let seen_as = handover.as_ref().map_or(image.path(), Handover::seen_as).to_owned();
    let place_fd = place.to_file()?;
    let mut target = CaptureTarget {
        directory: place.path(),
        directory_fd: &place_fd,
        seen_as: &seen_as,
        over_last: false,
        vendor_forms_only: found.server.is_some(),
    };
    vmm.check_reach(&target).map_err(|error| error.about(&found.id))?;
    plan.copy_still(hm.threads(), call)?;
    copy_qemu_config(found, root.as_ref(), &image)?;
    if let Some(name) = copy_last(hm, &store, found, vmm.as_ref(), &place, call.limit())? {
        handover.as_ref().map_or(Ok(()), |handover| handover.lend(name))?;
        target.over_last = true;
    }
    plan.flush_written()?;
    // The copies took their time, in which its user may have paused it.
    let was_running = match vmm.run_state(call.limit())? {
        RunState::Running => true,
        RunState::Paused { after_capture: false } => false,
        RunState::Paused { after_capture: true }
        | RunState::NotStarted
        | RunState::Shutdown
        | RunState::Other => {
            let why = format!(
                "the VM of instance {} changed its state while its files were copied; try again",
                found.id
            );
            return Err(Error::new(Kind::InvalidState, why).about(&found.id));
        }
    };
    facts.source_state =
        if was_running { InstanceState::Running } else { InstanceState::Paused }.as_str().to_owned();

    let intent = Intent {
        snapshot_id: stage.id().to_owned(),
        instance_id: found.id.clone(),
        hypervisor: found.hypervisor.clone(),
        api_socket: found.api_socket.clone().unwrap_or_default(),
        was_running,
        boot_id: process::boot_id().map_err(|e| Error::io("read", "/proc/sys/kernel/random/boot_id", &e))?,
        peer: vmm.peer().clone(),
    };
    let mut last = LastImage::of(stage.id(), vmm.peer())?;
    store.begin_image(&last)?;
    store.write_intent(&intent)?;
    let mut held = Held { store, stage, turn, vmm, intent, _process: process, handover };

    // A panic in here, in a driver or in the host's own callback, must not leave the guest paused.
    match guard(|| held.pause_and_write(&plan, &target, hm, &mut facts, call)) {
        Ok(paused) => {
            let memory = held.vmm.kept_memory();
            if was_running {
                if let Err(error) = held.resume() {
                    return Err(held.still_paused(&error, None));
                }
                facts.paused_ms = Some(milliseconds(paused));
            } else {
                // The image is whole; what the VMM was set up with is tried again by whoever captures it next.
                let _ = held.vmm.settle();
            }
            // A note that stays would only be read, and found to be of a VM that runs.
            let _ = held.store.clear_intent(held.stage.id());
            if let Some(handover) = held.handover.take() {
                handover.bring_home(&image, call.limit()).map_err(|error| error.about(&found.id))?;
            }
            // Without it, the next capture of a VM that stands here is refused, as if no image were known.
            last.standstill = held.vmm.standstill(call.limit()).ok().flatten();
            let (stage, turn, outside) = (held.stage, held.turn, plan.outside);
            Ok(Taken { stage, turn, facts, outside, memory, image: Some(last) })
        }
        Err(error) => Err(held.let_go(hm, error.about(&found.id))),
    }
}

/// Puts QEMU's command line beside its memory, where there is such a file.
pub(super) fn copy_qemu_config(found: &Found, root: Option<&Dir>, image: &Dir) -> Result<()> {
    if !matches!(found.hypervisor, HypervisorKind::Qemu | HypervisorKind::QemuMicrovm) {
        return Ok(());
    }
    let Some(config) = root.map(|root| root.read_if_any(QEMU_CONFIG)).transpose()?.flatten() else {
        return Ok(());
    };
    std::io::copy(&mut &config, &mut &image.create_new(QEMU_CONFIG)?)
        .map(drop)
        .map_err(|e| Error::io("write", image.join(QEMU_CONFIG), &e))
}

impl Held {
    /// The part in which the guest does not run. Nothing is done here that could be done before or after.
    fn pause_and_write(
        &mut self,
        plan: &Plan<'_>,
        target: &CaptureTarget<'_>,
        hm: &Hypeman,
        facts: &mut Capture,
        call: &mut Call<'_>,
    ) -> Result<Instant> {
        self.vmm.arm(target, call.limit())?;
        if self.intent.was_running {
            self.vmm.pause(call.limit())?;
        }
        let paused = Instant::now();
        let limit = call.limit().clone();
        let captured = self
            .vmm
            .capture(target, &limit, &mut |done, total| call.report(Phase::SavingMemory, done, total))?;
        facts.saving_memory_ms = Some(milliseconds(paused));
        facts.memory_format = Some(captured.memory_format.to_owned());
        facts.memory_file = captured.memory_file.map(|file| format!("{CAPTURE_DIRECTORY}/{file}"));
        let saved = Instant::now();
        plan.copy_written(hm.threads(), call)?;
        facts.copying_disks_ms = Some(milliseconds(saved));
        Ok(paused)
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
