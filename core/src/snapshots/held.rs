//! A VM that is held still, and how it is let go of, whatever has failed.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::recover::is_alive;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::Vmm;
use crate::panic::guard;
use crate::store::Store;
use crate::store::handover::Handover;
use crate::store::intents::Intent;
use crate::store::staging::Stage;
use crate::sys::lock::ByteLock;

const RESUME_TRIES: u32 = 5;
const RESUME_PAUSE: Duration = Duration::from_millis(20);

/// A VM from just before its pause until it runs again, with all that must outlive a caller that leaves.
pub(super) struct Held {
    pub(super) store: Arc<Store>,
    /// Where the VMM writes, if not into the stage. Gone before the stage, which has the way to it.
    pub(super) handover: Option<Handover>,
    pub(super) stage: Stage,
    pub(super) turn: ByteLock,
    pub(super) vmm: Box<dyn Vmm>,
    pub(super) intent: Intent,
    /// The right to have this VMM write an image.
    pub(super) _process: ByteLock,
}

impl Held {
    /// Lets the guest run. What fails at once is tried again: the guest does not stay paused because this process was out of
    /// descriptors for a moment, or a connection broke.
    pub(super) fn resume(&mut self) -> Result<()> {
        let mut tries = RESUME_TRIES;
        loop {
            tries -= 1;
            match guard(|| self.vmm.resume()) {
                Err(error) if error.kind() != Kind::Timeout && tries > 0 => thread::sleep(RESUME_PAUSE),
                done => return done,
            }
        }
    }

    /// Ends a failed capture: the VM runs again when this returns, or will when the VMM is done.
    ///
    /// A VMM does not stop a snapshot because its client went away, so a caller that cancelled, or whose time is up,
    /// is answered at once, and a thread waits for the VMM.
    pub(super) fn let_go(mut self, hm: &Hypeman, error: Error) -> Error {
        if matches!(error.kind(), Kind::Cancelled | Kind::Timeout) {
            let thread = thread::Builder::new().name("hypeman-resume".to_owned());
            let parcel = Arc::new(Mutex::new(Some(self)));
            let theirs = Arc::clone(&parcel);
            let (until_done, done) = mpsc::channel();
            hm.await_rescue(done);
            let spawned = thread.spawn(move || {
                let _until_done: mpsc::Sender<()> = until_done;
                let _ = guard(|| {
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
        if self.intent.was_running {
            let settled = guard(|| self.vmm.settle_for_resume());
            // Tried whatever became of the operation: the guest comes first.
            self.resume()?;
            settled?;
        } else {
            self.vmm.settle()?;
        }
        self.store.clear_intent(self.stage.id())
    }

    /// The error for a VM that could not be resumed: that comes first. The intent stays for the next opener.
    pub(super) fn still_paused(&self, why: &Error, earlier: Option<&Error>) -> Error {
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

fn take(parcel: &Mutex<Option<Held>>) -> Option<Held> {
    parcel.lock().unwrap_or_else(PoisonError::into_inner).take()
}
