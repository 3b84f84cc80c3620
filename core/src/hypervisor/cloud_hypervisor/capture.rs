//! Writing the paused guest's memory and device state into a directory.

use std::time::{Duration, Instant};

use serde_json::json;

use super::image::{CONFIG, Image, MEMORY, MemoryAt, STATE};
use super::{CloudHypervisor, NAME};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::full_disk::no_space_or;
use crate::hypervisor::{CaptureTarget, Captured};
use crate::sys::disk;

/// How the memory file is arranged.
pub(super) const MEMORY_FORMAT: &str = "cloud-hypervisor-ranges";

/// How often the growing memory file is looked at.
const LOOK: Duration = Duration::from_millis(100);

impl CloudHypervisor {
    pub(super) fn capture_to(
        &mut self,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Captured> {
        if let Some(handover) = self.handover.take() {
            return self.receive(handover, target, limit, progress);
        }
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => self.plan(limit)?,
        };
        let destination = json!({ "destination_url": format!("file://{}", target.seen_as.display()) });
        let mut looked = Instant::now();
        let mut look = || {
            if looked.elapsed() < LOOK {
                return Ok(());
            }
            looked = Instant::now();
            // What takes space, since the file has its full size from the first moment.
            let written = disk::allocated_bytes(target.directory_fd, MEMORY).unwrap_or(0);
            progress(written.min(plan.memory_bytes), plan.memory_bytes)
        };
        self.api
            .act_meanwhile("vm.snapshot", Some(&destination), limit, &mut look)
            .map_err(|error| no_space_or(error, target, MEMORY))?;
        for name in [CONFIG, STATE, MEMORY] {
            let path = target.directory.join(name);
            disk::take_written(target.directory_fd, name)
                .map_err(|e| Error::io("open what cloud-hypervisor wrote to", path, &e))?;
        }
        Image::open(target.directory, target.directory_fd, MemoryAt::File).map_err(half_written)?;
        progress(plan.memory_bytes, plan.memory_bytes)?;
        Ok(Captured { memory_file: Some(MEMORY), memory_format: MEMORY_FORMAT })
    }
}

/// A snapshot that is damaged as soon as it is made is the fault of who made it.
fn half_written(error: Error) -> Error {
    if error.kind() != Kind::Corrupt {
        return error;
    }
    let path = error.path().map(ToOwned::to_owned).unwrap_or_default();
    let message = format!("{NAME} reports success, but its snapshot is not whole: {}", error.message());
    Error::new(Kind::Hypervisor, message).at(path)
}
