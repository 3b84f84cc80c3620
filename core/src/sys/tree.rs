//! Removing a directory with all that is in it, whatever someone put there: no link is followed, and a tree however deep
//! takes few descriptors and little stack.

use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::dir::{Dir, fail};
use crate::error::{Error, Kind, Result};

/// How deep a tree is removed from its top. What lies deeper is moved up first.
const DEEP: usize = 64;

impl Dir {
    /// Removes the entry `name` and all beneath it, without following links. What is gone already is fine.
    pub(crate) fn remove_tree(&self, name: impl AsRef<Path>) -> Result<()> {
        let name = name.as_ref();
        // Someone may add a file between our look and our rmdir; a few rounds outlast any honest writer.
        for _ in 0..16 {
            if self.remove_file(name)? {
                return Ok(());
            }
            if let Some(inside) = self.dir_if_any(name)? {
                let mut moved = 0;
                loop {
                    let before = moved;
                    inside.empty(&inside, 0, &mut moved)?;
                    if moved == before {
                        break;
                    }
                }
            }
            if self.remove_empty(name)? {
                return Ok(());
            }
        }
        Err(Error::new(
            Kind::Busy,
            format!("{} is being written to while it is removed", self.join(name).display()),
        )
        .at(self.join(name)))
    }

    /// Removes all that is in this directory, `depth` beneath `top`, but for what lies too deep: that is moved to `top`
    /// under a number, which `moved` counts.
    fn empty(&self, top: &Self, depth: usize, moved: &mut u64) -> Result<()> {
        for entry in self.entries()? {
            let name = Path::new(&entry.name);
            if self.remove_file(name)? {
                continue;
            }
            if depth == DEEP {
                *moved += 1;
                match self.rename_new(name, top, moved.to_string()) {
                    // Something there has that name; the next number is tried in the next round.
                    Err(error) if !matches!(error.errno(), Some(libc::EEXIST | libc::ENOENT)) => {
                        return Err(error);
                    }
                    _ => continue,
                }
            }
            if let Some(inside) = self.dir_if_any(name)? {
                inside.empty(top, depth + 1, moved)?;
            }
            // What is not empty is looked at again from above.
            self.remove_empty(name)?;
        }
        Ok(())
    }

    /// Removes the file or link `name`; `false` where it is a directory.
    fn remove_file(&self, name: &Path) -> Result<bool> {
        match unlinkat(self, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(true),
            Err(Errno::EISDIR | Errno::EPERM) => Ok(false),
            Err(e) => Err(fail("remove", &self.join(name), e)),
        }
    }

    /// Removes the directory `name`; `false` where it is not empty, or not one any more.
    fn remove_empty(&self, name: &Path) -> Result<bool> {
        match unlinkat(self, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(true),
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => Ok(false),
            Err(e) => Err(fail("remove the directory", &self.join(name), e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_tree_however_deep_is_removed_with_few_descriptors_and_little_stack() {
        let (temp, dir) = scratch();
        let mut deepest = dir.make_dir("deep").unwrap();
        for _ in 0..5_000 {
            deepest.create_new("f").unwrap();
            deepest = deepest.make_dir("d").unwrap();
        }
        drop(deepest);
        dir.remove_tree("deep").unwrap();
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_tree_is_removed_and_one_that_is_gone_is_fine() {
        let (_temp, dir) = scratch();
        dir.ensure_dir("a/b/c").unwrap().create_new("f").unwrap();
        dir.remove_tree("a").unwrap();
        dir.remove_tree("a").unwrap();
        assert_eq!(dir.stat("a/b").unwrap(), None);
    }
}
