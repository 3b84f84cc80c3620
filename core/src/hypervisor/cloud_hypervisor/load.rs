//! Loading a snapshot into a cloud-hypervisor that has no VM.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::capture::MEMORY_FORMAT;
use super::image::{CONFIG, Image, MEMORY, MemoryAt, STATE};
use super::{CloudHypervisor, NAME, relocate};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::reach::{self, Access};
use crate::hypervisor::{LOAD_DIRECTORY, LoadSource, MemoryBackend, Peer, RunState, Vmm};
use crate::sys::dir::Dir;
use crate::sys::disk::give_to;

/// The first release that restores memory on demand.
const ON_DEMAND_SINCE: u32 = 52;

impl CloudHypervisor {
    pub(super) fn load_from(
        &mut self,
        source: &LoadSource<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let (on_demand, pager) = match source.memory {
            MemoryBackend::File => (false, None),
            MemoryBackend::OnDemand => (self.api.major() >= ON_DEMAND_SINCE, None),
            MemoryBackend::Uffd(socket) => (false, Some(socket)),
        };
        if let Some(format) = source.memory_format.filter(|format| *format != MEMORY_FORMAT) {
            let message = format!("{NAME} does not load memory in the form {format}");
            return Err(Error::new(Kind::Incompatible, message).at(source.directory));
        }
        if self.api.info(limit)?.is_some() {
            let message =
                format!("this {NAME} has a VM already; start one with an --api-socket and nothing else");
            return Err(self.api.error(Kind::InvalidState, message));
        }
        let place = (source.directory, source.directory_fd);
        reach::check(NAME, self.api.peer(), place, source.seen_as, Access::Read)?;
        let given = self.given.take();
        let memory = match (&given, pager) {
            (_, Some(_)) => MemoryAt::Served,
            (Some(file), None) => MemoryAt::Given(file),
            (None, None) => MemoryAt::File,
        };
        let image = Image::open(source.directory, source.directory_fd, memory)?;
        self.api.expect_memory(image.memory_bytes);
        let mut config = image.config.clone();
        relocate::paths(&mut config, source.moved)?;
        relocate::networks(&mut config, source.network_overrides)?;

        if let Some(pager) = pager {
            progress(0, image.memory_bytes)?;
            self.send_served(source, &config, pager, limit).map_err(busy_or)?;
            return self.check_loaded(&image, limit, progress);
        }
        if let Some(memory) = given {
            progress(0, image.memory_bytes)?;
            self.send(source, &config, &memory, limit).map_err(busy_or)?;
            return self.check_loaded(&image, limit, progress);
        }
        let mut directory = source.seen_as.to_owned();
        if config != image.config {
            let staging = Staging::make(source, self.api.peer(), &config)?;
            directory = staging.seen_as();
            self.staging = Some(staging);
        }
        let mut request =
            json!({ "source_url": format!("file://{}", directory.display()), "prefault": false });
        if on_demand {
            request["memory_restore_mode"] = "OnDemand".into();
        }
        progress(0, image.memory_bytes)?;
        let restored = self.api.act("vm.restore", Some(&request), limit).map_err(busy_or);
        match &restored {
            // cloud-hypervisor goes on: settling, or the end of this conversation, takes the files away.
            Err(error) if matches!(error.kind(), Kind::Cancelled | Kind::Timeout) => {}
            _ => self.staging = None,
        }
        restored?;
        self.check_loaded(&image, limit, progress)
    }

    fn check_loaded(
        &mut self,
        image: &Image,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        match self.run_state(limit)? {
            RunState::Paused { .. } => progress(image.memory_bytes, image.memory_bytes),
            state => {
                let message = format!("{NAME} has loaded the VM, but it is {state:?} instead of paused");
                Err(self.api.error(Kind::Hypervisor, message))
            }
        }
    }
}

/// `busy` where a disk of the VM is another one's.
fn busy_or(error: Error) -> Error {
    if error.kind() != Kind::Hypervisor || !error.message().contains("holds a lock") {
        return error;
    }
    let path = error.path().map(ToOwned::to_owned).unwrap_or_default();
    Error::new(Kind::Busy, error.message()).at(path).note("stop that VM, or give this one disks of its own")
}

/// A snapshot with another configuration: a directory beside it, whose other files are links. Removed when dropped.
#[derive(Debug)]
pub(super) struct Staging {
    parent: Dir,
    name: String,
    seen_as: PathBuf,
}

impl Staging {
    fn make(source: &LoadSource<'_>, peer: &Peer, config: &Value) -> Result<Self> {
        let snapshot = source.directory;
        let (Some(parent), Some(seen_parent)) = (snapshot.parent(), source.seen_as.parent()) else {
            let message = format!("{} has no directory around it", snapshot.display());
            return Err(Error::new(Kind::InvalidRequest, message).at(snapshot));
        };
        // A VMM loads once: a directory of this name is of a dead process whose pid came back.
        let name = format!("{LOAD_DIRECTORY}{}", peer.pid);
        let made = Self { parent: Dir::open(parent)?, seen_as: seen_parent.join(&name), name };
        made.remove();
        let directory = made.parent.make_dir(&made.name)?;
        for name in [STATE, MEMORY] {
            directory.symlink(&source.seen_as.join(name), Path::new(name))?;
        }
        let mut written = &directory.create_new(CONFIG)?;
        std::io::copy(&mut config.to_string().as_bytes(), &mut written)
            .map_err(|e| Error::io("write", directory.join(CONFIG), &e))?;
        let outer = made.parent.to_file()?;
        for given in [written, &directory.to_file()?] {
            give_to(peer.uid, given, &outer).map_err(|e| Error::io("give the VMM", directory.path(), &e))?;
        }
        Ok(made)
    }

    /// Its path as cloud-hypervisor sees it.
    fn seen_as(&self) -> PathBuf {
        self.seen_as.clone()
    }

    fn remove(&self) {
        // What cannot be removed now is removed before the next load.
        let _ = self.parent.remove_tree(&self.name);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.remove();
    }
}
