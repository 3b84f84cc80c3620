//! Where guest-physical memory lies in a memory file, as far as its form says so for certain.

use super::mapped_ram;
use super::memory::MemoryImage;
use crate::error::{Error, Kind, Result};
use crate::hypervisor;
use crate::sys::dir::Dir;
use crate::types::{HypervisorKind, MemoryRange};

/// Firecracker's memory on x86_64 begins at address 0 and has no gap below this.
const GAPLESS_BYTES: u64 = 3 << 30;

pub(super) fn ranges(image: &MemoryImage, place: &Dir) -> Result<Vec<MemoryRange>> {
    let size_bytes = image.size_bytes();
    match &image.hypervisor {
        Some(HypervisorKind::CloudHypervisor) => cloud_hypervisor(place, size_bytes),
        Some(HypervisorKind::Firecracker)
            if image.architecture.as_deref() == Some("x86_64") && size_bytes <= GAPLESS_BYTES =>
        {
            Ok(vec![MemoryRange { guest_address: 0, offset: 0, size_bytes }])
        }
        Some(HypervisorKind::Qemu) if image.format.as_deref() == Some("qemu-mapped-ram") => {
            mapped_ram::ranges(&|at, buffer| image.read_at(at, buffer))
        }
        hypervisor => {
            let form = image.format.as_deref().or(hypervisor.as_ref().map(HypervisorKind::as_str));
            Err(Error::new(
                Kind::NotSupported,
                format!(
                    "the memory file ({}) does not say which guest-physical addresses it holds; read it by file offsets",
                    form.unwrap_or("of an unknown form")
                ),
            ))
        }
    }
}

fn cloud_hypervisor(place: &Dir, size_bytes: u64) -> Result<Vec<MemoryRange>> {
    let mut ranges = Vec::new();
    let mut offset = 0_u64;
    for (guest_address, size_bytes) in hypervisor::cloud_hypervisor_ranges(place)? {
        ranges.push(MemoryRange { guest_address, offset, size_bytes });
        offset = offset.saturating_add(size_bytes);
    }
    if offset == size_bytes {
        return Ok(ranges);
    }
    let path = place.path();
    let why = format!(
        "the state in {} speaks of {offset} bytes of memory, and the memory file has {size_bytes}; use another snapshot",
        path.display()
    );
    Err(Error::new(Kind::Corrupt, why).at(path))
}
