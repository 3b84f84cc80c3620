//! Writing the paused guest's memory and device state into a directory.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use serde_json::json;

use super::image::{Image, MEMORY};
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
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => self.plan(limit)?,
        };
        let destination = json!({ "destination_url": format!("file://{}", target.directory.display()) });
        let mut looked = Instant::now();
        let mut look = || {
            if looked.elapsed() < LOOK {
                return Ok(());
            }
            looked = Instant::now();
            progress(written_bytes(target.directory_fd).min(plan.memory_bytes), plan.memory_bytes)
        };
        self.api
            .act_meanwhile("vm.snapshot", Some(&destination), limit, &mut look)
            .map_err(|error| no_space_or(error, target, MEMORY))?;
        let image = Image::open(target.directory, target.directory_fd).map_err(half_written)?;
        image.make_private()?;
        progress(plan.memory_bytes, plan.memory_bytes)?;
        Ok(Captured { memory_file: Some(MEMORY), memory_format: MEMORY_FORMAT })
    }
}

/// Bytes of guest memory that take space so far; the file has its full size from the first moment.
fn written_bytes(directory: &File) -> u64 {
    let memory = disk::open_for_reading(directory, MEMORY).and_then(|file| file.metadata());
    memory.map_or(0, |metadata| metadata.blocks().saturating_mul(512))
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
