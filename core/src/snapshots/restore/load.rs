//! The second step: the image is loaded into the VMM that waits, and the guest goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::call::{Call, Limit, Phase};
use crate::copy::copy_open;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{self, CAPTURE_DIRECTORY, LoadSource, MemoryBackend, RunState, Vmm};
use crate::instances::Found;
use crate::store::Store;
use crate::store::handover::Handover;
use crate::store::images::LastImage;
use crate::store::sidecar::Sidecar;
use crate::store::staging::Stage;
use crate::sys::dir::{Dir, EntryKind};
use crate::types::{RestoreSnapshot, Snapshot};

/// The image in a directory that is shared with the VMM, whose driver may put something beside it.
const COPY: &str = "image";

/// Opens the conversation with the VMM of `waiting`, which must not have a VM.
pub(super) fn connect(waiting: &Found, call: &Call<'_>) -> Result<Box<dyn Vmm>> {
    let socket = waiting.api_socket.clone().unwrap_or_default();
    let mut vmm = hypervisor::connect(&waiting.hypervisor, &socket, call.limit())
        .map_err(|error| error.about(&waiting.id))?;
    match vmm.run_state(call.limit())? {
        RunState::NotStarted => Ok(vmm),
        RunState::Paused { .. } if vmm.loads_at_start() => Ok(vmm),
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
    let sidecar = Sidecar::read(&store.snapshot_dir(&snapshot.id)?)?;
    let memory_bytes = sidecar.as_ref().and_then(|sidecar| sidecar.memory_bytes);
    let memory_format = sidecar.and_then(|sidecar| sidecar.capture.memory_format);
    let lent = Lent::new(store, waiting, vmm, &image, call.limit())?;
    let place = lent.as_ref().map_or(&image, |lent| &lent.image);
    let seen_as = lent.as_ref().map_or(place.path(), |lent| &lent.seen_as);
    let overrides: Vec<_> =
        request.network_overrides.iter().map(|(id, device)| (id.clone(), device.clone())).collect();
    let directory_fd = place.to_file()?;
    let from = LoadSource {
        directory: place.path(),
        directory_fd: &directory_fd,
        seen_as,
        memory_format: memory_format.as_deref(),
        memory_bytes,
        tracks_changes: waiting.exclusive_snapshots,
        memory: match &request.uffd_socket {
            Some(socket) => MemoryBackend::Uffd(socket),
            None if request.on_demand => MemoryBackend::OnDemand,
            None => MemoryBackend::File,
        },
        moved: &[],
        network_overrides: &overrides,
    };
    let limit = call.limit().clone();
    let last = LastImage::of(&snapshot.id, vmm.peer())?;
    let process = store.process_turn(vmm.peer(), &limit)?;
    store.begin_image(&last)?;
    let loaded = vmm.load(&from, &limit, &mut |done, total| call.report(Phase::Preparing, done, total));
    if let (Err(error), Some(lent)) = (&loaded, lent)
        && matches!(error.kind(), Kind::Cancelled | Kind::Timeout)
    {
        // The VMM goes on with it.
        lent.leave();
    }
    loaded.map_err(|error| error.about(&waiting.id))?;
    drop(process);
    if request.uffd_socket.is_none() {
        // What changes from here on changes on top of that image. Without the note, the next one is written whole.
        let _ = store.finish_image(&last);
    }
    // From here on the guest writes to its disks: what was put into place is no standby image of it any more. A VMM
    // that still reads the memory file has it open or mapped.
    store.end_placed(&waiting.id)?;
    remove_image(&directory).map_err(|error| error.about(&waiting.id))?;
    vmm.resume().map_err(|error| error.about(&waiting.id))
}

/// A copy of the image in the staging directory, for a VMM that reaches no other place. Dropping it removes it.
struct Lent {
    image: Dir,
    seen_as: PathBuf,
    handover: Handover,
    /// Goes after the handover, to which it has the way.
    stage: Stage,
}

impl Lent {
    /// `None` for a VMM that can do without.
    fn new(
        store: &Arc<Store>,
        waiting: &Found,
        vmm: &dyn Vmm,
        image: &Dir,
        limit: &Limit,
    ) -> Result<Option<Self>> {
        let Some(place) = waiting.staging_directory.as_ref().filter(|_| vmm.opens_paths()) else {
            return Ok(None);
        };
        let stage = Stage::begin(store)?;
        let seen_as = waiting.staging_directory_in_vmm.as_ref().unwrap_or(place);
        let handover = Handover::open(store, &stage, place, seen_as, vmm.peer().uid)?;
        let copy = handover.dir().make_dir(COPY)?;
        for entry in image.entries()?.iter().filter(|entry| entry.kind == EntryKind::File) {
            let to = Path::new(COPY).join(&entry.name);
            copy_open(
                &image.read(&entry.name)?,
                &copy.create_new(&entry.name)?,
                &image.join(&entry.name),
                limit,
            )?;
            handover.lend(&to)?;
        }
        handover.lend(Path::new(COPY))?;
        let seen_as = handover.seen_as().join(COPY);
        Ok(Some(Self { image: copy, seen_as, handover, stage }))
    }

    fn leave(self) {
        self.handover.leave();
        self.stage.leave();
    }
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
