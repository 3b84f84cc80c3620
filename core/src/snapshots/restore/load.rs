//! The second step: the image is loaded into the VMM that waits, and the guest goes on.

use std::path::{Path, PathBuf};

use super::copy::max_memory_bytes;
use super::moved;
use crate::call::{Call, Limit, Phase};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{self, CAPTURE_DIRECTORY, LoadSource, MemoryBackend, RunState, Vmm};
use crate::instances::Found;
use crate::memory;
use crate::store::payload::Memory;
use crate::store::sidecar::Sidecar;
use crate::sys::dir::Dir;
use crate::sys::memfd;
use crate::types::{RestoreSnapshot, Snapshot};

/// Opens the conversation with the VMM of `waiting`, which must not have a VM.
pub(in crate::snapshots) fn connect(waiting: &Found, call: &Call<'_>) -> Result<Box<dyn Vmm>> {
    let socket = waiting.api_socket.clone().unwrap_or_default();
    let mut vmm = hypervisor::connect(&waiting.hypervisor, &socket, call.limit())
        .map_err(|error| error.about(&waiting.id))?;
    match vmm.run_state(call.limit())? {
        RunState::NotStarted => Ok(vmm),
        RunState::Running | RunState::Paused { .. } | RunState::Shutdown | RunState::Other => {
            let why = format!(
                "the VMM at {} has a VM already; start one that waits for an image (QEMU: -incoming defer; cloud-hypervisor and firecracker: without a VM)",
                socket.display()
            );
            Err(Error::new(Kind::InvalidState, why).at(socket).about(&waiting.id))
        }
    }
}

/// Tells whether `vmm` is to be given the memory of `snapshot`, so that it is not put into place.
pub(in crate::snapshots) fn is_given_memory(
    hm: &Hypeman,
    snapshot: &Snapshot,
    vmm: &dyn Vmm,
) -> Result<bool> {
    let guest = hm.writable_store()?.guest(&snapshot.id)?;
    let is_compressed =
        Memory::find(&guest)?.is_some_and(|memory| memory.raw_bytes.is_none() && memory.compressed.is_some());
    let is_wanted = hm.options().offload_memory && is_compressed;
    Ok(is_wanted && vmm.takes_memory(&guest.join(CAPTURE_DIRECTORY))?)
}

/// Loads what is in place, lets the guest run, and returns which copy of the memory it has.
pub(in crate::snapshots) fn load(
    hm: &Hypeman,
    waiting: &Found,
    snapshot: &Snapshot,
    vmm: &mut dyn Vmm,
    request: &RestoreSnapshot,
    call: &mut Call<'_>,
) -> Result<u64> {
    let store = hm.writable_store()?;
    let directory = directory(waiting)?.join(CAPTURE_DIRECTORY);
    let image = Dir::open(&directory)?;
    let sidecar = Sidecar::read(&store.snapshot_dir(&snapshot.id)?)?;
    let disks = sidecar.as_ref().map_or(&[][..], |sidecar| &sidecar.disks);
    let moved = moved::since_capture(waiting, &store.record(&snapshot.id)?, disks);
    let memory_format = sidecar.and_then(|sidecar| sidecar.capture.memory_format);
    let overrides: Vec<_> =
        request.network_overrides.iter().map(|(id, device)| (id.clone(), device.clone())).collect();
    let directory_fd = image.to_file()?;
    let from = LoadSource {
        directory: &directory,
        directory_fd: &directory_fd,
        memory_format: memory_format.as_deref(),
        memory: match &request.uffd_socket {
            Some(socket) => MemoryBackend::Uffd(socket),
            None if request.on_demand => MemoryBackend::OnDemand,
            None => MemoryBackend::File,
        },
        moved: moved.unwritten(),
        network_overrides: &overrides,
    };
    let limit = call.limit().clone();
    let is_served = request.uffd_socket.is_some();
    if !is_served && Memory::find(&Dir::open(&self::directory(waiting)?)?)?.is_none() {
        give_memory(hm, snapshot, (&image, vmm), &limit)?;
    }
    vmm.load(&from, &limit, &mut |done, total| call.report(Phase::Preparing, done, total))
        .map_err(|error| error.about(&waiting.id))?;
    let generation = match store.placed(&waiting.id)?.and_then(|placed| placed.generation) {
        Some(generation) => generation,
        None => store.next_generation(&snapshot.id, request.duplicates, call.limit())?,
    };
    // From here on the guest writes to its disks: what was put into place is no standby image of it any more. A VMM
    // that still reads the memory file has it open or mapped.
    store.end_placed(&waiting.id)?;
    remove_image(&directory).map_err(|error| error.about(&waiting.id))?;
    vmm.resume().map_err(|error| error.about(&waiting.id))?;
    Ok(generation)
}

/// Expands the memory of `snapshot`, which is not in place: for `vmm` to take, else into `image`.
fn give_memory(
    hm: &Hypeman,
    snapshot: &Snapshot,
    (image, vmm): (&Dir, &mut dyn Vmm),
    limit: &Limit,
) -> Result<()> {
    let guest = hm.writable_store()?.guest(&snapshot.id)?;
    let Some(memory) = Memory::find(&guest)? else { return Ok(()) };
    let Some((path, algorithm)) = memory.compressed_path() else { return Ok(()) };
    let is_given = vmm.takes_memory(&guest.join(CAPTURE_DIRECTORY))?;
    let out = if is_given {
        memfd::create().map_err(|e| Error::os("make room for", "guest memory", &e))?
    } else {
        image.create_new(&memory.name)?
    };
    memory::decompress(
        &guest.read(&path)?,
        algorithm,
        &out,
        max_memory_bytes(snapshot),
        hm.threads(),
        limit,
        &|_, _| (),
    )
    .map_err(|error| error.at(guest.join(&path)).about(&snapshot.id))?;
    if is_given {
        vmm.give_memory(out);
    }
    Ok(())
}

fn remove_image(directory: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else { return Ok(()) };
    Dir::open(parent)?.remove_tree(name)
}

/// The instance directory, which a restore needs.
pub(in crate::snapshots) fn directory(found: &Found) -> Result<PathBuf> {
    found.directory.clone().ok_or_else(|| {
        let why = format!("instance {} was registered without a directory to restore into", found.id);
        Error::new(Kind::InvalidState, why).about(&found.id)
    })
}
