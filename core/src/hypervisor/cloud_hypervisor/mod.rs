//! The cloud-hypervisor driver over its HTTP API: `vm.pause`, `vm.snapshot` into a directory, `vm.resume`, `vm.restore`.
//!
//! Where guest memory is wanted rather than a file of it, by its migration protocol: `migration/`.
//!
//! cloud-hypervisor opens files by their paths, and does one request after the other: one that we gave up on is still
//! done, and an answer to any later one says that it has ended.

mod api;
mod capture;
mod disks;
mod image;
mod load;
mod message;
mod migration;
mod prepare;
mod relocate;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::api::Api;
use self::image::CONFIG;
use self::load::Staging;
use self::migration::Handover;
use self::prepare::Plan;
use super::full_disk::check_room;
use super::reach::{self, Access};
use super::{CAPTURE_DIRECTORY, CaptureTarget, Captured, LoadSource, Peer, RunState, Vmm, WrittenDisk};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::sys::dir::Dir;

/// The program, for people.
const NAME: &str = "cloud-hypervisor";

/// Rewrites the configuration of the image in the instance directory `instance`, if there is one.
pub(super) fn relocate(instance: &Dir, moved: &[(PathBuf, PathBuf)]) -> Result<()> {
    let Some(image) = instance.dir_if_any(CAPTURE_DIRECTORY)? else { return Ok(()) };
    if image.stat(CONFIG)?.is_none() {
        return Ok(());
    }
    let (path, text) = image::read(image.path(), &image.to_file()?, CONFIG)?;
    let mut config: Value = serde_json::from_slice(&text).map_err(|e| image::unreadable(&path, &e))?;
    relocate::paths(&mut config, moved)?;
    image.unlink(CONFIG)?;
    let text = config.to_string();
    image.create_new(CONFIG)?.write_all(text.as_bytes()).map_err(|e| Error::io("write", path, &e))
}

/// The ranges of guest-physical addresses in the memory file in `image`, in its order: (address, bytes).
pub(super) fn memory_ranges(image: &Dir) -> Result<Vec<(u64, u64)>> {
    let (path, state) = image::read(image.path(), &image.to_file()?, image::STATE)?;
    let memory = image::GuestMemory::parse(&state).map_err(|e| image::unreadable(&path, &e))?;
    Ok(memory.ranges.into_iter().map(|range| (range.gpa, range.length)).collect())
}

/// A conversation with one cloud-hypervisor.
#[derive(Debug)]
pub(super) struct CloudHypervisor {
    api: Api,
    /// What [`Vmm::prepare`] found.
    plan: Option<Plan>,
    /// What a load that we gave up on may still read.
    staging: Option<Staging>,
    /// Whether memory is to be kept for [`Vmm::kept_memory`] where that can be done.
    keeps_memory: bool,
    /// Whether the process at the other end outlives a migration.
    outlives: fn(&Peer) -> bool,
    /// A migration to us that may not have ended.
    is_migrating: bool,
    handover: Option<Handover>,
    /// What a capture kept of guest memory.
    kept: Option<File>,
    /// Memory for the next load.
    given: Option<File>,
}

impl CloudHypervisor {
    pub(super) fn connect(api_socket: &Path, limit: &Limit) -> Result<Self> {
        let api = Api::connect(api_socket, limit)?;
        Ok(Self {
            api,
            plan: None,
            staging: None,
            keeps_memory: false,
            outlives: migration::outlives,
            is_migrating: false,
            handover: None,
            kept: None,
            given: None,
        })
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

    fn keep_memory(&mut self) {
        self.keeps_memory = true;
    }

    fn kept_memory(&mut self) -> Option<File> {
        self.kept.take()
    }

    fn arm(&mut self, target: &CaptureTarget<'_>, limit: &Limit) -> Result<()> {
        if self.keeps_memory { self.begin_handover(target, limit) } else { Ok(()) }
    }

    fn written_disks(&mut self, limit: &Limit) -> Result<Vec<WrittenDisk>> {
        self.disks_written(limit)
    }

    fn pause(&mut self, limit: &Limit) -> Result<()> {
        if self.handover.is_some() {
            return self.freeze(limit);
        }
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

    fn takes_memory(&self, directory: &Path) -> Result<bool> {
        self.takes_memory_of(directory)
    }

    fn give_memory(&mut self, memory: File) {
        self.given = Some(memory);
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
        (self.handover, self.kept) = (None, None);
        self.wait_for_end(&Limit::default())?;
        Ok(())
    }
}
