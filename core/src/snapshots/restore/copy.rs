//! Building the siblings of a restore, or what a fork consists of: a copy of the payload, with memory expanded to its
//! raw form.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use super::compare::{copies, refuse_disguise};
use super::moved::Moved;
use super::owners::{keep_owner, keep_owners};
use crate::call::{Call, Phase};
use crate::copy::{Task, copy_all};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::CAPTURE_DIRECTORY;
use crate::instances::Found;
use crate::memory;
use crate::store::checksums::Checksums;
use crate::store::payload::{Memory, check_depth};
use crate::store::sidecar::OutsideDisk;
use crate::sys::dir::{Dir, EntryKind};
use crate::types::{RestoreSnapshot, RestoreTarget, Snapshot};

/// A directory or disk that is built: in the place of a live one, or as a new one.
pub(in crate::snapshots) struct Target {
    pub(in crate::snapshots) path: PathBuf,
    /// A disk from outside the directory: its path in the payload. `None` for the instance directory.
    pub(in crate::snapshots) disk: Option<PathBuf>,
    /// Parts of the payload that do not go into the instance directory.
    pub(in crate::snapshots) elsewhere: Vec<PathBuf>,
    /// The directory whose links may lead anywhere: the host has them now.
    pub(in crate::snapshots) trusted_links: Option<PathBuf>,
    /// What is rewritten in the VMM's configuration.
    pub(in crate::snapshots) moved: Moved,
    /// How much memory the image in it may hold.
    pub(in crate::snapshots) max_memory_bytes: u64,
}

/// How much memory a decompression of the image of `snapshot` may write.
pub(in crate::snapshots) fn max_memory_bytes(snapshot: &Snapshot) -> u64 {
    snapshot.uncompressed_size_bytes.unwrap_or(memory::MAX_IMAGE_BYTES)
}

impl Target {
    /// A disk of its own, from `payload` in the payload.
    pub(in crate::snapshots) fn disk(path: PathBuf, payload: &str) -> Self {
        let (disk, moved) = (Some(PathBuf::from(payload)), Moved::default());
        Self { path, disk, elsewhere: Vec::new(), trusted_links: None, moved, max_memory_bytes: 0 }
    }
}

/// How much of a payload is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::snapshots) enum Extent {
    /// No image of the VMM's: the VM is to be booted.
    WithoutImage,
    /// The image without guest memory, which a page server has.
    WithoutMemory,
    /// All, with memory in its raw form.
    Whole,
}

impl Extent {
    pub(in crate::snapshots) fn of(target: RestoreTarget, request: &RestoreSnapshot) -> Self {
        match target {
            RestoreTarget::Stopped => Self::WithoutImage,
            RestoreTarget::Running | RestoreTarget::Standby if request.uffd_socket.is_some() => {
                Self::WithoutMemory
            }
            RestoreTarget::Running | RestoreTarget::Standby => Self::Whole,
        }
    }
}

/// What a restore of `found` to `snapshot` replaces: its directory, and its disks outside it.
pub(super) fn targets(
    found: &Found,
    snapshot: &Snapshot,
    disks: &[OutsideDisk],
    moved: Moved,
) -> Result<Vec<Target>> {
    // In a fork, those that the host named no place for lie in its directory.
    let outside: Vec<_> =
        disks.iter().filter_map(|disk| Some((disk, found.outside_path(Path::new(&disk.source))?))).collect();
    let mut targets = Vec::new();
    if let Some(path) = &found.directory {
        targets.push(Target {
            path: path.clone(),
            disk: None,
            elsewhere: outside.iter().map(|(disk, _)| PathBuf::from(&disk.payload)).collect(),
            trusted_links: Some(path.clone()),
            moved,
            max_memory_bytes: max_memory_bytes(snapshot),
        });
    }
    for (disk, path) in outside.into_iter().filter(|(disk, _)| !disk.readonly) {
        // Only what the host names today is written to; a record cannot name a path of its own.
        if !found.disks.iter().any(|known| known.path == path) {
            let why = format!(
                "the snapshot holds the disk {}, which instance {} does not name any more; register it with that disk",
                path.display(),
                found.id
            );
            return Err(Error::new(Kind::InvalidState, why).at(&path).about(&found.id));
        }
        // A link to it is a path of the host's choice, and stays.
        targets.push(Target::disk(behind_links(&path), &disk.payload));
    }
    Ok(targets)
}

