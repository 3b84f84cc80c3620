//! What lies in a payload: its files, their sizes, and guest memory among them.

use std::path::{Path, PathBuf};

use super::{GUEST, Store};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::MEMORY_FILES;
use crate::sys::dir::{Dir, EntryKind};
use crate::types::{Algorithm, PayloadFile};

/// Guest memory in a payload: raw, compressed, or both in the middle of a compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The directory that holds it, beneath `guest/`.
    pub(crate) directory: PathBuf,
    /// The raw file's name, whether or not it is there.
    pub(crate) name: String,
    /// Apparent size of the raw file, if it is there.
    pub(crate) raw_bytes: Option<u64>,
    /// The compressed file's codec and size, if it is there.
    pub(crate) compressed: Option<(Algorithm, u64)>,
}

impl Memory {
    /// Finds guest memory in `guest`, in the vendor's order: the first name of which there is any form.
    pub(crate) fn find(guest: &Dir) -> Result<Option<Self>> {
        for candidate in MEMORY_FILES {
            let path = Path::new(candidate);
            let size = |path: &Path| -> Result<Option<u64>> {
                let stat = guest.stat(path)?.filter(|stat| stat.kind == EntryKind::File);
                Ok(stat.map(|stat| stat.size_bytes))
            };
            let raw_bytes = size(path)?;
            let mut compressed = None;
            for algorithm in Algorithm::ALL {
                if compressed.is_none() {
                    compressed = size(&with_extension(path, algorithm))?.map(|bytes| (algorithm, bytes));
                }
            }
            if raw_bytes.is_some() || compressed.is_some() {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let directory = path.parent().map(Path::to_owned).unwrap_or_default();
                return Ok(Some(Self { directory, name, raw_bytes, compressed }));
            }
        }
        Ok(None)
    }

    /// The paths of all forms that it can have, there or not: raw first.
    pub(crate) fn forms(&self) -> Vec<String> {
        let compressed = Algorithm::ALL.into_iter().map(|algorithm| self.compressed_name(algorithm));
        [self.name.clone()].into_iter().chain(compressed).map(|name| self.path_of(&name)).collect()
    }

    /// The path of the compressed file, if it is there, and its codec.
    pub(crate) fn compressed_path(&self) -> Option<(String, Algorithm)> {
        let (algorithm, _) = self.compressed?;
        Some((self.path_of(&self.compressed_name(algorithm)), algorithm))
    }

    /// The path of the raw file, there or not.
    pub(crate) fn raw_path(&self) -> String {
        self.path_of(&self.name)
    }

    fn path_of(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }

    /// Opens the directory that holds it.
    pub(crate) fn open_dir(&self, guest: &Dir) -> Result<Dir> {
        if self.directory.as_os_str().is_empty() { guest.dir(".") } else { guest.dir(&self.directory) }
    }

    /// The name of the file compressed with `algorithm`.
    pub(crate) fn compressed_name(&self, algorithm: Algorithm) -> String {
        format!("{}.{}", self.name, algorithm.extension())
    }
}

fn with_extension(path: &Path, algorithm: Algorithm) -> PathBuf {
    PathBuf::from(format!("{}.{}", path.display(), algorithm.extension()))
}

/// Every regular file beneath `guest`, by path. Links are not followed.
pub(crate) fn files(guest: &Dir) -> Result<Vec<PayloadFile>> {
    let mut found = Vec::new();
    walk(guest, guest, Path::new(""), &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The sum of the apparent sizes of all regular files, as the vendor counts `size_bytes`.
pub(crate) fn size_bytes(guest: &Dir) -> Result<u64> {
    Ok(files(guest)?.iter().map(|file| file.size_bytes).fold(0, u64::saturating_add))
}

/// Directories within each other that a payload may have. Far more than any instance has, and few enough to go through
/// with the stack and the descriptors of any host.
const DEEPEST: usize = 128;

/// Refuses the directory `prefix` of a payload, or of an instance, where it lies too deep in `root`.
pub(crate) fn check_depth(root: &Dir, prefix: &Path) -> Result<()> {
    if prefix.components().count() <= DEEPEST {
        return Ok(());
    }
    let path = root.path();
    let why =
        format!("{} has directories more than {DEEPEST} deep within each other; remove them", path.display());
    Err(Error::new(Kind::NotSupported, why).at(path))
}

fn walk(root: &Dir, dir: &Dir, prefix: &Path, found: &mut Vec<PayloadFile>) -> Result<()> {
    check_depth(root, prefix)?;
    for entry in dir.entries()? {
        let path = prefix.join(&entry.name);
        match entry.kind {
            EntryKind::Directory => walk(root, &dir.dir(&entry.name)?, &path, found)?,
            EntryKind::File => {
                if let Some(stat) = dir.stat(&entry.name)? {
                    found.push(PayloadFile {
                        path: path.to_string_lossy().into_owned(),
                        size_bytes: stat.size_bytes,
                        allocated_bytes: stat.allocated_bytes,
                    });
                }
            }
            EntryKind::Symlink | EntryKind::Socket | EntryKind::Special => {}
        }
    }
    Ok(())
}

/// Opens the payload of the snapshot `id` in `dir`.
///
/// # Errors
/// `corrupt` where there is none; errors of the disk.
pub(crate) fn guest_of(dir: &Dir, id: &str) -> Result<Dir> {
    dir.dir(GUEST).map_err(|error| match error.errno() {
        Some(libc::ENOENT | libc::ENOTDIR) => {
            let why =
                format!("snapshot {id} has no payload: {error}; delete it, or put it back from a backup");
            Error::new(Kind::Corrupt, why).about(id)
        }
        _ => error.about(id),
    })
}

impl Store {
    /// Opens the payload of snapshot `id`.
    pub(crate) fn guest(&self, id: &str) -> Result<Dir> {
        guest_of(&self.snapshot_dir(id)?, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_however_deep_is_an_error_and_takes_little_stack() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let mut deepest = dir.dir(".").unwrap();
        for _ in 0..DEEPEST {
            deepest = deepest.make_dir("d").unwrap();
        }
        deepest.create_new("file").unwrap();
        assert_eq!(files(&dir).unwrap().len(), 1);
        for _ in 0..5_000 {
            deepest = deepest.make_dir("d").unwrap();
        }
        let refused = files(&dir).unwrap_err();
        assert_eq!((refused.kind(), refused.path()), (Kind::NotSupported, Some(temp.path())), "{refused}");
        drop(deepest);
        dir.remove_tree("d").unwrap();
    }
}
