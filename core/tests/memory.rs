//! Memory images of snapshots: what is read, and what an open one keeps from happening.

mod world;

use std::fs;
use std::thread;

use hypeman_core::{
    Call, CompressionConfig, CompressionState, CreateSnapshot, ExtentKind, Hypeman, InstanceState, Kind,
    MemoryRange, Options, SnapshotKind,
};
use world::{World, create, flip, jobs_end, memory, snapshot, wait};

const MEMORY: &str = "guest/snapshots/snapshot-latest/memory";

fn read(image: &hypeman_core::MemoryImage, offset: u64, len: usize) -> Vec<u8> {
    let mut buffer = vec![0xAA; len];
    let read = image.read_at(offset, &mut buffer).unwrap();
    buffer.truncate(read);
    buffer
}

#[test]
fn memory_is_read_at_any_offset_raw_and_compressed() {
    let world = World::new();
    let hm = world.open();
    for (name, compression) in [("raw", None), ("zstd", Some("zstd")), ("lz4", Some("lz4"))] {
        let (id, directory) = snapshot(&world, &hm, name, compression);
        wait(&hm, &id);
        let image = hm.snapshots().memory(&id).unwrap();
        assert_eq!((image.snapshot_id(), image.size_bytes()), (id.as_str(), 4 << 20));
        assert!(image.path().starts_with(&directory));
        let memory = memory();
        for (offset, len) in [(0, 1), (4095, 2), (65_530, 70_000), (1_000_001, 3 << 20)] {
            assert!(read(&image, offset as u64, len) == memory[offset..][..len], "{name}: {len} at {offset}");
        }
        // Reads are short at the end, and empty behind it.
        assert_eq!(read(&image, (4 << 20) - 5, 100), [0; 5]);
        assert!(read(&image, 4 << 20, 1).is_empty() && read(&image, u64::MAX, 1).is_empty());
        let extents = image.extents().unwrap();
        assert_eq!(extents.iter().map(|extent| extent.size_bytes).sum::<u64>(), 4 << 20);
        if compression.is_some() {
            assert_eq!((extents[1].offset, extents[1].kind), (1 << 20, ExtentKind::Zero), "{extents:?}");
        }
    }
}

