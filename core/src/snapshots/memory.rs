//! `snapshots.memory`: an open memory image, which keeps its snapshot from being deleted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::known_chunks::KnownChunks;
use super::ranges::ranges;
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::memory::Image;
use crate::panic::guard;
use crate::store::Store;
use crate::store::payload::{Memory, guest_of};
use crate::store::sidecar::Sidecar;
use crate::sys::dir::Dir;
use crate::sys::lock::ByteLock;
use crate::types::{HypervisorKind, MemoryExtent, MemoryRange};

/// Whoever removes files of a snapshot does so in moments.
const PATIENCE: Duration = Duration::from_secs(5);

/// The guest memory of a snapshot, open for reading at any offset, compressed or not.
///
/// Offsets are those of the raw memory file. Any number of threads may read at once. While this lives, the snapshot
/// cannot be deleted (`busy`) and its raw file stays; a read-only handle has no locks, so that what it opened stays
/// readable, but not its snapshot. It may outlive its handle.
pub struct MemoryImage {
    id: String,
    path: PathBuf,
    image: Image,
    /// The directory of the memory file, and so of what the VMM wrote beside it.
    place: Dir,
    /// What is known of the form of the file.
    pub(super) hypervisor: Option<HypervisorKind>,
    pub(super) format: Option<String>,
    pub(super) architecture: Option<String>,
    _pin: Option<ByteLock>,
}

pub(super) fn memory(hm: &Hypeman, id: &str) -> Result<MemoryImage> {
    let store = hm.open_store()?;
    let Opened { place, path, image, pin } = open_pinned(hm, id)?;
    let dir = store.snapshot_dir(id)?;
    // Neither is needed to read memory, so that damage in them does not keep anyone from it.
    let capture = Sidecar::read(&dir).ok().flatten().map(|sidecar| sidecar.capture);
    let hypervisor = store.record(id).ok().map(|record| record.snapshot.source_hypervisor);
    Ok(MemoryImage {
        id: id.to_owned(),
        path,
        image,
        place,
        hypervisor,
        architecture: capture.as_ref().map(|capture| capture.host.architecture.clone()),
        format: capture.and_then(|capture| capture.memory_format),
        _pin: pin,
    })
}

/// The open memory of a snapshot.
pub(super) struct Opened {
    place: Dir,
    pub(super) path: PathBuf,
    pub(super) image: Image,
    /// What keeps the snapshot from being deleted; a read-only handle has no locks.
    pub(super) pin: Option<ByteLock>,
}

/// Takes part in reading snapshot `id`, and opens its memory.
pub(super) fn open_pinned(hm: &Hypeman, id: &str) -> Result<Opened> {
    let store = hm.open_store()?;
    store.snapshot_dir(id)?;
    let pin = if hm.options().read_only { None } else { Some(pin(store, id)?) };
    // Only without a lock can a file be gone that was just seen: the other form of it is there then.
    let mut looks = 3;
    loop {
        looks -= 1;
        match open(store, id) {
            Err(error) if error.errno() == Some(libc::ENOENT) && looks > 0 => {}
            Err(error) => return Err(error.about(id)),
            Ok((place, path, image)) => return Ok(Opened { place, path, image, pin }),
        }
    }
}

/// Takes part in reading snapshot `id`.
pub(super) fn pin(store: &Store, id: &str) -> Result<ByteLock> {
    let patience = Call::default().timeout(PATIENCE);
    store.read(id, patience.limit()).map_err(|error| match error.kind() {
        Kind::Timeout => {
            let why = format!("files of snapshot {id} are being removed; try again when that is done");
            Error::new(Kind::Busy, why).about(id)
        }
        _ => error,
    })
}

/// Opens the memory file: the raw one as long as it is there.
fn open(store: &Store, id: &str) -> Result<(Dir, PathBuf, Image)> {
    let dir = store.snapshot_dir(id)?;
    let guest = guest_of(&dir, id)?;
    let memory = Memory::find(&guest)?.ok_or_else(|| {
        Error::new(
            Kind::InvalidState,
            format!("snapshot {id} has no guest memory; only Standby snapshots do"),
        )
    })?;
    let place = memory.open_dir(&guest)?;
    let named = |name: &str| (place.join(name), place.read(name));
    let (path, image) = match (memory.raw_bytes, memory.compressed) {
        (None, Some((algorithm, _))) => {
            let (path, file) = named(&memory.compressed_name(algorithm));
            let image = Image::compressed(file?, algorithm).map_err(|error| error.at(&path))?;
            (path, image)
        }
        _ => {
            let (path, file) = named(&memory.name);
            let file = file?;
            let known = KnownChunks::of(&dir, &memory, &file).map_err(|error| error.at(&path))?;
            let image = Image::raw(file).map_err(|error| error.at(&path))?;
            let image = match known {
                Some(known) => image.checked_by(move |offset, bytes| known.check(offset, bytes)),
                None => image,
            };
            (path, image)
        }
    };
    Ok((place, path, image))
}

impl MemoryImage {
    /// The snapshot that this is the memory of.
    pub fn snapshot_id(&self) -> &str {
        &self.id
    }

    /// The file that is read, raw or compressed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length of the image: of the raw memory file.
    pub fn size_bytes(&self) -> u64 {
        self.image.raw_bytes()
    }

    /// Fills `buffer` from byte `offset` of the image, and returns how much of it: less only where the image ends,
    /// nothing at its end and behind it.
    ///
    /// What is damaged is found before its bytes are used: a frame of a compressed image, and a chunk of 1 MiB of a
    /// raw one when it is first read. A raw image without checksums, yet or at all, is read as it is.
    ///
    /// # Errors
    /// `corrupt`, with its offset in the file, where a frame or chunk that is needed is damaged: others can be read
    /// all the same. What `buffer` holds after an error is undefined. Errors of the disk.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        guard(|| self.image.read_at(offset, buffer)).map_err(|error| self.context(error))
    }

    /// What the image consists of, from its start to its end without a gap.
    ///
    /// # Errors
    /// `corrupt`, errors of the disk.
    pub fn extents(&self) -> Result<Vec<MemoryExtent>> {
        guard(|| self.image.extents()).map_err(|error| self.context(error))
    }

    /// Which guest-physical addresses lie where in the image, by address.
    ///
    /// # Errors
    /// `not_supported` where the form of the file does not say it for certain: QEMU's stream, machine types of
    /// QEMU other than pc and q35, and Firecracker's from 3 GiB on; `corrupt`, errors of the disk.
    ///
    /// Of QEMU's other form (mapped-ram) the machine's usual layout is told: the file does not say whether QEMU was
    /// started with `max-ram-below-4g`.
    pub fn ranges(&self) -> Result<Vec<MemoryRange>> {
        guard(|| ranges(self, &self.place)).map_err(|error| self.context(error))
    }

    fn context(&self, error: Error) -> Error {
        error.at(&self.path).about(&self.id)
    }
}

impl fmt::Debug for MemoryImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryImage").field("path", &self.path).finish_non_exhaustive()
    }
}
