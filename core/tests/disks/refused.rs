//! A data directory that cannot be written: `permission`, the path, and what to do, said once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use hypeman_core::{
    Call, CreateSnapshot, Error, Hypeman, Kind, Options, RegisterInstance, SnapshotFilter, SnapshotKind,
};
use nix::unistd::{Uid, setfsuid};

use crate::disk::Disk;

const ADVICE: &str = "open the data directory read-only";

fn read_only(data: &Path) -> Hypeman {
    Hypeman::open_with(data, Options { read_only: true, ..Options::default() }).unwrap()
}

fn assert_refused(error: &Error, errno: i32, path: &Path) {
    assert_eq!((error.kind(), error.errno()), (Kind::Permission, Some(errno)), "{error}");
    assert!(error.path().is_some_and(|at| at.starts_with(path)), "{error:?}");
    assert_eq!(error.message().matches(ADVICE).count(), 1, "{error}");
}

#[test]
fn a_disk_that_is_read_only_is_refused_for_writing_and_can_be_read() {
    let temp = tempfile::tempdir().unwrap();
    let test = "a_disk_that_is_read_only_is_refused_for_writing_and_can_be_read";
    let Some(disk) = Disk::tmpfs(&temp.path().join("disk"), 8, test) else { return };
    let data = disk.path().join("data");
    let vm = temp.path().join("web");
    fs::create_dir(&vm).unwrap();
    fs::write(vm.join("overlay.raw"), "disk").unwrap();
    let hm = Hypeman::open(&data).unwrap();
    hm.instances()
        .register(&RegisterInstance { directory: Some(vm), ..RegisterInstance::new("web", "qemu") })
        .unwrap();
    let stopped = CreateSnapshot::new(SnapshotKind::Stopped);
    let made = hm.instances().snapshots().create("web", &stopped, Call::default()).unwrap();
    hm.close();
    disk.forbid_writes();

    assert_refused(&Hypeman::open(&data).unwrap_err(), libc::EROFS, &data);
    assert_refused(&Hypeman::open(disk.path().join("new")).unwrap_err(), libc::EROFS, disk.path());
    let reader = read_only(&data);
    assert_eq!(reader.snapshots().list(&SnapshotFilter::default()).unwrap(), [Arc::new(made.clone())]);
    assert_eq!(reader.snapshots().get(&made.id).unwrap(), made);
}

#[test]
fn a_directory_of_another_user_is_refused_for_writing_and_can_be_read() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    fs::create_dir_all(data.join("snapshots")).unwrap();
    for directory in [temp.path(), &data, &data.join("snapshots")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let (refused, listed) = as_nobody(|| {
        let refused = [Hypeman::open(&data), Hypeman::open(temp.path().join("new"))].map(Result::unwrap_err);
        (refused, read_only(&data).snapshots().list(&SnapshotFilter::default()).unwrap())
    });
    // Temporary directories are removed by their owner.
    for directory in [temp.path(), &data, &data.join("snapshots")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert_refused(&refused[0], libc::EACCES, &data);
    assert_refused(&refused[1], libc::EACCES, temp.path());
    assert_eq!(listed, []);
}

/// Runs `work` on a thread that root's rights to files do not reach; where we are not root they never did.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let nobody = scope.spawn(|| {
            if Uid::effective().is_root() {
                // Of this thread alone, and with it go the capabilities that concern files.
                setfsuid(Uid::from_raw(65534));
            }
            work()
        });
        nobody.join().unwrap()
    })
}