/// The file to which `path` leads, if that is a link itself. Links on the way to it stay: what they lead to is the
/// host's to change, before a restore that was cut off is recovered, too.
pub(super) fn behind_links(path: &Path) -> PathBuf {
    if path.is_symlink() { path.canonicalize().unwrap_or_else(|_| path.to_owned()) } else { path.to_owned() }
}

/// What is restored, and what it must be, as far as that is known.
#[derive(Clone, Copy)]
pub(in crate::snapshots) struct Payload<'p> {
    pub(in crate::snapshots) guest: &'p Dir,
    pub(in crate::snapshots) checksums: Option<&'p Checksums>,
}

struct Copy<'d> {
    from: &'d Dir,
    source: PathBuf,
    path: PathBuf,
    to: &'d Dir,
    target: PathBuf,
    size_bytes: u64,
}

impl Task for Copy<'_> {
    fn open(&self) -> Result<Option<(File, File)>> {
        Ok(Some((self.from.read(&self.source)?, self.to.create_new(&self.target)?)))
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// Builds the sibling `staged` of `place` in `parent`, compared with what it must be, and flushed. Returns the final
/// paths of its files.
pub(in crate::snapshots) fn build(
    hm: &Hypeman,
    payload: Payload<'_>,
    place: &Target,
    parent: &Dir,
    staged: &str,
    extent: Extent,
    call: &mut Call<'_>,
) -> Result<Vec<PathBuf>> {
    let store = hm.writable_store()?;
    let Payload { guest, checksums } = payload;
    if let Some(disk) = &place.disk {
        refuse_disguise(guest, disk)?;
        let task = copy(guest, disk, parent, Path::new(staged))?;
        copy_all(&[task], hm.threads(), Phase::CopyingDisks, call)?;
        if let Some(checksums) = checksums {
            copies(hm, checksums, guest, parent, &[(Path::new(staged), disk)], call)?;
        }
        keep_owner(&place.path, &parent.read(staged)?)?;
        store.durable().file(&parent.read(staged)?, &parent.join(staged))?;
        return Ok(vec![place.path.clone()]);
    }
    let built = parent.make_dir(staged)?;
    let memory = Memory::find(guest)?;
    let is_left_out = |path: &Path| {
        place.elsewhere.iter().any(|part| part == path)
            || (extent == Extent::WithoutImage && path == Path::new(CAPTURE_DIRECTORY))
            || memory.as_ref().is_some_and(|memory| is_form_of(memory, path))
    };
    let mut tasks = Vec::new();
    walk(guest, guest, Path::new(""), &built, place, &is_left_out, &mut tasks)?;
    copy_all(&tasks, hm.threads(), Phase::CopyingDisks, call)?;
    let mut files: Vec<_> = tasks.iter().map(|task| task.target.clone()).collect();
    if let Some(memory) = memory.as_ref().filter(|_| extent == Extent::Whole) {
        expand(hm, guest, memory, place.max_memory_bytes, &built, call)?;
        files.push(memory.directory.join(&memory.name));
    }
    if let Some(checksums) = checksums {
        // Each lies where it lay in the payload. Memory that was compressed was checked as it was expanded.
        let copied: Vec<_> = files.iter().map(|file| (file.as_path(), file.as_path())).collect();
        copies(hm, checksums, guest, &built, &copied, call)?;
    }
    place.moved.apply(&built)?;
    keep_owners(&place.path, &built)?;
    store.sync_tree(&built)?;
    Ok(files.into_iter().map(|file| place.path.join(file)).collect())
}

fn copy<'d>(from: &'d Dir, source: &Path, to: &'d Dir, target: &Path) -> Result<Copy<'d>> {
    let path = from.join(source);
    let Some(stat) = from.stat(source)?.filter(|stat| stat.kind == EntryKind::File) else {
        return Err(Error::new(
            Kind::Corrupt,
            format!("the file {} of the snapshot is missing", path.display()),
        )
        .at(path));
    };
    Ok(Copy {
        from,
        source: source.to_owned(),
        path,
        to,
        target: target.to_owned(),
        size_bytes: stat.size_bytes,
    })
}

fn walk<'d>(
    guest: &'d Dir,
    here: &Dir,
    prefix: &Path,
    built: &'d Dir,
    place: &Target,
    is_left_out: &dyn Fn(&Path) -> bool,
    tasks: &mut Vec<Copy<'d>>,
) -> Result<()> {
    check_depth(guest, prefix)?;
    for entry in here.entries()? {
        let path = prefix.join(&entry.name);
        if is_left_out(&path) {
            continue;
        }
        match entry.kind {
            EntryKind::Directory => {
                let inside = here.dir(&entry.name)?;
                let entries = inside.entries()?;
                // One that holds only what goes elsewhere was not in the instance directory.
                if entries.is_empty() || entries.iter().any(|entry| !is_left_out(&path.join(&entry.name))) {
                    built.ensure_dir(&path)?;
                    walk(guest, &inside, &path, built, place, is_left_out, tasks)?;
                }
            }
            EntryKind::File => {
                refuse_disguise(guest, &path)?;
                tasks.push(copy(guest, &path, built, &path)?);
            }
            EntryKind::Symlink => {
                let target = here.read_link(&entry.name)?;
                let known = place.trusted_links.as_ref().map(|trusted| trusted.join(&path));
                check_link(&here.join(&entry.name), &target, known.as_deref())?;
                built.symlink(&target, &path)?;
            }
            // No capture writes one.
            EntryKind::Socket | EntryKind::Special => {
                let path = here.join(&entry.name);
                let why = format!("{} is no regular file; the snapshot was tampered with", path.display());
                return Err(Error::new(Kind::Corrupt, why).at(path));
            }
        }
    }
    Ok(())
}

