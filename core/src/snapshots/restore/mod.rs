//! `instances.snapshots.restore`, in two steps, because a VMM opens its disks when it starts: the files are put into
//! place; then, once the host has started its VMM, the image is loaded and the guest goes on.

mod check;
pub(super) mod compare;
pub(super) mod compatible;
pub(super) mod copy;
pub(super) mod exchange;
pub(super) mod load;
pub(super) mod moved;
mod owners;
pub(super) mod place;

use self::compatible::Here;
use self::copy::Extent;
use super::memory::pin;
use super::recover::{recover_journal, wake_instance};
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::RunState;
use crate::instances::{Found, find, source};
use crate::store::Store;
use crate::types::{HypervisorKind, Instance, InstanceState, RestoreSnapshot, RestoreTarget, Snapshot};

pub(crate) fn restore(
    hm: &Hypeman,
    snapshot_id: &str,
    id: &str,
    request: &RestoreSnapshot,
    mut call: Call<'_>,
) -> Result<Instance> {
    let store = hm.writable_store()?;
    let snapshot = store.record(snapshot_id)?.snapshot;
    let target = request.target(&snapshot.kind)?;
    let found = find(store, id)?;
    let is_fork_of_it = found.forked_from.as_ref().is_some_and(|fork| fork.snapshot_id == snapshot.id);
    if snapshot.source_instance_id != found.id && !is_fork_of_it {
        let why = format!(
            "snapshot {snapshot_id} is of instance {}, not of {}; restore it there, or fork it",
            snapshot.source_instance_id, found.id
        );
        return Err(Error::new(Kind::InvalidRequest, why).about(snapshot_id));
    }

    let _turn = store.turn(&found.id, call.limit())?;
    wake_instance(store, &found.id)?;
    recover_journal(store, &found.id)?;
    let _pin = pin(store, snapshot_id)?;
    let found = find(store, &found.id)?;
    check_pager(hm, &found, &snapshot, request)?;
    let restored = match target {
        RestoreTarget::Standby | RestoreTarget::Stopped => {
            refuse_live(&found, &call)?;
            let generation = if target == RestoreTarget::Standby {
                check(store, &found, &snapshot, None, request)?;
                place::place(
                    hm,
                    &found,
                    &snapshot,
                    Extent::of(target, request),
                    request.duplicates,
                    &mut call,
                )?
            } else {
                place::place(hm, &found, &snapshot, Extent::WithoutImage, request.duplicates, &mut call)?
            };
            let state = if target == RestoreTarget::Standby {
                InstanceState::Standby
            } else {
                InstanceState::Stopped
            };
            Instance { generation, ..found.with_state(state) }
        }
        RestoreTarget::Running => {
            let waiting = with_socket(&found, request, &call)?;
            let mut vmm = load::connect(&waiting, &call)?;
            if !check::is_placed(store, &found, &snapshot, vmm.as_mut(), request, &call)? {
                check(store, &found, &snapshot, Some(vmm.version()), request)?;
                let is_given = load::is_given_memory(hm, &waiting, &snapshot, vmm.as_ref())?;
                let extent = if is_given {
                    Extent::WithoutMemory
                } else {
                    Extent::of(RestoreTarget::Running, request)
                };
                place_for_waiting(hm, &found, &snapshot, request, extent, &mut call)?;
            } else if !request.allow_incompatible {
                // This copy was counted when it was put into place.
                let here = Here { hypervisor: &found.hypervisor, version: Some(vmm.version()) };
                compatible::check(store, &snapshot, &here)?;
            }
            let generation = load::load(hm, &waiting, &snapshot, vmm.as_mut(), request, &mut call)?;
            Instance { generation: Some(generation), ..found.with_state(InstanceState::Running) }
        }
    };
    store.log().info(&restored.id, || {
        format!("restored instance {} from snapshot {snapshot_id} to {}", restored.id, restored.state)
    });
    Ok(restored)
}

