//! A disk that is full: a typed error, nothing lost, nothing left behind.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CompressionState, CreateSnapshot, Hypeman, Kind, RegisterInstance,
    SnapshotFilter, SnapshotKind,
};

use crate::disk::Disk;

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
    let Some(_disk) = Disk::tmpfs(&temp.path().join("small"), 8, "a_create_that_meets_a_full_disk") else {
        return;
    };
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
    let Some(_disk) = Disk::tmpfs(&temp.path().join("small"), 16, "a_compression_that_meets_a_full_disk")
    else {
        return;
    };
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
