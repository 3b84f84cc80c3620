//! What an opener does first: it finishes what dead openers left. Whoever holds the job lock of a snapshot lives, so
//! there are no clocks and no guesses; openers that live are not disturbed.

use std::time::Duration;

use crate::call::Call;
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::hypervisor::{self, Peer, RunState};
use crate::store::Store;
use crate::store::intents::Intent;
use crate::store::journals::Purpose;
use crate::sys::process;

/// For reaching a VMM that a dead opener had paused. A silent one is left to the opener after us.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn recover(hm: &Hypeman) -> Result<()> {
    let store = hm.writable_store()?;
    for (id, intent) in store.intents()? {
        let instance = intent.as_ref().map(|intent| intent.instance_id.clone());
        // Whoever has the turn now wakes the VM itself before it does anything else.
        let turn = instance.map(|instance| store.try_turn(&instance));
        // What cannot be settled now is left to the next opener; it keeps no one from working.
        if !matches!(turn, Some(Ok(None) | Err(_))) {
            let _ = settle_intent(store, &id, intent);
        }
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
        if intent.as_ref().is_some_and(|intent| intent.instance_id == instance) {
            settle_intent(store, &id, intent)?;
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

/// Acts on one intent, unless its owner lives, and forgets it when the VM is as it was.
fn settle_intent(store: &Store, id: &str, intent: Option<Intent>) -> Result<()> {
    // Held, so that two openers do not resume one VM at once.
    let Some(_job) = store.try_job(id)? else { return Ok(()) };
    let Some(intent) = intent else { return store.clear_intent(id) };
    let instance = &intent.instance_id;
    match wake(&intent) {
        Ok(woken) => {
            if woken {
                store.log().warning(instance, || {
                    format!("resumed the VM of instance {instance}, which a program that ended in a capture had left paused")
                });
            }
            store.clear_intent(id)
        }
        Err(error) => {
            store.log().warning(instance, || {
                format!("the VM of instance {instance}, which a program that ended in a capture had left paused, could not be resumed: {error}")
            });
            Ok(())
        }
    }
}

/// Lets the VM of a dead opener's intent run again, if it is still that VM and it ran before; tells whether it was
/// paused until now.
fn wake(intent: &Intent) -> Result<bool> {
    if !is_alive(&intent.boot_id, &intent.peer) {
        return Ok(false);
    }
    let call = Call::default().timeout(PATIENCE);
    let mut vmm = hypervisor::connect(&intent.hypervisor, &intent.api_socket, call.limit())?;
    if *vmm.peer() != intent.peer {
        // Another VMM listens on the socket now; the one that was paused cannot be reached by anyone.
        return Ok(false);
    }
    if !vmm.is_as_we_left_it(call.limit())? {
        return Ok(false);
    }
    vmm.settle()?;
    if intent.was_running && matches!(vmm.run_state(call.limit())?, RunState::Paused { .. }) {
        vmm.resume()?;
        return Ok(true);
    }
    Ok(false)
}

/// Tells whether the VMM that was paused is still there. Where that cannot be found out just now, it counts as alive:
/// its VM would stay paused for ever if the note of it were forgotten.
pub(super) fn is_alive(boot_id: &str, peer: &Peer) -> bool {
    process::boot_id().map_or(true, |now| now == boot_id)
        && match process::start_ticks(peer.pid) {
            Ok(start) => start == peer.start_ticks,
            Err(error) => !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)),
        }
}