/// Refuses what does not fit the host and the VMM of `found`, of `version` where it is there, or was handed out before
/// and must not be so again.
pub(super) fn check(
    store: &Store,
    found: &Found,
    snapshot: &Snapshot,
    version: Option<&str>,
    request: &RestoreSnapshot,
) -> Result<()> {
    store.check_duplicates(&snapshot.id, request.duplicates)?;
    if request.allow_incompatible {
        return Ok(());
    }
    compatible::check(store, snapshot, &Here { hypervisor: &found.hypervisor, version })
}

/// Puts the files into place under a VMM that waits for its VM, where it has opened none of them yet.
fn place_for_waiting(
    hm: &Hypeman,
    found: &Found,
    snapshot: &Snapshot,
    request: &RestoreSnapshot,
    extent: Extent,
    call: &mut Call<'_>,
) -> Result<()> {
    if !matches!(found.hypervisor, HypervisorKind::CloudHypervisor | HypervisorKind::Firecracker) {
        let why = format!(
            "the files of snapshot {} are not in place for instance {}, and {} opens its disks when it starts: end it, restore with target_state Standby, start it again, then restore with target_state Running",
            snapshot.id, found.id, found.hypervisor
        );
        return Err(Error::new(Kind::InvalidState, why).about(&found.id));
    }
    place::place(hm, found, snapshot, extent, request.duplicates, call).map(drop)
}

/// Memory that a pager serves is not put into place, so it must be the memory of this snapshot, for a VMM that asks.
pub(super) fn check_pager(
    hm: &Hypeman,
    found: &Found,
    snapshot: &Snapshot,
    request: &RestoreSnapshot,
) -> Result<()> {
    let Some(socket) = &request.uffd_socket else { return Ok(()) };
    if found.hypervisor != HypervisorKind::Firecracker {
        let why = format!("{} gets its memory from no uffd_socket; only firecracker does", found.hypervisor);
        return Err(Error::new(Kind::NotSupported, why).about(&found.id));
    }
    match hm.pagers().snapshot_at(socket) {
        Some(served) if served != snapshot.id => {
            let why = format!(
                "{} serves the memory of snapshot {served}, not of {}; give the socket of its own pager",
                socket.display(),
                snapshot.id
            );
            Err(Error::new(Kind::InvalidRequest, why).at(socket).about(&snapshot.id))
        }
        _ => Ok(()),
    }
}

/// A live guest writes to the files that would be replaced. A VMM that waits may have them open.
fn refuse_live(found: &Found, call: &Call<'_>) -> Result<()> {
    let state = source(found, call.limit())?.state;
    if matches!(state, InstanceState::Standby | InstanceState::Stopped) {
        return Ok(());
    }
    let why = format!(
        "cannot restore snapshot while source is {state}: end the VMM of instance {} first",
        found.id
    );
    Err(Error::new(Kind::InvalidState, why).about(&found.id))
}

/// The instance with the socket of the VMM that waits; no other VMM may run it.
fn with_socket(found: &Found, request: &RestoreSnapshot, call: &Call<'_>) -> Result<Found> {
    let mut waiting = found.clone();
    if let Some(socket) = &request.api_socket {
        if found.api_socket.as_ref() != Some(socket) {
            let state = source(found, call.limit())?;
            if !matches!(state.state, InstanceState::Standby | InstanceState::Stopped)
                && state.run_state != Some(RunState::NotStarted)
            {
                let why =
                    format!("instance {} is {} under its own VMM; end that first", found.id, state.state);
                return Err(Error::new(Kind::InvalidState, why).about(&found.id));
            }
        }
        waiting = waiting.at(socket.clone());
    }
    if waiting.api_socket.is_none() {
        let why = format!("instance {} has no API socket; name the one of the VMM that waits", found.id);
        return Err(Error::new(Kind::InvalidRequest, why).about(&found.id));
    }
    Ok(waiting)
}
