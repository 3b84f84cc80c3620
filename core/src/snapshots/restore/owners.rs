//! Whose the files of a restore are.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use crate::error::{Error, Result};
use crate::sys::dir::{Dir, EntryKind};

/// Gives each file the mode and the owner of the live one whose place it takes, so that the VMM's user can go on
/// using it.
pub(super) fn keep_owners(live: &Path, built: &Dir) -> Result<()> {
    keep_owner(live, &built.to_file()?)?;
    for entry in built.entries()? {
        let old = live.join(&entry.name);
        match entry.kind {
            EntryKind::Directory => keep_owners(&old, &built.dir(&entry.name)?)?,
            EntryKind::File => keep_owner(&old, &built.read(&entry.name)?)?,
            EntryKind::Symlink | EntryKind::Socket | EntryKind::Special => {}
        }
    }
    Ok(())
}

/// The same of one file.
pub(super) fn keep_owner(live: &Path, built: &File) -> Result<()> {
    let Ok(old) = live.symlink_metadata() else { return Ok(()) };
    if old.is_symlink() {
        return Ok(());
    }
    let failed = |e: std::io::Error| Error::io("set the owner and mode of what replaces", live, &e);
    let now = built.metadata().map_err(failed)?;
    if (now.uid(), now.gid()) != (old.uid(), old.gid()) {
        fchown(built, Some(old.uid()), Some(old.gid())).map_err(failed)?;
    }
    built.set_permissions(old.permissions()).map_err(failed)
}
