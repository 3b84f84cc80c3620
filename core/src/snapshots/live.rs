//! Capturing a VM that has a VMM: the pause, and what must hold around it.
//!
//! ```text
//! everything that can be refused -> copies of what stands still -> intent on the disk
//!     -> pause -> memory -> disks -> resume -> intent gone
//! ```
//! Whatever fails after the intent, the VM is settled and resumed: by this call, by a thread of the handle when the
//! caller must not wait for the VMM, or by the next opener when this process dies.

use std::fs::File;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::disks::refuse_missed;
use super::last::copy_last;
use super::plan::{Extent, Plan};
use super::recover::is_alive;
use crate::call::{Call, Phase};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{CAPTURE_DIRECTORY, CaptureTarget, RunState, Vmm};
use crate::instances::Found;
use crate::store::Store;
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

const RESUME_TRIES: u32 = 5;
const RESUME_PAUSE: Duration = Duration::from_millis(20);

/// A VM from just before its pause until it runs again, with all that must outlive a caller that leaves.
struct Held {
    store: Arc<Store>,
    /// Where the VMM writes, if not into the stage. Gone before the stage, which has the way to it.
    handover: Option<Handover>,
    stage: Stage,
    turn: ByteLock,
    vmm: Box<dyn Vmm>,
    intent: Intent,
    /// The right to have this VMM write an image.
    _process: ByteLock,
}

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
    if let Some(name) = copy_last(&store, found, vmm.as_ref(), &place, call.limit())? {
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
        boot_id: process::boot_id()?,
        peer: vmm.peer().clone(),
    };
    let mut last = LastImage::of(stage.id(), vmm.peer())?;
    store.begin_image(&last)?;
    store.write_intent(&intent)?;
    let mut held = Held { store, stage, turn, vmm, intent, _process: process, handover };

    match held.pause_and_write(&plan, &target, hm, &mut facts, call) {
        Ok(paused) => {
            let memory = held.vmm.kept_memory();
            if was_running {
                if let Err(error) = resume(held.vmm.as_mut()) {
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

    /// Ends a failed capture: the VM runs again when this returns, or will when the VMM is done.
    ///
    /// A VMM does not stop a snapshot because its client went away, so a caller that cancelled, or whose time is up,
    /// is answered at once, and a thread waits for the VMM.
    fn let_go(mut self, hm: &Hypeman, error: Error) -> Error {
        if matches!(error.kind(), Kind::Cancelled | Kind::Timeout) {
            let thread = std::thread::Builder::new().name("hypeman-resume".to_owned());
            let parcel = Arc::new(std::sync::Mutex::new(Some(self)));
            let theirs = Arc::clone(&parcel);
            let (until_done, done) = mpsc::channel();
            hm.await_rescue(done);
            let spawned = thread.spawn(move || {
                let _until_done: mpsc::Sender<()> = until_done;
                let _ = crate::panic::guard(|| {
                    if let Some(mut held) = take(&theirs) {
                        // Where this fails, the intent stays for the next opener.
                        let freed = held.set_free();
                        held.tell(freed);
                    }
                    Ok(())
                });
            });
            // Ours to take back only if there is no thread that will.
            match spawned.is_err().then(|| take(&parcel)).flatten() {
                Some(held) => self = held,
                None => return error.note("the VM is resumed in the background as soon as its VMM is done"),
            }
        }
        match self.set_free() {
            Ok(()) => error,
            Err(why) => self.still_paused(&why, Some(&error)),
        }
    }

    /// Says how a VM fared whose caller has left.
    fn tell(&self, freed: Result<()>) {
        let instance = &self.intent.instance_id;
        match freed {
            Ok(()) => self.store.log().info(instance, || {
                format!("the VM of instance {instance} runs again after a capture that was given up")
            }),
            Err(error) => self.store.log().warning(instance, || {
                format!(
                    "the VM of instance {instance} is still paused after a capture that was given up: {error}"
                )
            }),
        }
    }

    /// Ends whatever the VMM still does for us, lets the guest run if it ran before, and forgets the intent.
    fn set_free(&mut self) -> Result<()> {
        let settled = self.vmm.settle();
        // Tried whatever became of the operation: the guest comes first.
        if self.intent.was_running {
            resume(self.vmm.as_mut())?;
        }
        settled?;
        self.store.clear_intent(self.stage.id())
    }

    /// The error for a VM that could not be resumed: that comes first. The intent stays for the next opener.
    fn still_paused(&self, why: &Error, earlier: Option<&Error>) -> Error {
        let Intent { instance_id, peer, boot_id, .. } = &self.intent;
        let earlier =
            earlier.map(|error| format!("; the capture had failed before: {error}")).unwrap_or_default();
        let message = if is_alive(boot_id, peer) {
            format!(
                "the VM of instance {instance_id} is still paused and could not be resumed: {why}; resume it through its VMM, or open the data directory anew{earlier}"
            )
        } else {
            let _ = self.store.clear_intent(self.stage.id());
            format!(
                "the VMM of instance {instance_id} (pid {}) ended during the capture: {why}{earlier}",
                peer.pid
            )
        };
        Error::new(Kind::Hypervisor, message).about(instance_id)
    }
}

/// Lets the guest run. A call of the kernel that fails here is tried again: the guest does not stay paused because
/// this process was out of descriptors for a moment.
fn resume(vmm: &mut dyn Vmm) -> Result<()> {
    let mut tries = RESUME_TRIES;
    loop {
        tries -= 1;
        match vmm.resume() {
            Err(error) if error.errno().is_some() && tries > 0 => std::thread::sleep(RESUME_PAUSE),
            done => return done,
        }
    }
}

fn take(parcel: &std::sync::Mutex<Option<Held>>) -> Option<Held> {
    parcel.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
