//! The second step: the image is loaded into the VMM that waits, and the guest goes on.

use std::path::{Path, PathBuf};

use crate::call::{Call, Phase};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{self, CAPTURE_DIRECTORY, LoadSource, MemoryBackend, RunState, Vmm};
use crate::instances::Found;
use crate::store::sidecar::Sidecar;
use crate::sys::dir::Dir;
use crate::types::{RestoreSnapshot, Snapshot};

/// Opens the conversation with the VMM of `waiting`, which must not have a VM.
pub(super) fn connect(waiting: &Found, call: &Call<'_>) -> Result<Box<dyn Vmm>> {
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

pub(super) fn load(
    hm: &Hypeman,
    waiting: &Found,
    snapshot: &Snapshot,
    vmm: &mut dyn Vmm,
    request: &RestoreSnapshot,
    call: &mut Call<'_>,
) -> Result<()> {
    let store = hm.writable_store()?;
    let directory = directory(waiting)?.join(CAPTURE_DIRECTORY);
    let image = Dir::open(&directory)?;
    let sidecar = Sidecar::read_sealed(&store.snapshot_dir(&snapshot.id)?)?;
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
        moved: &[],
        network_overrides: &overrides,
    };
    let limit = call.limit().clone();
    vmm.load(&from, &limit, &mut |done, total| call.report(Phase::Preparing, done, total))
        .map_err(|error| error.about(&waiting.id))?;
    // From here on the guest writes to its disks: what was put into place is no standby image of it any more. A VMM
    // that still reads the memory file has it open or mapped.
    store.end_placed(&waiting.id)?;
    remove_image(&directory).map_err(|error| error.about(&waiting.id))?;
    vmm.resume().map_err(|error| error.about(&waiting.id))
}

fn remove_image(directory: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (directory.parent(), directory.file_name()) else { return Ok(()) };
    Dir::open(parent)?.remove_tree(name)
}

/// The instance directory, which a restore needs.
pub(super) fn directory(found: &Found) -> Result<PathBuf> {
    found.directory.clone().ok_or_else(|| {
        let why = format!("instance {} was registered without a directory to restore into", found.id);
        Error::new(Kind::InvalidState, why).about(&found.id)
    })
}