#[test]
fn a_snapshot_is_not_deleted_while_its_memory_is_open() {
    let world = World::new();
    let hm = world.open();
    let (id, _) = snapshot(&world, &hm, "web", Some("zstd"));
    wait(&hm, &id);
    let (one, two) = (hm.snapshots().memory(&id).unwrap(), world.open().snapshots().memory(&id).unwrap());
    drop(one);
    assert_eq!(hm.snapshots().delete(&id).unwrap_err().kind(), Kind::Busy);
    // It outlives its handle, and is still a reader.
    assert!(read(&two, 0, 4096) == memory()[..4096]);
    drop(two);
    hm.snapshots().delete(&id).unwrap();
    assert_eq!(hm.snapshots().memory(&id).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_snapshot_that_is_being_compressed_is_read_and_its_raw_file_goes_after_the_reader() {
    let world = World::new();
    let hm = world.open();
    let (id, directory) = snapshot(&world, &hm, "web", None);
    let image = hm.snapshots().memory(&id).unwrap();
    jobs_end(&world);
    hm.snapshots().compress(&id, Some(&CompressionConfig::with("zstd", None))).unwrap();
    let done = wait(&hm, &id);
    assert_eq!(done.compression_state, Some(CompressionState::Compressed));
    assert!(directory.join(MEMORY).exists(), "the raw file has gone under its reader");
    assert!(read(&image, 0, 4 << 20) == memory());
    // What is there is checked without waiting for the reader.
    while !hm
        .snapshots()
        .verify(&id, Call::default())
        .unwrap()
        .files
        .iter()
        .any(|file| file.path.ends_with(".zst") && file.status == hypeman_core::FileStatus::Good)
    {
        thread::yield_now();
    }
    drop(image);
    jobs_end(&world);
    assert!(!directory.join(MEMORY).exists(), "the raw file has outlived its reader");
    assert!(read(&hm.snapshots().memory(&id).unwrap(), 0, 4 << 20) == memory());
}

#[test]
fn many_threads_read_one_image() {
    let world = World::new();
    let hm = world.open();
    let (id, _) = snapshot(&world, &hm, "web", Some("lz4"));
    wait(&hm, &id);
    let (image, memory) = (hm.snapshots().memory(&id).unwrap(), memory());
    thread::scope(|scope| {
        for reader in 0..4 {
            let (image, memory) = (&image, &memory);
            scope.spawn(move || {
                for turn in 0..500 {
                    let at = (turn * 7919 + reader * 1031) * 4096 % (4 << 20);
                    assert!(read(image, at as u64, 4096) == memory[at..at + 4096]);
                }
            });
        }
    });
}

#[test]
fn damage_is_told_with_snapshot_and_file_and_only_where_it_is() {
    let world = World::new();
    let hm = world.open();
    let (id, directory) = snapshot(&world, &hm, "web", Some("zstd"));
    wait(&hm, &id);
    jobs_end(&world);
    let file = directory.join(MEMORY).with_extension("zst");
    // In the first frame, behind the head of the file.
    flip(&file, 200 * 8);
    let image = hm.snapshots().memory(&id).unwrap();
    let error = image.read_at(0, &mut [0; 10]).unwrap_err();
    assert_eq!((error.kind(), error.id(), error.path()), (Kind::Corrupt, Some(id.as_str()), Some(&*file)));
    assert!(read(&image, 500_000, 4096) == memory()[500_000..504_096]);
}

#[test]
fn a_read_only_handle_reads_memory_without_locks() {
    let world = World::new();
    let hm = world.open();
    let (id, _) = snapshot(&world, &hm, "web", Some("zstd"));
    wait(&hm, &id);
    jobs_end(&world);
    hm.close();
    fs::remove_dir_all(world.data().join("snapshots/.libhypeman")).unwrap();
    let reader = Hypeman::open_with(world.data(), Options { read_only: true, ..Options::default() }).unwrap();
    let image = reader.snapshots().memory(&id).unwrap();
    assert!(read(&image, 12_345, 99_999) == memory()[12_345..][..99_999]);
    assert!(reader.snapshots().verify(&id, Call::default()).unwrap().is_good());
    assert!(!world.data().join("snapshots/.libhypeman").exists());
}

#[test]
fn a_snapshot_without_memory_is_refused() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    let made = create(&hm, "web", &CreateSnapshot::new(SnapshotKind::Stopped)).unwrap();
    let error = hm.snapshots().memory(&made.id).unwrap_err();
    assert_eq!((error.kind(), error.id()), (Kind::InvalidState, Some(made.id.as_str())));
}

#[test]
fn guest_addresses_are_told_where_the_form_of_the_file_tells_them() {
    let world = World::new();
    let hm = world.open();
    let (id, directory) = snapshot(&world, &hm, "web", None);
    jobs_end(&world);
    let ranges = || hm.snapshots().memory(&id).unwrap().ranges();
    assert_eq!(ranges().unwrap_err().kind(), Kind::NotSupported);

    let is_of = |hypervisor: &str| {
        let path = directory.join("snapshot.json");
        let record = fs::read_to_string(&path).unwrap();
        let at = record.find("\"SourceHypervisor\": \"").unwrap() + 21;
        let end = at + record[at..].find('"').unwrap();
        fs::write(&path, [&record[..at], hypervisor, &record[end..]].concat()).unwrap();
    };
    is_of("firecracker");
    if std::env::consts::ARCH == "x86_64" {
        assert_eq!(ranges().unwrap(), [MemoryRange { guest_address: 0, offset: 0, size_bytes: 4 << 20 }]);
    }
    is_of("cloud-hypervisor");
    let state = |second: u64| {
        let table = format!(
            r#"{{"memory_ranges":{{"data":[{{"gpa":0,"length":3145728}},{{"gpa":4294967296,"length":{second}}}]}}}}"#
        );
        let table = table.replace('"', "\\\"");
        let state =
            format!(r#"{{"snapshots":{{"memory-manager":{{"snapshot_data":{{"state":"{table}"}}}}}}}}"#);
        fs::write(directory.join(MEMORY).with_file_name("state.json"), state).unwrap();
    };
    state(1 << 20);
    assert_eq!(
        ranges().unwrap(),
        [
            MemoryRange { guest_address: 0, offset: 0, size_bytes: 3 << 20 },
            MemoryRange { guest_address: 4 << 30, offset: 3 << 20, size_bytes: 1 << 20 },
        ]
    );
    state(2 << 20);
    assert_eq!(ranges().unwrap_err().kind(), Kind::Corrupt);
}
