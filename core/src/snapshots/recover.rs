//! What an opener does first: it finishes what dead openers left. Whoever holds the job lock of a snapshot lives, so
//! there are no clocks and no guesses; openers that live are not disturbed.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::call::{Call, Limit};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{self, Peer, RunState};
use crate::panic::guard;
use crate::store::Store;
use crate::store::intents::Intent;
use crate::store::journals::Purpose;
use crate::sys::lock::ByteLock;
use crate::sys::process;

/// For reaching a VMM that a dead opener had paused. A silent one is waited for in the background.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries to reach one that is silent: the first time, and the longest.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn recover(hm: &Hypeman) -> Result<()> {
    let store = hm.writable_store()?;
    for (id, intent) in store.intents()? {
        // What cannot be settled now is left to the next opener; it keeps no one from working.
        let _ = settle_left(hm, store, &id, intent);
    }
    for instance in store.journals()? {
        if let Some(_turn) = store.try_turn(&instance)? {
            // One that cannot be brought to its end now is tried again by its instance's next restore.
            if let Err(error) = recover_journal(store, &instance) {
                store.log().warning(&instance, || {
                    format!("the restore of instance {instance} that was cut off could not be brought to its end: {error}")
                });
            }
        }
    }
    store.clear_dead_notes()?;
    // Notes that stay say nothing.
    let _ = store.clear_dead_images();
    store.clear_dead_registration()?;
    store.clear_dead_stages()?;
    store.trim_changes()?;
    // Trash that cannot be emptied keeps no one from working.
    let _ = store.empty_trash();
    for id in store.jobs()? {
        if store.is_gone(&id) {
            // Whoever looks whether this id is being made must not take a job that finds nothing for its maker.
            if let Some(_job) = store.try_job(&id)? {
                store.end_job(&id)?;
            }
            continue;
        }
        // One whose owner lives is left to it when its turn comes.
        hm.jobs().start(store, &id)?;
    }
    Ok(())
}

/// Wakes the VM of `instance` if a dead opener left it paused. The caller has the turn.
pub(super) fn wake_instance(store: &Store, instance: &str) -> Result<()> {
    for (id, intent) in store.intents()? {
        let Some(intent) = intent.filter(|intent| intent.instance_id == instance) else { continue };
        if let Some(left) = Left::find(store, &id, intent)?
            && let Err(error) = left.settle(store, Call::default().timeout(PATIENCE).limit())
        {
            left.warn(store, &error);
        }
    }
    Ok(())
}

/// Brings the restore or fork of `instance` that a dead owner left to its end. The caller has the turn.
pub(super) fn recover_journal(store: &Store, instance: &str) -> Result<()> {
    match store.journal(instance)? {
        None => Ok(()),
        Some(journal) if journal.purpose == Purpose::Fork => super::fork::recover(store, &journal),
        Some(journal) => super::restore::exchange::recover(store, journal),
    }
}

/// Acts on one intent that an opener found, unless its owner lives.
fn settle_left(hm: &Hypeman, store: &Arc<Store>, id: &str, intent: Option<Intent>) -> Result<()> {
    let Some(intent) = intent else {
        let Some(_job) = store.try_job(id)? else { return Ok(()) };
        return store.clear_intent(id);
    };
    // Whoever has the turn now wakes the VM itself before it does anything else.
    let Some(turn) = store.try_turn(&intent.instance_id)? else { return Ok(()) };
    let Some(left) = Left::find(store, id, intent)? else { return Ok(()) };
    match left.settle(store, Call::default().timeout(PATIENCE).limit()) {
        Err(error) if will_pass(&error) => left.settle_later(hm, store, turn),
        Err(error) => left.warn(store, &error),
        Ok(()) => {}
    }
    Ok(())
}

/// Tells whether `error` is of a VMM that still does what it was told, or serves another client.
fn will_pass(error: &Error) -> bool {
    matches!(error.kind(), Kind::Timeout | Kind::Busy)
}

