//! The directory of the host's choice in which files pass between us and a VMM that does not reach the data directory:
//! it runs as another user, or in a jail. Each capture and each load has a directory of its own in there.
//!
//! A link in the stage that it belongs to leads to it, from before it is made until after it is gone: what a dead
//! opener left is found and removed with its stage.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::geteuid;

use super::Store;
use super::staging::Stage;
use crate::call::Limit;
use crate::copy::copy_open;
use crate::error::{Error, Kind, Result};
use crate::sys::dir::{Dir, Entry, EntryKind};
use crate::sys::disk::give_to;

/// The link in a stage.
const LINK: &str = "handover";

/// A directory that we share with one VMM. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Handover {
    store: Arc<Store>,
    stage_id: String,
    parent: Dir,
    name: String,
    dir: Dir,
    seen_as: PathBuf,
    /// The user of the VMM.
    uid: u32,
    /// The VMM may still use it: it stays for the next opener.
    is_left: bool,
}

impl Handover {
    /// Makes one in `place`, which a VMM of user `uid` sees at `seen_as`, for `stage`.
    pub(crate) fn open(
        store: &Arc<Store>,
        stage: &Stage,
        place: &Path,
        seen_as: &Path,
        uid: u32,
    ) -> Result<Self> {
        let name = name_of(stage.id());
        let parent = Dir::open(place)?;
        store.private()?.staging.dir(stage.id())?.symlink(&place.join(&name), LINK)?;
        let dir = parent.make_dir(&name)?;
        let made = Self {
            store: Arc::clone(store),
            stage_id: stage.id().to_owned(),
            seen_as: seen_as.join(&name),
            parent,
            name,
            dir,
            uid,
            is_left: false,
        };
        give_to(uid, &made.dir.to_file()?, &made.parent.to_file()?)
            .map_err(|e| cannot_give(made.dir.path(), &e))?;
        Ok(made)
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its path as the VMM sees it.
    pub(crate) fn seen_as(&self) -> &Path {
        &self.seen_as
    }

    /// Gives the VMM access to the file or directory `name` in it.
    pub(crate) fn lend(&self, name: impl AsRef<Path>) -> Result<()> {
        let name = name.as_ref();
        let path = self.dir.join(name);
        let lent = match self.dir.stat(name)?.map(|stat| stat.kind) {
            Some(EntryKind::Directory) => self.dir.dir(name)?.to_file()?,
            _ => self.dir.read(name)?,
        };
        give_to(self.uid, &lent, &self.parent.to_file()?).map_err(|e| cannot_give(&path, &e))
    }

    /// Moves what the VMM has written into `home`, where only we have access to it.
    pub(crate) fn bring_home(&self, home: &Dir, limit: &Limit) -> Result<()> {
        for entry in self.dir.entries()? {
            self.bring_file(&entry, home, limit)?;
        }
        Ok(())
    }

    fn bring_file(&self, entry: &Entry, home: &Dir, limit: &Limit) -> Result<()> {
        let path = self.dir.join(&entry.name);
        if entry.kind != EntryKind::File {
            return Err(no_plain_file(&path));
        }
        let file = self.dir.read(&entry.name)?;
        let facts = file.metadata().map_err(|e| Error::io("look at", &path, &e))?;
        // A second name could be that of a file of someone else's, which we would take from them.
        if facts.nlink() != 1 {
            return Err(no_plain_file(&path));
        }
        let ours = geteuid();
        if facts.uid() == ours.as_raw() || ours.is_root() {
            match self.dir.rename_new(&entry.name, home, &entry.name) {
                Ok(()) => {
                    let there = home.read(&entry.name)?;
                    return take(&there, &facts).map_err(|e| Error::io("take over", &path, &e));
                }
                Err(error) if error.errno() == Some(libc::EXDEV) => {}
                Err(error) => return Err(error),
            }
        }
        copy_open(&file, &home.create_new(&entry.name)?, &path, limit)
    }

    /// Leaves it to the VMM, which may still use it; the next opener removes it with its stage.
    pub(crate) fn leave(mut self) {
        self.is_left = true;
    }
}

/// Makes `file`, which was seen as `facts`, ours alone.
fn take(file: &File, facts: &std::fs::Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.dev(), now.ino(), now.nlink()) != (facts.dev(), facts.ino(), 1) {
        return Err(io::Error::other("it was exchanged for another file meanwhile"));
    }
    let ours = geteuid();
    if now.uid() != ours.as_raw() {
        fchown(file, Some(ours.as_raw()), Some(nix::unistd::getegid().as_raw()))?;
    }
    file.set_permissions(Permissions::from_mode(0o600))
}

