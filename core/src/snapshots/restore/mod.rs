//! `instances.snapshots.restore`, in two steps, because a VMM opens its disks when it starts: the files are put into
//! place; then, once the host has started its VMM, the image is loaded and the guest goes on.

mod check;
mod compare;
mod copy;
mod exchange;
mod load;
mod place;

use super::recover::wake_instance;
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::RunState;
use crate::instances::{Found, find, source};
use crate::store::Store;
use crate::types::{HypervisorKind, Instance, InstanceState, RestoreSnapshot, RestoreTarget, Snapshot};

pub(super) use exchange::recover;

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
    if snapshot.source_instance_id != found.id {
        let why = format!(
            "snapshot {snapshot_id} is of instance {}, not of {}; restore it there",
            snapshot.source_instance_id, found.id
        );
        return Err(Error::new(Kind::InvalidRequest, why).about(snapshot_id));
    }

    let _turn = store.turn(&found.id, call.limit())?;
    wake_instance(store, &found.id)?;
    recover(store, &found.id)?;
    let Some(_pin) = store.try_read(snapshot_id)? else {
        let why = format!("snapshot {snapshot_id} is being changed; try again");
        return Err(Error::new(Kind::Busy, why).about(snapshot_id));
    };
    let found = find(store, &found.id)?;
    match target {
        RestoreTarget::Standby | RestoreTarget::Stopped => {
            refuse_live(&found, &call)?;
            place::place(hm, &found, &snapshot, target, &mut call)?;
            let state = if target == RestoreTarget::Standby {
                InstanceState::Standby
            } else {
                InstanceState::Stopped
            };
            Ok(found.with_state(state))
        }
        RestoreTarget::Running => {
            let waiting = with_socket(&found, request)?;
            let mut vmm = load::connect(&waiting, &call)?;
            check::compatible(store, &snapshot, vmm.as_ref(), request)?;
            if !check::is_placed(store, &found, &snapshot, vmm.as_mut(), &call)? {
                place_for_waiting(hm, store, &found, &snapshot, &mut call)?;
            }
            load::load(hm, &waiting, &snapshot, vmm.as_mut(), request, &mut call)?;
            Ok(found.with_state(InstanceState::Running))
        }
    }
}

/// Puts the files into place under a VMM that waits for its VM, where it has opened none of them yet.
fn place_for_waiting(
    hm: &Hypeman,
    store: &Store,
    found: &Found,
    snapshot: &Snapshot,
    call: &mut Call<'_>,
) -> Result<()> {
    if !matches!(found.hypervisor, HypervisorKind::CloudHypervisor | HypervisorKind::Firecracker) {
        let why = format!(
            "the files of snapshot {} are not in place for instance {}, and {} opens its disks when it starts: end it, restore with target_state Standby, start it again, then restore with target_state Running",
            snapshot.id, found.id, found.hypervisor
        );
        return Err(Error::new(Kind::InvalidState, why).about(&found.id));
    }
    debug_assert_eq!(store.path(), hm.data_dir());
    place::place(hm, found, snapshot, RestoreTarget::Standby, call)
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
fn with_socket(found: &Found, request: &RestoreSnapshot) -> Result<Found> {
    let mut waiting = found.clone();
    if let Some(socket) = &request.api_socket {
        if !socket.is_absolute() {
            let why = format!("api_socket must be an absolute path, got {:?}", socket.display());
            return Err(Error::new(Kind::InvalidRequest, why).at(socket));
        }
        if found.api_socket.as_ref() != Some(socket) {
            let state = source(found, Call::default().limit())?;
            if !matches!(state.state, InstanceState::Standby | InstanceState::Stopped)
                && state.run_state != Some(RunState::NotStarted)
            {
                let why =
                    format!("instance {} is {} under its own VMM; end that first", found.id, state.state);
                return Err(Error::new(Kind::InvalidState, why).about(&found.id));
            }
        }
        waiting.api_socket = Some(socket.clone());
    }
    if waiting.api_socket.is_none() {
        let why = format!("instance {} has no API socket; name the one of the VMM that waits", found.id);
        return Err(Error::new(Kind::InvalidRequest, why).about(&found.id));
    }
    Ok(waiting)
}
