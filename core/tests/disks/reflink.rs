//! A file system that reflinks: a capture shares the blocks of large disks with their source.

use std::fs;
use std::io::Write;

use hypeman_core::{Call, CreateSnapshot, Hypeman, RegisterInstance, SnapshotKind};
use nix::sys::statvfs::statvfs;

use crate::disk::Disk;

const DISK_BYTES: u64 = 64 << 20;

#[test]
fn a_disk_that_is_captured_by_reflink_takes_no_room() {
    let temp = tempfile::tempdir().unwrap();
    let (at, image) = (temp.path().join("disk"), temp.path().join("image"));
    let Some(disk) = Disk::reflinking(&at, &image, "a_disk_that_is_captured_by_reflink_takes_no_room") else {
        return;
    };
    let vm = disk.path().join("web");
    fs::create_dir(&vm).unwrap();
    let mut source = fs::File::create(vm.join("overlay.raw")).unwrap();
    for block in 0..DISK_BYTES >> 20 {
        source.write_all(&vec![block as u8; 1 << 20]).unwrap();
    }
    source.sync_all().unwrap();
    let hm = Hypeman::open(disk.path().join("data")).unwrap();
    hm.instances()
        .register(&RegisterInstance { directory: Some(vm.clone()), ..RegisterInstance::new("web", "qemu") })
        .unwrap();
    let free_bytes = || {
        let room = statvfs(disk.path()).unwrap();
        room.blocks_free() * room.fragment_size()
    };

    let before = free_bytes();
    let stopped = CreateSnapshot::new(SnapshotKind::Stopped);
    let made = hm.instances().snapshots().create("web", &stopped, Call::default()).unwrap();
    let taken = before.saturating_sub(free_bytes());
    assert!(taken < DISK_BYTES / 4, "{taken} bytes for a copy of {DISK_BYTES}");

    // Shared until one side is written: the snapshot is not.
    let captured = hm.data_dir().join("snapshots").join(&made.id).join("guest/overlay.raw");
    fs::write(vm.join("overlay.raw"), "written later").unwrap();
    assert_eq!(made.size_bytes, DISK_BYTES);
    let bytes = fs::read(captured).unwrap();
    assert!(bytes.chunks(1 << 20).enumerate().all(|(block, bytes)| bytes == vec![block as u8; 1 << 20]));
    hm.close();
}
