//! Putting files where others may be reading them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::Result;

/// Makes `directory` anew, with nothing in it.
pub fn empty(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(format!("cannot empty {}: {error}", directory.display()).into());
        }
        _ => {}
    }
    make(directory)
}

/// Makes `directory` where it is missing.
pub fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()).into())
}

/// Copies `from` to `to`, whose directory is made, with permissions `mode`.
pub fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let content = fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    write(to, content, mode)
}

/// Writes a file, whose directory is made, with permissions `mode`.
pub fn write(to: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
    replace(to, |fresh| {
        fs::write(fresh, content.as_ref())?;
        fs::set_permissions(fresh, fs::Permissions::from_mode(mode))
    })
}

/// Makes the symbolic link `to`, which says `target`.
pub fn link(target: &str, to: &Path) -> Result<()> {
    replace(to, |fresh| symlink(target, fresh))
}

/// Makes `to` beside its place and renames it there: a program that has the old file mapped keeps it, where writing
/// into it would be the end of that program.
fn replace(to: &Path, make_fresh: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let fresh = beside(to);
    if let Some(directory) = to.parent() {
        make(directory)?;
    }
    make_fresh(&fresh)
        .and_then(|()| fs::rename(&fresh, to))
        .map_err(|error| format!("cannot write {}: {error}", to.display()).into())
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_that_is_replaced_goes_on_being_what_it_was_for_whoever_has_it_open() {
        let directory = std::env::temp_dir().join(format!("xtask-place-{}", std::process::id()));
        let file = directory.join("lib/a");
        write(&file, "old", 0o644).unwrap();
        let held = fs::File::open(&file).unwrap();
        write(&file, "new", 0o755).unwrap();
        let now = fs::metadata(&file).unwrap();
        assert_ne!(held.metadata().unwrap().ino(), now.ino());
        assert_eq!((std::io::read_to_string(held).unwrap().as_str(), now.mode() & 0o777), ("old", 0o755));
        link("a", &directory.join("lib/b")).unwrap();
        link("a", &directory.join("lib/b")).unwrap();
        assert_eq!(fs::read_to_string(directory.join("lib/b")).unwrap(), "new");
        assert_eq!(fs::read_dir(directory.join("lib")).unwrap().count(), 2, "nothing else is left");
        empty(&directory).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir(&directory).unwrap();
    }
}
