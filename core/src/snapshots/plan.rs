//! What of an instance is copied, and when: while the VM runs what the guest does not write, while it is paused the
//! rest. Everything that cannot be captured is refused here, before anything is paused.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::call::{Call, Phase};
use crate::copy::{Task, copy_all};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::CAPTURE_DIRECTORY;
use crate::instances::Found;
use crate::store::payload::check_depth;
use crate::store::sidecar::OutsideDisk;
use crate::sys::dir::{Dir, EntryKind};
use crate::types::Disk;

/// Where disks from outside the instance directory lie in a payload.
const OUTSIDE: &str = "disks";

/// The copies that make the payload of one snapshot.
pub(super) struct Plan<'g> {
    guest: &'g Dir,
    directories: Vec<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
    /// What the guest does not write.
    still: Vec<Copy<'g>>,
    /// What it may write.
    written: Vec<Copy<'g>>,
    pub(super) outside: Vec<OutsideDisk>,
}

impl Plan<'_> {
    /// Tells whether there is nothing to copy, not even a directory.
    pub(super) fn is_empty(&self) -> bool {
        self.directories.is_empty()
            && self.links.is_empty()
            && self.still.is_empty()
            && self.written.is_empty()
    }
}

/// Which parts of an instance directory are of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All but the VMM's own images: they are about to be written anew.
    WithoutImages,
    /// All, with the standby image.
    Whole,
}

/// When a file is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// While the VM may run.
    Before,
    /// While it is paused.
    Paused,
}

struct Copy<'g> {
    source: PathBuf,
    /// The directory beneath which the source must lie; a disk from outside was named by the host.
    root: Option<(&'g Dir, PathBuf)>,
    guest: &'g Dir,
    target: PathBuf,
    device: u64,
    inode: u64,
    size_bytes: u64,
    /// A disk must be there; any other file may vanish meanwhile.
    is_disk: bool,
}

impl Task for Copy<'_> {
    fn open(&self) -> Result<Option<(File, File)>> {
        let source = match &self.root {
            Some((root, relative)) => root.read(relative),
            None => File::open(&self.source).map_err(|e| Error::io("open", &self.source, &e)),
        };
        match source {
            Err(error) if error.errno() == Some(libc::ENOENT) && !self.is_disk => Ok(None),
            Err(error) => Err(error),
            Ok(source) => Ok(Some((source, self.guest.create_new(&self.target)?))),
        }
    }

    fn path(&self) -> &Path {
        &self.source
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// A disk that the host has named.
struct Named<'f> {
    disk: &'f Disk,
    /// Where it is in the instance directory, if its path, or the link that this is, leads there.
    inside: Option<PathBuf>,
}

impl<'f> Named<'f> {
    fn of(disk: &'f Disk, real_root: Option<&Path>) -> Self {
        let real = disk.path.canonicalize().ok();
        let inside = real.and_then(|path| Some(path.strip_prefix(real_root?).ok()?.to_owned()));
        Self { disk, inside }
    }

    /// Tells whether it is the file `source`, which is `relative` in the instance directory.
    fn is(&self, source: &Path, relative: &Path) -> bool {
        self.disk.path == source || self.inside.as_deref() == Some(relative)
    }
}

