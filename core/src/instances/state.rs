//! What an instance does: always asked, never remembered.

use std::time::Duration;

use super::find::Found;
use crate::call::{Call, Limit};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{self, CAPTURE_DIRECTORY, RunState, Vmm};
use crate::store::Store;
use crate::types::InstanceState;

/// A state, and the conversation with the VMM that told it, where there is one.
pub(crate) struct Source {
    pub(crate) state: InstanceState,
    /// The VMM's own word, which has more shades than the API's.
    pub(crate) run_state: Option<RunState>,
    pub(crate) vmm: Option<Box<dyn Vmm>>,
}

/// A VMM that does not say what it does within this time is Unknown.
const PATIENCE: Duration = Duration::from_millis(2500);

/// The state of `found`, for showing.
pub(super) fn state(store: &Store, found: &Found) -> InstanceState {
    // Its VMM may serve one client only, and that is the one who captures it now.
    if store.is_turn_taken(&found.id).is_ok_and(|taken| taken) {
        return InstanceState::Unknown;
    }
    let call = Call::default().timeout(PATIENCE);
    source(found, call.limit()).map_or(InstanceState::Unknown, |source| source.state)
}

/// Asks the VMM of `found` what its VM does. No VMM means Standby or Stopped (upstream.md 2.2).
pub(crate) fn source(found: &Found, limit: &Limit) -> Result<Source> {
    let asleep = |state| Source { state, run_state: None, vmm: None };
    let Some(socket) = found.api_socket.as_deref() else { return Ok(asleep(without_vmm(found))) };
    match socket.symlink_metadata() {
        Ok(_) => {}
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(asleep(without_vmm(found)));
        }
        // A socket that cannot be looked at may well have a running VM behind it.
        Err(e) => return Err(Error::io("look at the API socket", socket, &e).about(&found.id)),
    }
    let mut vmm = match hypervisor::connect(&found.hypervisor, socket, limit) {
        Ok(vmm) => vmm,
        Err(error) if error.kind() == Kind::InvalidState => return Ok(asleep(without_vmm(found))),
        Err(error) => return Err(error.about(&found.id)),
    };
    let run_state = vmm.run_state(limit).map_err(|error| error.about(&found.id))?;
    let state = match run_state {
        RunState::NotStarted => InstanceState::Created,
        RunState::Running if is_initializing(found) => InstanceState::Initializing,
        RunState::Running => InstanceState::Running,
        RunState::Paused { .. } => InstanceState::Paused,
        RunState::Shutdown => InstanceState::Shutdown,
        RunState::Other => InstanceState::Unknown,
    };
    Ok(Source { state, run_state: Some(run_state), vmm: Some(vmm) })
}

/// The vendor's server calls a guest Initializing until its program and, unless skipped, its agent have started.
fn is_initializing(found: &Found) -> bool {
    found.server.as_deref().is_some_and(|(metadata, _)| {
        metadata.program_started_at.is_none()
            || (metadata.guest_agent_ready_at.is_none() && !metadata.skip_guest_agent)
    })
}

fn without_vmm(found: &Found) -> InstanceState {
    let image = found.directory.as_ref().map(|directory| directory.join(CAPTURE_DIRECTORY));
    let has_image =
        image.and_then(|image| image.read_dir().ok()).is_some_and(|mut entries| entries.next().is_some());
    if has_image { InstanceState::Standby } else { InstanceState::Stopped }
}
