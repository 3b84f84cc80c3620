//! The QEMU driver over QMP: `stop`, `migrate` into a file that we opened, `cont`; `migrate-incoming` from one.
//!
//! No shell and no path: QEMU gets a descriptor, so it may run as another user, in a jail or in another mount
//! namespace. Every setting that a capture or a load needs is made just before it and given back after it, since the VM
//! has other users with migrations of their own.

mod capture;
mod client;
mod disks;
mod image;
mod load;
mod message;
mod prepare;
mod settings;
mod settle;
#[cfg(test)]
mod tests;
mod wire;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use self::capture::Armed;
use self::client::Qmp;
use self::message::Status;
use self::prepare::Plan;
use self::settings::Borrowed;
use super::{CaptureTarget, Captured, LoadSource, Peer, RunState, Vmm, WrittenDisk, patience};
use crate::call::Limit;
use crate::error::{Kind, Result};

/// How often a migration is looked at; an event tells its end sooner.
const POLL: Duration = Duration::from_millis(10);

/// A conversation with one QEMU.
#[derive(Debug)]
pub(super) struct Qemu {
    qmp: Qmp,
    /// What [`Vmm::prepare`] found.
    plan: Option<Plan>,
    /// What [`Vmm::arm`] set up.
    armed: Option<Armed>,
    /// What we changed in QEMU and have not given back yet.
    borrowed: Borrowed,
    /// A migration that we started may still be under way.
    migrating: bool,
}

impl Qemu {
    pub(super) fn connect(api_socket: &Path, limit: &Limit) -> Result<Self> {
        let qmp = Qmp::connect(api_socket, patience(0), limit)?;
        Ok(Self { qmp, plan: None, armed: None, borrowed: Borrowed::default(), migrating: false })
    }

    /// The run state, in QEMU's word.
    fn status(&mut self, limit: &Limit) -> Result<String> {
        Ok(self.qmp.ask::<Status>("query-status", json!({}), limit)?.status)
    }
}

impl Vmm for Qemu {
    fn version(&self) -> &str {
        self.qmp.version()
    }

    fn peer(&self) -> &Peer {
        self.qmp.peer()
    }

    fn run_state(&mut self, limit: &Limit) -> Result<RunState> {
        Ok(run_state_of(&self.status(limit)?))
    }

    fn prepare(&mut self, limit: &Limit) -> Result<()> {
        self.plan = Some(self.plan(limit)?);
        Ok(())
    }

    /// It gets descriptors.
    fn opens_paths(&self) -> bool {
        false
    }

    fn standstill(&mut self, limit: &Limit) -> Result<Option<String>> {
        self.last_migration(limit)
    }

    fn written_disks(&mut self, limit: &Limit) -> Result<Vec<WrittenDisk>> {
        self.disks_written(limit)
    }

    fn arm(&mut self, target: &CaptureTarget<'_>, limit: &Limit) -> Result<()> {
        self.armed = Some(self.arm_for(target, limit)?);
        Ok(())
    }

    fn is_as_we_left_it(&mut self, limit: &Limit) -> Result<bool> {
        self.has_our_mark(limit)
    }

    fn pause(&mut self, limit: &Limit) -> Result<()> {
        let _: Value = self.qmp.ask("stop", json!({}), limit)?;
        let status = self.status(limit)?;
        match run_state_of(&status) {
            RunState::Paused { .. } => Ok(()),
            // It shut down or met an error between our look and our stop.
            RunState::NotStarted | RunState::Running | RunState::Shutdown | RunState::Other => {
                let message = format!("the VM cannot be paused: QEMU says that it is {status}");
                Err(self.qmp.error(Kind::InvalidState, message))
            }
        }
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
        let path = self.qmp.path().display().to_string();
        self.let_run().map_err(|e| {
            e.context(format!(
                "the VM at {path} may still be paused; send `cont` to a QMP socket of it to let it run"
            ))
        })
    }

    fn load(
        &mut self,
        source: &LoadSource<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        self.load_from(source, limit, progress)
    }

    fn settle(&mut self) -> Result<()> {
        self.settle_down()?;
        self.give_all_back(&Limit::default())
    }

    fn settle_for_resume(&mut self) -> Result<()> {
        self.settle_down()
    }
}

/// What QEMU's run states are to us.
///
/// A guest in S3 sleep (`suspended`) is none that can be captured: a migration would end in `postmigrate`, where no
/// key press wakes it. `finish-migrate`, `save-vm` and their like are moments of someone else's operation.
fn run_state_of(status: &str) -> RunState {
    match status {
        "running" => RunState::Running,
        "paused" => RunState::Paused { after_capture: false },
        "postmigrate" => RunState::Paused { after_capture: true },
        "prelaunch" | "inmigrate" => RunState::NotStarted,
        "shutdown" => RunState::Shutdown,
        _ => RunState::Other,
    }
}
