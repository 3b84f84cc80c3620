//! The driver for the vendor's shim around Apple's Virtualization framework: one process for each VM, HTTP on its
//! control socket, refusals in plain text.
//!
//! Guest memory is inside Apple's own file, where it does not shrink: no memory file, and so no compression. The shim
//! serves several requests at once, and may answer before what it was told is done: `vm.info` tells.

mod capture;
mod control;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use self::control::State;
use super::http::Client;
use super::reach::{self, Access};
use super::{CaptureTarget, Captured, LoadSource, Peer, RunState, Vmm, patience};
use crate::call::Limit;
use crate::error::{Kind, Result};

/// The program, for people.
const NAME: &str = "vz shim";

/// The file of Apple's, and the shim's own that names it.
const STATE_FILE: &str = "machine-state.vzm";
const MANIFEST_FILE: &str = "config.json";

/// A conversation with one shim.
#[derive(Debug)]
pub(super) struct Vz {
    client: Client,
    /// How long the VM may be on its way to another state, but for saving.
    patience: Duration,
}

impl Vz {
    pub(super) fn connect(api_socket: &Path, limit: &Limit) -> Result<Self> {
        let client = Client::connect(NAME, api_socket, patience(0), limit)?;
        let made = Self { client, patience: Duration::from_secs(10) };
        made.ping(limit)?;
        Ok(made)
    }
}

impl Vmm for Vz {
    /// None: the shim does not tell.
    fn version(&self) -> &str {
        ""
    }

    fn peer(&self) -> &Peer {
        self.client.peer()
    }

    fn run_state(&mut self, limit: &Limit) -> Result<RunState> {
        Ok(match self.state(limit)? {
            State::Running => RunState::Running,
            State::Paused => RunState::Paused { after_capture: false },
            State::Shutdown => RunState::Shutdown,
            State::Pausing | State::Resuming | State::Saving | State::Other => RunState::Other,
        })
    }

    /// Whether a VM can be saved, the shim tells only when it is told to.
    fn prepare(&mut self, limit: &Limit) -> Result<()> {
        self.ping(limit)
    }

    fn check_reach(&self, target: &CaptureTarget<'_>) -> Result<()> {
        let directory = (target.directory, target.directory_fd);
        reach::check(NAME, self.peer(), directory, target.seen_as, Access::Write)
    }

    fn pause(&mut self, limit: &Limit) -> Result<()> {
        self.put("vm.pause", None, limit)?;
        self.arrive(State::Paused, &[State::Running, State::Pausing], limit)
    }

    fn capture(
        &mut self,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Captured> {
        self.capture_to(target, limit, progress)
    }

    fn resume(&mut self) -> Result<()> {
        self.let_run().map_err(|e| {
            e.context(format!(
                "the VM at {} may still be paused; send PUT /api/v1/vm.resume to that socket to let it run",
                self.client.path().display()
            ))
        })
    }

    fn loads_at_start(&self) -> bool {
        true
    }

    fn load(
        &mut self,
        source: &LoadSource<'_>,
        limit: &Limit,
        _progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        // One that was started with an image stands at its first instruction.
        if self.state(limit)? == State::Paused {
            return Ok(());
        }
        let message = format!(
            "a vz shim loads only as it starts: start one with the shim_config of {} and its \
             restore_machine_state_path set to {}, then restore again",
            source.directory.join(MANIFEST_FILE).display(),
            source.directory.join(STATE_FILE).display()
        );
        Err(self.client.error(Kind::NotSupported, message))
    }

    fn settle(&mut self) -> Result<()> {
        self.rest(&Limit::default()).map(drop)
    }
}
