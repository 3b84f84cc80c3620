//! Where guest-physical memory lies in a memory file, as far as its form says so for certain.

use serde::Deserialize;
use serde_json::Value;

use super::mapped_ram;
use super::memory::MemoryImage;
use crate::error::{Error, Kind, Result};
use crate::store::json;
use crate::sys::dir::Dir;
use crate::types::{HypervisorKind, MemoryRange};

/// What cloud-hypervisor writes beside its memory.
const STATE: &str = "state.json";
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

/// The table in cloud-hypervisor's state: ranges by address, one behind the other in the file.
#[derive(Deserialize)]
struct Table {
    memory_ranges: Data,
}

#[derive(Deserialize)]
struct Data {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    gpa: u64,
    length: u64,
}

fn cloud_hypervisor(place: &Dir, size_bytes: u64) -> Result<Vec<MemoryRange>> {
    let path = place.join(STATE);
    let state = json::read(&place.read(STATE)?, &path)?;
    // A JSON text within the JSON text.
    let table = state
        .pointer("/snapshots/memory-manager/snapshot_data/state")
        .and_then(Value::as_str)
        .ok_or_else(|| json::damaged(&path, "it has no state of a memory manager"))?;
    let table: Table = serde_json::from_str(table).map_err(|e| json::damaged(&path, e))?;
    let mut ranges = Vec::new();
    let mut offset = 0_u64;
    for Entry { gpa, length } in table.memory_ranges.data {
        ranges.push(MemoryRange { guest_address: gpa, offset, size_bytes: length });
        offset = offset.saturating_add(length);
    }
    if offset == size_bytes {
        return Ok(ranges);
    }
    let why = format!("it speaks of {offset} bytes of memory, and the memory file has {size_bytes}");
    Err(json::damaged(&path, why))
}
