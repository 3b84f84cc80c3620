//! A disk that is full: a typed error, nothing lost, nothing left behind. On a real tmpfs, so only as root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CompressionState, CreateSnapshot, Hypeman, Kind, RegisterInstance,
    SnapshotFilter, SnapshotKind,
};

/// A file system of a few MiB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    #[expect(clippy::print_stdout, reason = "a test that is left out says so")]
    fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        let required =
            std::env::var("HYPEMAN_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == "root"));
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            _ if required => panic!("HYPEMAN_REQUIRE names root, but tmpfs cannot be mounted: {mounted:?}"),
            _ => {
                println!("SKIP full_disk: tmpfs cannot be mounted (need root)");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// Guest memory that no codec makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes / 8).flat_map(|_| step()).collect()
}

fn standby_vm(hm: &Hypeman, directory: PathBuf, memory: &[u8]) {
    fs::create_dir_all(directory.join("snapshots/snapshot-latest")).unwrap();
    fs::write(directory.join("snapshots/snapshot-latest/memory"), memory).unwrap();
    let request = RegisterInstance { directory: Some(directory), ..RegisterInstance::new("web", "qemu") };
    hm.instances().register(&request).unwrap();
}

#[test]
fn a_create_that_meets_a_full_disk_leaves_nothing_and_can_be_repeated() {
    let temp = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(&temp.path().join("small"), 8) else { return };
    let data = temp.path().join("small/data");
    let hm = Hypeman::open(&data).unwrap();
    standby_vm(&hm, temp.path().join("web"), &noise(6 << 20));
    let filler = temp.path().join("small/filler");
    fs::write(&filler, noise(4 << 20)).unwrap();

    let request = CreateSnapshot { name: Some("n".into()), ..CreateSnapshot::new(SnapshotKind::Standby) };
    let error = hm.instances().snapshots().create("web", &request, Call::default()).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (Kind::NoSpace, Some(libc::ENOSPC)), "{error}");
    assert!(hm.snapshots().list(&SnapshotFilter::default()).unwrap().is_empty());
    assert_eq!(fs::read_dir(data.join("snapshots/.libhypeman/staging")).unwrap().count(), 0);

    fs::remove_file(filler).unwrap();
    hm.instances().snapshots().create("web", &request, Call::default()).unwrap();
}

#[test]
fn a_compression_that_meets_a_full_disk_keeps_the_raw_memory_and_can_be_repeated() {
    let temp = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(&temp.path().join("small"), 16) else { return };
    let data = temp.path().join("small/data");
    let hm = Hypeman::open(&data).unwrap();
    let memory = noise(6 << 20);
    standby_vm(&hm, temp.path().join("web"), &memory);
    let filler = temp.path().join("small/filler");
    fs::write(&filler, noise(6 << 20)).unwrap();

    let request = CreateSnapshot {
        compression: Some(CompressionConfig::with("lz4", Some(3))),
        ..CreateSnapshot::new(SnapshotKind::Standby)
    };
    let made = hm.instances().snapshots().create("web", &request, Call::default()).unwrap();
    let wait = || hm.snapshots().wait(&made.id, Call::default().timeout(Duration::from_secs(60))).unwrap();
    let failed = wait();
    assert_eq!(failed.compression_state, Some(CompressionState::Error));
    assert!(
        failed.compression_error.as_deref().is_some_and(|why| why.contains("No space left")),
        "{failed:?}"
    );
    let image = data.join("snapshots").join(&made.id).join("guest/snapshots/snapshot-latest");
    assert!(fs::read(image.join("memory")).unwrap() == memory);
    assert_eq!(fs::read_dir(&image).unwrap().count(), 1);

    fs::remove_file(filler).unwrap();
    hm.snapshots().compress(&made.id, None).unwrap();
    let done = wait();
    assert_eq!(done.compression_state, Some(CompressionState::Compressed), "{done:?}");
    assert_eq!(done.compression, Some(CompressionConfig::with("lz4", Some(3))));
    assert_eq!(done.compression_error, None);
}
