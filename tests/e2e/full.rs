//! Full disks: what was asked for fails with a typed error, and nothing else is lost.

use std::fs;

use hypeman_core::{Call, CompressionConfig, CompressionState, Hypeman, Kind, RegisterInstance};

use crate::scene::{Scene, SmallDisk, VM_ID, directory, raw_memory, standby};

pub fn a_full_disk_ends_a_capture_only() {
    let room = directory();
    // The guest's memory needs more than a MiB; the data directory itself a few pages.
    let disk = SmallDisk::mount(room.path().join("disk"), 1).unwrap();
    let mut scene = Scene::with_data(|_| disk.path().join("data"));
    let refused =
        scene.hm.instances().snapshots().create(VM_ID, &standby(None), Call::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::NoSpace, "{refused}");
    scene.assert_as_before();

    disk.resize(64);
    scene.capture(None);
    scene.hm.close();
}

pub fn a_full_disk_ends_a_compression_only() {
    let room = directory();
    let disk = SmallDisk::mount(room.path().join("disk"), 5).unwrap();
    let vm = room.path().join("vm");
    let mut state = 1_u64;
    let memory: Vec<u8> = (0..400_000)
        .flat_map(|_| {
            // No codec makes anything of it.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes()
        })
        .collect();
    fs::create_dir_all(vm.join("snapshots/snapshot-latest")).unwrap();
    fs::write(vm.join("snapshots/snapshot-latest/memory"), &memory).unwrap();
    let hm = Hypeman::open(disk.path().join("data")).unwrap();
    hm.instances()
        .register(&RegisterInstance {
            id: Some(VM_ID.into()),
            directory: Some(vm),
            ..RegisterInstance::new("standby", "qemu")
        })
        .unwrap();
    let asked = standby(Some(CompressionConfig::on()));
    let made = hm.instances().snapshots().create(VM_ID, &asked, Call::default()).unwrap();
    let ended = hm.snapshots().wait(&made.id, Call::default()).unwrap();
    assert_eq!(ended.compression_state, Some(CompressionState::Error));
    let why = ended.compression_error.unwrap();
    assert!(why.contains("No space left"), "{why}");
    let guest = hm.data_dir().join("snapshots").join(&made.id).join("guest");
    assert!(raw_memory(&guest) == memory, "the raw memory is as it was");

    disk.resize(64);
    hm.snapshots().compress(&made.id, None).unwrap();
    let done = hm.snapshots().wait(&made.id, Call::default()).unwrap();
    assert_eq!(done.compression_state, Some(CompressionState::Compressed), "{:?}", done.compression_error);
    assert!(raw_memory(&guest) == memory);
    hm.close();
}
