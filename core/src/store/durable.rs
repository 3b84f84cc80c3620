//! The rules of flushing: what is acknowledged is on the disk, and a crash leaves the old or the new, never a mix.
//!
//! A failed flush is never tried again: the kernel may have dropped the pages, so the object has failed and is made
//! anew from its source (ATC'20, "Can applications recover from fsync failures?").

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::hypeman::Durability;
use crate::sys::dir::Dir;

/// How much is flushed. Every flush of the store goes through here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durable(pub(crate) Durability);

/// For notes that a power cut makes worthless, or that follow from what is flushed: they outlive their writer without.
pub(crate) const UNFLUSHED: Durable = Durable(Durability::Relaxed);

impl Durable {
    /// Flushes the content and the length of `file`.
    pub(crate) fn file(self, file: &File, path: &Path) -> Result<()> {
        match self.0 {
            Durability::Full => file.sync_all().map_err(|e| Error::io("flush", path, &e)),
            Durability::Relaxed => Ok(()),
        }
    }

    /// Flushes the entries of `dir`.
    pub(crate) fn dir(self, dir: &Dir) -> Result<()> {
        match self.0 {
            Durability::Full => dir.sync(),
            Durability::Relaxed => Ok(()),
        }
    }

    /// Writes a new file `name` into `dir`, and flushes it and its entry.
    pub(crate) fn create(self, dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
        self.write_new(dir, name, bytes)?;
        // The name is not ours to leave behind.
        self.dir(dir).inspect_err(|_| drop(dir.unlink(name)))
    }

    /// Writes a new file `name` into `dir`, and flushes it; its entry is flushed with `dir`.
    pub(crate) fn write_new(self, dir: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
        let path = dir.join(name);
        let file = dir.create_new(name)?;
        let written = write_whole(&file, bytes, &path).and_then(|()| self.file(&file, &path));
        written.inspect_err(|_| drop(dir.unlink(name)))
    }

    /// Replaces, or makes, the file `name` in `dir` by way of `scratch`: readers see the old content or the new.
    ///
    /// The caller holds the lock under which alone `scratch_name` is written.
    pub(crate) fn replace(
        self,
        dir: &Dir,
        name: &str,
        bytes: &[u8],
        scratch: &Dir,
        scratch_name: &str,
    ) -> Result<()> {
        self.write_over(dir, name, bytes, scratch, scratch_name)?;
        self.dir(dir)
    }

    /// As [`Durable::replace`]; its entry is flushed with `dir`.
    pub(crate) fn write_over(
        self,
        dir: &Dir,
        name: &str,
        bytes: &[u8],
        scratch: &Dir,
        scratch_name: &str,
    ) -> Result<()> {
        scratch.unlink(scratch_name)?;
        let path = scratch.join(scratch_name);
        let file = scratch.create_new(scratch_name)?;
        let written = write_whole(&file, bytes, &path)
            .and_then(|()| self.file(&file, &path))
            .and_then(|()| scratch.rename(scratch_name, dir, name));
        written.inspect_err(|_| drop(scratch.unlink(scratch_name)))
    }
}

/// Writes `bytes` to a new file and reads them back: what takes bytes and does not keep them is found out before anything
/// good is replaced by it.
fn write_whole(mut file: &File, bytes: &[u8], path: &Path) -> Result<()> {
    file.write_all(bytes).map_err(|e| Error::io("write", path, &e))?;
    let mut kept = [0; 4096];
    let mut at = 0;
    for piece in bytes.chunks(kept.len()) {
        let kept = kept.get_mut(..piece.len()).unwrap_or_default();
        match file.read_exact_at(kept, at) {
            Ok(()) if *kept == *piece => at += piece.len() as u64,
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(Error::io("read back", path, &e));
            }
            _ => {
                let why = format!(
                    "{} does not hold what was written to it; look for what is wrong with its disk or file system",
                    path.display()
                );
                return Err(Error::new(Kind::Io, why).at(path));
            }
        }
    }
    Ok(())
}