impl<'g> Plan<'g> {
    /// Looks at all of the instance that `root`, its opened directory, and its disks have.
    pub(super) fn make(found: &Found, root: Option<&'g Dir>, guest: &'g Dir, extent: Extent) -> Result<Self> {
        let mut plan = Self {
            guest,
            directories: Vec::new(),
            links: Vec::new(),
            still: Vec::new(),
            written: Vec::new(),
            outside: Vec::new(),
        };
        let real_root = root.and_then(|root| root.path().canonicalize().ok());
        let disks: Vec<_> = found.disks.iter().map(|disk| Named::of(disk, real_root.as_deref())).collect();
        if let Some(root) = root {
            plan.walk(&disks, root, root, Path::new(""), extent)?;
        }
        // Whatever was not met on the way, be it outside or behind a link that leads there, is copied by its path.
        let met = |disk: &&Named<'_>| {
            plan.still.iter().chain(&plan.written).any(|copy| disk.is(&copy.source, &copy.target))
        };
        let unmet: Vec<_> = disks.iter().filter(|disk| !met(disk)).collect();
        for (number, named) in unmet.into_iter().enumerate() {
            plan.add_outside(number, named.disk)?;
        }
        Ok(plan)
    }

    fn walk(
        &mut self,
        disks: &[Named<'_>],
        root: &'g Dir,
        here: &Dir,
        prefix: &Path,
        extent: Extent,
    ) -> Result<()> {
        check_depth(root, prefix)?;
        for entry in here.entries()? {
            let relative = prefix.join(&entry.name);
            if is_skipped(&relative, extent) {
                continue;
            }
            match entry.kind {
                EntryKind::Directory => {
                    self.directories.push(relative.clone());
                    self.walk(disks, root, &here.dir(&entry.name)?, &relative, extent)?;
                }
                EntryKind::Symlink => self.links.push((relative, here.read_link(&entry.name)?)),
                EntryKind::Socket => {}
                EntryKind::Special => {
                    let path = here.join(&entry.name);
                    let why = format!(
                        "{} is a FIFO or a device and cannot be captured; move it out of the instance directory",
                        path.display()
                    );
                    return Err(Error::new(Kind::NotSupported, why).at(path));
                }
                EntryKind::File => {
                    let source = here.join(&entry.name);
                    let Some(stat) = here.stat(&entry.name)? else { continue };
                    let disk = disks.iter().find(|disk| disk.is(&source, &relative)).map(|named| named.disk);
                    let copy = Copy {
                        source,
                        root: Some((root, relative.clone())),
                        guest: self.guest,
                        target: relative,
                        device: stat.device,
                        inode: stat.inode,
                        size_bytes: stat.size_bytes,
                        is_disk: disk.is_some(),
                    };
                    // Where no disk is named, every file may be one.
                    let is_written = disk.map_or(disks.is_empty(), |disk| !disk.readonly);
                    if is_written { self.written.push(copy) } else { self.still.push(copy) }
                }
            }
        }
        Ok(())
    }

    fn add_outside(&mut self, number: usize, disk: &Disk) -> Result<()> {
        let metadata = disk.path.metadata().map_err(|e| Error::io("look at the disk", &disk.path, &e))?;
        if !metadata.is_file() {
            let why = format!("the disk {} is not a regular file and cannot be copied", disk.path.display());
            return Err(Error::new(Kind::NotSupported, why).at(&disk.path));
        }
        if self.outside.is_empty() {
            self.directories.push(OUTSIDE.into());
        }
        let name = disk.path.file_name().unwrap_or_default().to_string_lossy();
        // The instance directory may have files of such a name itself.
        let is_free = |target: &String| {
            let taken = Path::new(target);
            !self.still.iter().chain(&self.written).any(|copy| copy.target == taken)
                && !self.links.iter().any(|(link, _)| link == taken)
        };
        let candidates = (number..).map(|number| format!("{OUTSIDE}/{number}-{name}"));
        let target = candidates.into_iter().find(is_free).unwrap_or_default();
        self.outside.push(OutsideDisk {
            payload: target.clone(),
            source: disk.path.to_string_lossy().into_owned(),
            readonly: disk.readonly,
        });
        let copy = Copy {
            source: disk.path.clone(),
            root: None,
            guest: self.guest,
            target: target.into(),
            device: metadata.dev(),
            inode: metadata.ino(),
            size_bytes: metadata.len(),
            is_disk: true,
        };
        if disk.readonly {
            self.still.push(copy)
        } else {
            self.written.push(copy)
        }
        Ok(())
    }

    /// When the file with this identity is copied, if it is.
    pub(super) fn moment_of(&self, device: u64, inode: u64) -> Option<Moment> {
        let holds =
            |copies: &[Copy<'_>]| copies.iter().any(|copy| (copy.device, copy.inode) == (device, inode));
        if holds(&self.written) {
            return Some(Moment::Paused);
        }
        holds(&self.still).then_some(Moment::Before)
    }

    /// Makes directories and links, and copies what the guest does not write.
    pub(super) fn copy_still(&self, threads: NonZeroUsize, call: &mut Call<'_>) -> Result<()> {
        for directory in &self.directories {
            self.guest.ensure_dir(directory)?;
        }
        for (link, target) in &self.links {
            self.guest.symlink(target, link)?;
        }
        copy_all(&self.still, threads, Phase::Preparing, call)
    }

    /// Flushes what the guest writes: a reflink flushes dirty pages, and the pause should not pay for them.
    pub(super) fn flush_written(&self) -> Result<()> {
        for copy in &self.written {
            let opened = match &copy.root {
                Some((root, relative)) => root.read(relative),
                None => File::open(&copy.source).map_err(|e| Error::io("open", &copy.source, &e)),
            };
            match opened {
                Err(error) if error.errno() == Some(libc::ENOENT) && !copy.is_disk => {}
                Err(error) => return Err(error),
                Ok(file) => file.sync_data().map_err(|e| Error::io("flush", &copy.source, &e))?,
            }
        }
        Ok(())
    }

    /// Copies what the guest writes.
    pub(super) fn copy_written(&self, threads: NonZeroUsize, call: &mut Call<'_>) -> Result<()> {
        copy_all(&self.written, threads, Phase::CopyingDisks, call)
    }
}

/// What the vendor does not copy either (upstream.md 3.2), and its leftovers that it does.
fn is_skipped(relative: &Path, extent: Extent) -> bool {
    let name = relative.file_name().unwrap_or_default().to_string_lossy();
    let is_temporary =
        [".sock", ".lz4.tmp", ".zst.tmp", ".unshare.tmp"].iter().any(|end| name.ends_with(end))
            || (name.starts_with(".metadata-") && name.ends_with(".tmp"));
    is_temporary
        || relative == Path::new("logs")
        || relative == Path::new("snapshots/snapshot-base")
        || (extent == Extent::WithoutImages && relative == Path::new(CAPTURE_DIRECTORY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_logs_and_leftovers_stay_behind() {
        for skipped in
            ["logs", "ch.sock", "a/b.sock", ".metadata-1.tmp", "memory.zst.tmp", "snapshots/snapshot-base"]
        {
            assert!(is_skipped(Path::new(skipped), Extent::Whole), "{skipped}");
        }
        for kept in ["overlay.raw", "a/logs", "metadata.json", "snapshots", CAPTURE_DIRECTORY] {
            assert!(!is_skipped(Path::new(kept), Extent::Whole), "{kept}");
        }
        assert!(is_skipped(Path::new(CAPTURE_DIRECTORY), Extent::WithoutImages));
    }
}