/// Refuses a link that leads out of its directory, unless the instance has that very link now: a VMM would follow it
/// to whatever file of the host someone wrote into the payload.
fn check_link(link: &Path, target: &Path, known: Option<&Path>) -> Result<()> {
    let stays = target.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if stays || known.is_some_and(|known| known.read_link().is_ok_and(|now| now == target)) {
        return Ok(());
    }
    let why = format!(
        "{} leads to {}, out of the instance directory, where the instance has no such link; the snapshot was tampered with",
        link.display(),
        target.display()
    );
    Err(Error::new(Kind::Corrupt, why).at(link))
}

fn is_form_of(memory: &Memory, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.parent() == Some(memory.directory.as_path())
        && name.strip_prefix(memory.name.as_str()).is_some_and(|rest| matches!(rest, "" | ".zst" | ".lz4"))
}

/// Writes the raw memory: a copy where it is raw, still or again; else out of its compressed form.
pub(in crate::snapshots) fn expand(
    hm: &Hypeman,
    guest: &Dir,
    memory: &Memory,
    max_bytes: u64,
    built: &Dir,
    call: &mut Call<'_>,
) -> Result<()> {
    let raw = memory.directory.join(&memory.name);
    if memory.raw_bytes.is_some() {
        built.ensure_dir(&memory.directory)?;
        let task = copy(guest, &raw, built, &raw)?;
        return copy_all(&[task], hm.threads(), Phase::SavingMemory, call);
    }
    let Some((algorithm, _)) = memory.compressed else { return Ok(()) };
    let source = memory.directory.join(memory.compressed_name(algorithm));
    built.ensure_dir(&memory.directory)?;
    let out = built.create_new(&raw)?;
    memory::decompress(
        &guest.read(&source)?,
        algorithm,
        &out,
        max_bytes,
        hm.threads(),
        call.limit(),
        &|_, _| (),
    )
    .map(drop)
    .map_err(|error| error.at(guest.join(&source)))
}
