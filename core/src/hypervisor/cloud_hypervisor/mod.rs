//! The cloud-hypervisor driver over its HTTP API: `vm.pause`, `vm.snapshot` into a directory, `vm.resume`, `vm.restore`.
//!
//! cloud-hypervisor opens files by their paths, and does one request after the other: one that we gave up on is still
//! done, and an answer to any later one says that it has ended.

mod api;
mod capture;
mod disks;
mod image;
mod load;
mod message;
mod prepare;
mod relocate;
#[cfg(test)]
mod tests;

use std::path::Path;

use self::api::Api;
use self::load::Staging;
use self::prepare::Plan;
use super::full_disk::check_room;
use super::reach::{self, Access};
use super::{CaptureTarget, Captured, LoadSource, Peer, RunState, Vmm, WrittenDisk};
use crate::call::Limit;
use crate::error::{Kind, Result};

/// The program, for people.
const NAME: &str = "cloud-hypervisor";

/// A conversation with one cloud-hypervisor.
#[derive(Debug)]
pub(super) struct CloudHypervisor {
    api: Api,
    /// What [`Vmm::prepare`] found.
    plan: Option<Plan>,
    /// What a load that we gave up on may still read.
    staging: Option<Staging>,
}

impl CloudHypervisor {
    pub(super) fn connect(api_socket: &Path, limit: &Limit) -> Result<Self> {
        Ok(Self { api: Api::connect(api_socket, limit)?, plan: None, staging: None })
    }

    fn let_run(&mut self) -> Result<()> {
        let limit = Limit::default();
        // Asked first, and whatever is told: a pause whose answer was lost may have been done or not.
        if self.run_state(&limit)? == RunState::Running {
            return Ok(());
        }
        self.api.act("vm.resume", None, &limit)?;
        match self.api.info(&limit)? {
            Some(info) if info.run_state() == RunState::Running => Ok(()),
            Some(info) => {
                let message = format!("{NAME} says that it is {}", info.state);
                Err(self.api.error(Kind::InvalidState, message))
            }
            None => {
                Err(self.api.error(Kind::InvalidState, format!("{NAME} says that it has no VM any more")))
            }
        }
    }
}

impl Vmm for CloudHypervisor {
    fn version(&self) -> &str {
        self.api.version()
    }

    fn peer(&self) -> &Peer {
        self.api.peer()
    }

    fn run_state(&mut self, limit: &Limit) -> Result<RunState> {
        Ok(self.api.info(limit)?.map_or(RunState::NotStarted, |info| info.run_state()))
    }

    fn prepare(&mut self, limit: &Limit) -> Result<()> {
        self.plan = Some(self.plan(limit)?);
        Ok(())
    }

    fn check_reach(&self, target: &CaptureTarget<'_>) -> Result<()> {
        let directory = (target.directory, target.directory_fd);
        reach::check(NAME, self.api.peer(), directory, target.seen_as, Access::Write)?;
        let Some(plan) = &self.plan else { return Ok(()) };
        plan.check_landlock(target.seen_as)?;
        check_room(NAME, target, if plan.is_dense { plan.memory_bytes } else { 0 })
    }

    fn written_disks(&mut self, limit: &Limit) -> Result<Vec<WrittenDisk>> {
        self.disks_written(limit)
    }

    fn pause(&mut self, limit: &Limit) -> Result<()> {
        self.api.act("vm.pause", None, limit)
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
        let path = self.api.path().display().to_string();
        self.let_run().map_err(|e| {
            e.context(format!(
                "the VM at {path} may still be paused; send `PUT /api/v1/vm.resume` to its API socket to let it run"
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
        self.api.wait_for_turn()?;
        self.staging = None;
        Ok(())
    }
}
