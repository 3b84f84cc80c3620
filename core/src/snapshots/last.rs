//! A new image over a copy of the last one that the same VMM process wrote or loaded: only what the guest has changed
//! since is written in the pause, and the result is as complete, and as much on its own, as any other.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::restore::compare::copies_within;
use super::verify::checksums;
use crate::call::Limit;
use crate::copy::copy_open;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{CAPTURE_DIRECTORY, Vmm};
use crate::instances::Found;
use crate::store::Store;
use crate::sys::dir::Dir;

/// Puts a copy of the last image's memory into `place`, and tells its name; `None` where the image has to be written
/// whole.
///
/// That it is the last one only the host can promise: an image that another program had the VMM write empties the log
/// of changes, and nothing that a VMM tells shows that it was emptied.
pub(super) fn copy_last(
    hm: &Hypeman,
    store: &Store,
    found: &Found,
    vmm: &dyn Vmm,
    place: &Dir,
    limit: &Limit,
) -> Result<Option<&'static str>> {
    let Some((name, bytes)) = vmm.writes_over_last().filter(|_| found.exclusive_snapshots) else {
        return Ok(None);
    };
    let Some(last) = store.last_image(vmm.peer())? else { return Ok(None) };
    // As long as it is read, its raw memory stays. One that was deleted or compressed meanwhile is no loss.
    let Ok(Some(_pin)) = store.try_read(&last.snapshot_id) else { return Ok(None) };
    let copied = copy_memory(hm, store, &last.snapshot_id, (name, bytes), place, limit);
    match copied {
        Ok(()) => Ok(Some(name)),
        Err(error) if matches!(error.kind(), Kind::Cancelled | Kind::Timeout) => Err(error),
        Err(error) => {
            if error.kind() == Kind::Corrupt {
                store.log().warning(&last.snapshot_id, || format!("a new image is written whole: {error}"));
            }
            place.unlink(name)?;
            Ok(None)
        }
    }
}

fn copy_memory(
    hm: &Hypeman,
    store: &Store,
    id: &str,
    (name, bytes): (&str, u64),
    place: &Dir,
    limit: &Limit,
) -> Result<()> {
    let source = Path::new(CAPTURE_DIRECTORY).join(name);
    let guest = store.guest(id)?;
    let raw = guest.read(&source)?;
    let path = guest.join(&source);
    let found = raw.metadata().map_err(|e| Error::io("look at", &path, &e))?.len();
    if found != bytes {
        let why = format!("{} has {found} bytes, where guest memory has {bytes}", path.display());
        return Err(Error::new(Kind::Incompatible, why).at(path));
    }
    copy_open(&raw, &place.create_new(name)?, &path, limit)?;
    // The new snapshot's checksums will be of the copy, and would hide what is damaged.
    let Some(checksums) = checksums(&store.snapshot_dir(id)?)? else { return Ok(()) };
    let copied = [(Path::new(name), source.as_path())];
    copies_within(hm, &checksums, (&guest, place), &copied, &AtomicU64::new(0), limit)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::hypervisor::{CaptureTarget, Captured, LoadSource, Peer, RunState};
    use crate::instances::find;
    use crate::store::images::LastImage;
    use crate::sys::process;
    use crate::{Call, CreateSnapshot, RegisterInstance, SnapshotKind};

    const BYTES: u64 = 3 << 20;

    /// A VMM that can write over its last image, and is asked for nothing else.
    struct Paper(Peer);

    impl Vmm for Paper {
        fn version(&self) -> &str {
            ""
        }

        fn peer(&self) -> &Peer {
            &self.0
        }

        fn run_state(&mut self, _: &Limit) -> Result<RunState> {
            Ok(RunState::Running)
        }

        fn prepare(&mut self, _: &Limit) -> Result<()> {
            Ok(())
        }

        fn writes_over_last(&self) -> Option<(&'static str, u64)> {
            Some(("memory", BYTES))
        }

        fn pause(&mut self, _: &Limit) -> Result<()> {
            Ok(())
        }

        fn capture(
            &mut self,
            _: &CaptureTarget<'_>,
            _: &Limit,
            _: &mut dyn FnMut(u64, u64) -> Result<()>,
        ) -> Result<Captured> {
            Err(Error::new(Kind::Internal, "not asked for"))
        }

        fn resume(&mut self) -> Result<()> {
            Ok(())
        }

        fn load(
            &mut self,
            _: &LoadSource<'_>,
            _: &Limit,
            _: &mut dyn FnMut(u64, u64) -> Result<()>,
        ) -> Result<()> {
            Ok(())
        }

        fn settle(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_new_image_builds_on_the_last_one_only_as_long_as_that_is_what_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let image = temp.path().join("web").join(CAPTURE_DIRECTORY);
        fs::create_dir_all(&image).unwrap();
        fs::write(image.join("memory"), vec![7; BYTES as usize]).unwrap();
        let hm = Hypeman::open(temp.path().join("data")).unwrap();
        let vm = RegisterInstance {
            directory: Some(temp.path().join("web")),
            exclusive_snapshots: true,
            ..RegisterInstance::new("web", "firecracker")
        };
        hm.instances().register(&vm).unwrap();
        let standby = CreateSnapshot::new(SnapshotKind::Standby);
        let made = hm.instances().snapshots().create("web", &standby, Call::default()).unwrap();
        hm.finish(Call::default()).unwrap();

        let store = hm.writable_store().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let vmm = Paper(Peer { pid, uid: 0, start_ticks: process::start_ticks(pid).unwrap() });
        let last = LastImage::of(&made.id, vmm.peer()).unwrap();
        store.begin_image(&last).unwrap();
        store.finish_image(&last).unwrap();
        let found = find(store, "web").unwrap();
        fs::create_dir(temp.path().join("place")).unwrap();
        let place = Dir::open(&temp.path().join("place")).unwrap();
        let copy = || copy_last(&hm, store, &found, &vmm, &place, &Limit::default()).unwrap();
        assert_eq!(copy(), Some("memory"));
        place.unlink("memory").unwrap();

        let stored = store.guest(&made.id).unwrap().join(CAPTURE_DIRECTORY).join("memory");
        let mut memory = fs::read(&stored).unwrap();
        memory[2 << 20] ^= 1;
        fs::write(&stored, memory).unwrap();
        assert_eq!(copy(), None);
        assert_eq!(place.entries().unwrap(), []);
    }
}
