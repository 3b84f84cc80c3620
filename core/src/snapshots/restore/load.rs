//! The second step: the image is loaded into the VMM that waits, and the guest goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::copy::max_memory_bytes;
use super::moved;
use crate::call::{Call, Limit, Phase};
use crate::copy::copy_open;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{self, CAPTURE_DIRECTORY, LoadSource, MemoryBackend, RunState, Vmm};
use crate::instances::Found;
use crate::memory;
use crate::store::Store;
use crate::store::handover::Handover;
use crate::store::images::LastImage;
use crate::store::payload::Memory;
use crate::store::sidecar::Sidecar;
use crate::store::staging::Stage;
use crate::sys::dir::{Dir, EntryKind};
use crate::sys::memfd;
use crate::types::{RestoreSnapshot, Snapshot};

/// The image in a directory that is shared with the VMM, whose driver may put something beside it.
const COPY: &str = "image";

/// Opens the conversation with the VMM of `waiting`, which must not have a VM.
pub(in crate::snapshots) fn connect(waiting: &Found, call: &Call<'_>) -> Result<Box<dyn Vmm>> {
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

/// Tells whether `vmm` is to be given the memory of `snapshot`, so that it is not put into place.
pub(in crate::snapshots) fn is_given_memory(
    hm: &Hypeman,
    waiting: &Found,
    snapshot: &Snapshot,
    vmm: &dyn Vmm,
) -> Result<bool> {
    let guest = hm.writable_store()?.guest(&snapshot.id)?;
    let is_compressed =
        Memory::find(&guest)?.is_some_and(|memory| memory.raw_bytes.is_none() && memory.compressed.is_some());
    let is_wanted = hm.options().offload_memory && is_compressed && waiting.staging_directory.is_none();
    Ok(is_wanted && vmm.takes_memory(&guest.join(CAPTURE_DIRECTORY))?)
}

/// Refuses what `vmm` cannot load with memory from the page server that `request` names.
pub(in crate::snapshots) fn check_served(
    hm: &Hypeman,
    snapshot: &Snapshot,
    vmm: &dyn Vmm,
    request: &RestoreSnapshot,
    call: &Call<'_>,
) -> Result<()> {
    if request.uffd_socket.is_none() {
        return Ok(());
    }
    let guest = hm.writable_store()?.guest(&snapshot.id)?;
    vmm.check_served(&guest.join(CAPTURE_DIRECTORY), call.limit()).map_err(|error| error.about(&snapshot.id))
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
    let sidecar = Sidecar::read_sealed(&store.snapshot_dir(&snapshot.id)?)?;
    let disks = sidecar.as_ref().map_or(&[][..], |sidecar| &sidecar.disks);
    let moved = moved::since_capture(waiting, &store.record(&snapshot.id)?, disks);
    let memory_bytes = sidecar.as_ref().and_then(|sidecar| sidecar.memory_bytes);
    let memory_format = sidecar.and_then(|sidecar| sidecar.capture.memory_format);
    let is_served = request.uffd_socket.is_some();
    if !is_served && Memory::find(&Dir::open(&self::directory(waiting)?)?)?.is_none() {
        give_memory(hm, (waiting, snapshot), (&image, vmm), call.limit())?;
    }
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
        moved: moved.unwritten(),
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
    if !is_served {
        // What changes from here on changes on top of that image. Without the note, the next one is written whole.
        let _ = store.finish_image(&last);
    }
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
    (waiting, snapshot): (&Found, &Snapshot),
    (image, vmm): (&Dir, &mut dyn Vmm),
    limit: &Limit,
) -> Result<()> {
    let guest = hm.writable_store()?.guest(&snapshot.id)?;
    let Some(memory) = Memory::find(&guest)? else { return Ok(()) };
    let Some((path, algorithm)) = memory.compressed_path() else { return Ok(()) };
    // One in a jail reaches files only where they are put for it.
    let is_given = waiting.staging_directory.is_none() && vmm.takes_memory(&guest.join(CAPTURE_DIRECTORY))?;
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
pub(in crate::snapshots) fn directory(found: &Found) -> Result<PathBuf> {
    found.directory.clone().ok_or_else(|| {
        let why = format!("instance {} was registered without a directory to restore into", found.id);
        Error::new(Kind::InvalidState, why).about(&found.id)
    })
}