/// A VM that a dead opener had paused, or was about to.
struct Left {
    /// The snapshot that was being made, by which its note is found.
    id: String,
    intent: Intent,
    /// Held, so that two openers do not resume one VM at once.
    _job: ByteLock,
}

impl Left {
    /// `None` where its owner lives.
    fn find(store: &Store, id: &str, intent: Intent) -> Result<Option<Self>> {
        Ok(store.try_job(id)?.map(|job| Self { id: id.to_owned(), intent, _job: job }))
    }

    /// Lets the VM run again, and forgets its intent when it is as it was.
    fn settle(&self, store: &Store, limit: &Limit) -> Result<()> {
        let instance = &self.intent.instance_id;
        // The same VM may be another instance, too, and be captured as that.
        let _process = store.try_process_turn(&self.intent.peer)?.ok_or_else(|| {
            let why = format!("the VM of instance {instance} is being captured as another instance");
            Error::new(Kind::Busy, why).about(instance)
        })?;
        if guard(|| wake(&self.intent, limit))? {
            store.log().warning(instance, || {
                format!("resumed the VM of instance {instance}, which a program that ended in a capture had left paused")
            });
        }
        store.clear_intent(&self.id)
    }

    /// Has a thread of the handle wait for a VMM that is busy: there may be no opener after this one. Until then no one
    /// else captures the instance.
    fn settle_later(self, hm: &Hypeman, store: &Arc<Store>, turn: ByteLock) {
        let (until_done, done) = mpsc::channel();
        hm.await_rescue(done);
        let (theirs, closing) = (Arc::clone(store), hm.closing().clone());
        let work = move || {
            let _held: (ByteLock, mpsc::Sender<()>) = (turn, until_done);
            let mut pause = LOOK_AGAIN;
            loop {
                let attempt = Call::default().cancel(&closing).timeout(PATIENCE);
                match self.settle(&theirs, attempt.limit()) {
                    Err(error) if will_pass(&error) => {}
                    // The next opener tries.
                    Err(error) if error.kind() == Kind::Cancelled => return,
                    Err(error) => return self.warn(&theirs, &error),
                    Ok(()) => return,
                }
                let until = Instant::now() + pause;
                while Instant::now() < until && !closing.is_cancelled() {
                    thread::sleep(LOOK_AGAIN);
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        // Where there is no thread to be had, the next opener tries.
        let _ = thread::Builder::new().name("hypeman-resume".to_owned()).spawn(work);
    }

    fn warn(&self, store: &Store, error: &Error) {
        let instance = &self.intent.instance_id;
        store.log().warning(instance, || {
            format!("the VM of instance {instance}, which a program that ended in a capture had left paused, could not be resumed: {error}")
        });
    }
}

/// Lets the VM of a dead opener's intent run again, if it is still that VM and it ran before; tells whether it was
/// paused until now.
fn wake(intent: &Intent, limit: &Limit) -> Result<bool> {
    if !is_alive(&intent.boot_id, &intent.peer) {
        return Ok(false);
    }
    let mut vmm = hypervisor::connect(&intent.hypervisor, &intent.api_socket, limit)?;
    if *vmm.peer() != intent.peer {
        // Another VMM listens on the socket now; the one that was paused cannot be reached by anyone.
        return Ok(false);
    }
    if !vmm.is_as_we_left_it(limit)? {
        return Ok(false);
    }
    if !intent.was_running {
        return vmm.settle().map(|()| false);
    }
    vmm.settle_for_resume()?;
    if matches!(vmm.run_state(limit)?, RunState::Paused { .. }) {
        return vmm.resume().map(|()| true);
    }
    vmm.settle().map(|()| false)
}

/// Tells whether the VMM that was paused is still there. Where that cannot be found out just now, it counts as alive:
/// its VM would stay paused for ever if the note of it were forgotten.
pub(super) fn is_alive(boot_id: &str, peer: &Peer) -> bool {
    process::boot_id().map_or(true, |now| now == boot_id) && peer.lives().unwrap_or(true)
}