fn cannot_give(path: &Path, error: &io::Error) -> Error {
    Error::io("give the VMM access to", path, error)
}

fn no_plain_file(path: &Path) -> Error {
    let why = format!("the VMM left {}, which is no plain file, in the staging directory", path.display());
    Error::new(Kind::Hypervisor, why).at(path)
}

impl Drop for Handover {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        // What cannot be removed now is removed by the next opener.
        if self.parent.remove_tree(&self.name).is_ok() {
            let stage = self.store.private().and_then(|private| private.staging.dir(&self.stage_id));
            let _ = stage.and_then(|stage| stage.unlink(LINK));
        }
    }
}

impl Store {
    /// Removes the directory that the stage `id`, whose owner is dead, shared with a VMM, if there is one.
    pub(super) fn clear_handover(&self, id: &str) -> Result<()> {
        let Some(stage) = self.private()?.staging.dir_if_any(id)? else { return Ok(()) };
        let Ok(path) = stage.read_link(LINK) else { return Ok(()) };
        match path.parent().map(Dir::open) {
            Some(Ok(parent)) => parent.remove_tree(name_of(id)),
            // The host has removed all of it.
            _ => Ok(()),
        }
    }
}

fn name_of(stage_id: &str) -> String {
    format!("libhypeman-{stage_id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Call;
    use crate::hypeman::Durability;
    use crate::log::Log;

    struct Scene {
        store: Arc<Store>,
        pass: PathBuf,
        home: Dir,
        _root: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let store = Arc::new(
                Store::open(&root.path().join("data"), Durability::Full, false, Log::default()).unwrap(),
            );
            let [pass, home] = ["pass", "home"].map(|name| root.path().join(name));
            std::fs::create_dir(&pass).unwrap();
            std::fs::create_dir(&home).unwrap();
            Self { store, pass, home: Dir::open(&home).unwrap(), _root: root }
        }

        fn open(&self, stage: &Stage) -> Handover {
            let seen_as = Path::new("/seen");
            let made = Handover::open(&self.store, stage, &self.pass, seen_as, geteuid().as_raw()).unwrap();
            assert_eq!(made.seen_as(), seen_as.join(name_of(stage.id())));
            made
        }

        fn count(&self) -> usize {
            std::fs::read_dir(&self.pass).unwrap().count()
        }
    }

    #[test]
    fn what_the_vmm_wrote_is_moved_home_and_nothing_stays() {
        let scene = Scene::new();
        let stage = Stage::begin(&scene.store).unwrap();
        let handover = scene.open(&stage);
        std::fs::write(handover.dir().join("memory"), "pages").unwrap();
        handover.bring_home(&scene.home, Call::default().limit()).unwrap();
        let memory = scene.home.join("memory");
        assert_eq!(std::fs::read(&memory).unwrap(), b"pages");
        assert_eq!(memory.metadata().unwrap().mode() & 0o7777, 0o600);
        drop(handover);
        assert_eq!(scene.count(), 0);
    }

    #[test]
    fn links_are_not_taken_for_what_the_vmm_wrote() {
        let scene = Scene::new();
        let victim = scene.pass.join("of someone else");
        std::fs::write(&victim, "secret").unwrap();
        for plant in [
            (|at: &Path, of: &Path| std::os::unix::fs::symlink(of, at)) as fn(&Path, &Path) -> io::Result<()>,
            |at, of| std::fs::hard_link(of, at),
        ] {
            let stage = Stage::begin(&scene.store).unwrap();
            let handover = scene.open(&stage);
            plant(&handover.dir().join("memory"), &victim).unwrap();
            let error = handover.bring_home(&scene.home, Call::default().limit()).unwrap_err();
            assert_eq!(error.kind(), Kind::Hypervisor, "{error}");
            assert_eq!(scene.home.entries().unwrap(), []);
        }
        assert_eq!(std::fs::read(&victim).unwrap(), b"secret");
        assert_eq!(scene.count(), 1);
    }

    #[test]
    fn what_a_dead_opener_left_is_removed_with_its_stage_and_what_a_living_one_has_stays() {
        let scene = Scene::new();
        let (dead, living) = (Stage::begin(&scene.store).unwrap(), Stage::begin(&scene.store).unwrap());
        let left = scene.open(&dead);
        std::fs::write(left.dir().join("memory"), "half").unwrap();
        left.leave();
        dead.leave();
        let used = scene.open(&living);
        scene.store.clear_dead_stages().unwrap();
        assert_eq!(scene.count(), 1);
        assert!(used.dir().path().exists());
        drop(used);
        assert_eq!(scene.count(), 0);
    }
}
