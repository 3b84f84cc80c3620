//! `snapshots.fork`: a new instance of a snapshot, whose source need not be there any more.
//!
//! ```text
//! journal: building -> siblings on the disk -> journal: forward -> renamed into place -> registered -> journal gone
//! ```
//! The registration is what makes it an instance: whatever is killed before it leaves nothing, whatever after it, a whole
//! one. What is stored is only read.

mod plan;
mod recover;
#[cfg(test)]
mod tests;

use self::plan::Plan;
use super::memory::pin;
use super::restore::copy::Extent;
use super::restore::{self, compare, load, place};
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::Vmm;
use crate::instances::{Found, REGISTRY_PATIENCE, all};
use crate::store::Store;
use crate::store::journals::{Journal, Purpose, Step};
use crate::sys::dir::Dir;
use crate::types::{ForkSnapshot, HypervisorKind, Instance, InstanceState, RestoreTarget, Snapshot, new_id};

pub(super) use recover::recover;

pub(super) fn fork(
    hm: &Hypeman,
    snapshot_id: &str,
    request: &ForkSnapshot,
    mut call: Call<'_>,
) -> Result<Instance> {
    let store = hm.writable_store()?;
    request.check()?;
    let record = store.record(snapshot_id)?;
    let snapshot = &record.snapshot;
    let target = request.restore.target(&snapshot.kind)?;
    let _pin = pin(store, snapshot_id)?;
    let _first = store.restoring(snapshot_id)?;
    let id = new_id()?;
    let _turn = store.turn(&id, call.limit())?;
    let plan = Plan::make(store, &record, request, &id)?;
    let found = Found::registered(plan.registration.clone());
    check_name_is_free(store, &found.name)?;
    let mut vmm = match target {
        RestoreTarget::Running => Some(waiting(&found, &call)?),
        RestoreTarget::Standby | RestoreTarget::Stopped => None,
    };
    if target != RestoreTarget::Stopped {
        restore::check_pager(hm, &found, snapshot, &request.restore)?;
        restore::check(store, &found, snapshot, vmm.as_deref().map(Vmm::version), &request.restore)?;
        if let Some(vmm) = &vmm {
            load::check_served(hm, snapshot, vmm.as_ref(), &request.restore, &call)?;
        }
    }
    // What it is given, it needs no file of.
    let extent = match &vmm {
        Some(vmm) if load::is_given_memory(hm, &found, snapshot, vmm.as_ref())? => Extent::WithoutMemory,
        _ => Extent::of(target, &request.restore),
    };

    let mut journal = Journal {
        instance_id: id,
        purpose: Purpose::Fork,
        step: Step::Building,
        exchanges: plan.exchanges.clone(),
    };
    store.write_journal(&journal)?;
    let what = (target, extent);
    let placed = make(hm, snapshot, &plan, &mut journal, what, request, &mut call);
    let made = placed.and_then(|placed| match &mut vmm {
        None => Ok(placed),
        Some(vmm) => load::load(hm, &found, snapshot, vmm.as_mut(), &request.restore, &mut call).map(Some),
    });
    match made {
        Ok(generation) => {
            // It is there: a journal that stays is forgotten by the next opener.
            let _ = store.end_journal(&journal.instance_id);
            let state = match target {
                RestoreTarget::Running => InstanceState::Running,
                RestoreTarget::Standby => InstanceState::Standby,
                RestoreTarget::Stopped => InstanceState::Stopped,
            };
            Ok(Instance { generation, ..found.with_state(state) })
        }
        Err(error) => {
            // What cannot be undone now, the next opener undoes: without a registration there is no instance.
            let _ = undo(store, &journal);
            Err(error.about(snapshot_id))
        }
    }
}

/// Builds all, puts it into place and registers it. Returns which copy of the memory it has, if that is counted yet.
fn make(
    hm: &Hypeman,
    snapshot: &Snapshot,
    plan: &Plan,
    journal: &mut Journal,
    (target, extent): (RestoreTarget, Extent),
    request: &ForkSnapshot,
    call: &mut Call<'_>,
) -> Result<Option<u64>> {
    let store = hm.writable_store()?;
    let checksums = compare::lists(&snapshot.id, &store.snapshot_dir(&snapshot.id)?)?;
    let files = place::build(hm, snapshot, checksums.as_ref(), &plan.targets, journal, extent, call)?;
    call.check()?;
    // A load that fails leaves no instance, and so no copy: there it is counted when the guest is about to run.
    let generation = match target {
        RestoreTarget::Standby => {
            Some(store.next_generation(&snapshot.id, request.restore.duplicates, call.limit())?)
        }
        RestoreTarget::Running | RestoreTarget::Stopped => None,
    };
    if target != RestoreTarget::Stopped {
        place::remember(store, journal, snapshot, files, extent, generation)?;
    }
    journal.step = Step::Forward;
    store.write_journal(journal)?;
    for exchange in &journal.exchanges {
        let parent = Dir::open(&exchange.parent)?;
        parent.rename_new(&exchange.staged, &parent, &exchange.target).map_err(|error| {
            match error.errno() {
                Some(libc::EEXIST) => plan::taken(&parent.join(&exchange.target)),
                _ => error,
            }
        })?;
        store.durable().dir(&parent)?;
    }
    let patience = Call::default().timeout(REGISTRY_PATIENCE);
    let _registry = store.registry_lock(patience.limit())?;
    check_name_is_free(store, &plan.registration.name)?;
    store.write_registration(&plan.registration)?;
    Ok(generation)
}

fn undo(store: &Store, journal: &Journal) -> Result<()> {
    if store.is_registered(&journal.instance_id)? {
        let patience = Call::default().timeout(REGISTRY_PATIENCE);
        let _registry = store.registry_lock(patience.limit())?;
        store.remove_registration(&journal.instance_id)?;
    }
    recover(store, journal)
}

fn check_name_is_free(store: &Store, name: &str) -> Result<()> {
    let Some(other) = all(store)?.into_iter().find(|other| other.name == name) else { return Ok(()) };
    let why = format!("the name {name:?} is taken by instance {}; choose another name", other.id);
    Err(Error::new(Kind::Conflict, why).about(&other.id))
}

/// The conversation with the VMM that waits for the fork, and opens its disks only when it loads.
fn waiting(found: &Found, call: &Call<'_>) -> Result<Box<dyn Vmm>> {
    if !matches!(found.hypervisor, HypervisorKind::CloudHypervisor | HypervisorKind::Firecracker) {
        let why = format!(
            "{} opens its disks when it starts, and those of a fork are not there before: fork with target_state Standby, start it with the disks of the new instance, then restore the snapshot onto that with target_state Running",
            found.hypervisor
        );
        return Err(Error::new(Kind::InvalidRequest, why));
    }
    if found.api_socket.is_none() {
        let why = "a fork that is to run needs api_socket: the one of a VMM that waits for it";
        return Err(Error::new(Kind::InvalidRequest, why));
    }
    load::connect(found, call)
}
