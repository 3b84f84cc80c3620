//! Snapshots of instances that need no VMM: what is made, found, compressed and deleted.

mod world;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use hypeman_core::{
    Call, CompressionConfig, CompressionState, CreateSnapshot, Disk, Hypeman, InstanceState, Kind, Options,
    SnapshotFilter, SnapshotKind,
};
use world::{World, create, jobs_end, memory, standby, tree, wait};

#[test]
fn a_stopped_vm_is_copied_and_found_again_by_another_opener() {
    let world = World::new();
    let hm = world.open();
    let vm = hm.instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    assert_eq!(vm.state, InstanceState::Stopped);
    let request = CreateSnapshot {
        name: Some("baseline".into()),
        tags: Some(BTreeMap::from([("team".into(), "backend".into())])),
        ..CreateSnapshot::new(SnapshotKind::Stopped)
    };
    let made = create(&hm, "web", &request).unwrap();
    assert_eq!(made.size_bytes, 1 << 20);
    assert_eq!(made.compression_state, Some(CompressionState::None));

    let other = world.open();
    assert_eq!(other.snapshots().get(&made.id).unwrap(), made);
    assert_eq!(other.snapshots().list(&SnapshotFilter::default()).unwrap(), [Arc::new(made.clone())]);
    let guest = world.data().join("snapshots").join(&made.id).join("guest");
    assert_eq!(tree(&guest), ["overlay.raw"]);
    assert_eq!(
        fs::read(guest.join("overlay.raw")).unwrap(),
        fs::read(world.temp.path().join("web/overlay.raw")).unwrap()
    );
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(guest.join("overlay.raw")), mode(guest)), (0o600, 0o700));
}

#[test]
fn compression_ends_in_a_file_that_the_stock_tool_reads() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Standby)).unwrap();
    for (algorithm, tool, extension) in [("zstd", "zstd", "zst"), ("lz4", "lz4", "lz4")] {
        let compression = Some(CompressionConfig::with(algorithm, None));
        let made = create(&hm, "web", &CreateSnapshot { compression, ..standby() }).unwrap();
        assert_eq!(made.compression_state, Some(CompressionState::Compressing));
        assert_eq!(made.size_bytes, (1 << 20) + (4 << 20));
        let done = wait(&hm, &made.id);
        assert_eq!(done.compression_state, Some(CompressionState::Compressed), "{done:?}");
        assert_eq!(done.uncompressed_size_bytes, Some(4 << 20));
        assert_eq!(done.size_bytes, (1 << 20) + done.compressed_size_bytes.unwrap());

        let image = world.data().join("snapshots").join(&made.id).join("guest/snapshots/snapshot-latest");
        assert_eq!(tree(&image), [format!("memory.{extension}")]);
        let decoded = std::process::Command::new(tool)
            .args(["-d", "-c"])
            .arg(image.join(format!("memory.{extension}")))
            .output()
            .unwrap();
        assert!(decoded.stdout == memory(), "{tool}: {}", String::from_utf8_lossy(&decoded.stderr));
    }
    jobs_end(&world);
}

#[test]
fn a_names_second_use_is_a_conflict_until_it_is_deleted() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    hm.instances().register(&world.vm("db", InstanceState::Stopped)).unwrap();
    let named = CreateSnapshot { name: Some("n".into()), ..CreateSnapshot::new(SnapshotKind::Stopped) };
    let first = create(&hm, "web", &named).unwrap();
    create(&hm, "db", &named).unwrap();
    let error = create(&hm, "web", &named).unwrap_err();
    assert_eq!((error.kind(), error.id()), (Kind::Conflict, Some(first.id.as_str())));
    hm.snapshots().delete(&first.id).unwrap();
    assert_eq!(hm.snapshots().get(&first.id).unwrap_err().kind(), Kind::NotFound);
    create(&hm, "web", &named).unwrap();
    jobs_end(&world);
    assert!(tree(&world.data().join("snapshots/.libhypeman/trash")).is_empty());
    assert!(tree(&world.data().join("snapshots/.libhypeman/staging")).is_empty());
}

#[test]
fn a_refused_create_leaves_nothing() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    let before = tree(&world.data());
    let error = create(&hm, "web", &CreateSnapshot { name: Some("n".into()), ..standby() }).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    assert!(error.message().contains("got Stopped"), "{error}");
    let unknown = create(&hm, "nope", &standby()).unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
    let after = tree(&world.data());
    // Lock files stay by design; nothing else may.
    let extra: Vec<_> =
        after.iter().filter(|path| !before.contains(path) && !path.contains("/locks/")).collect();
    assert!(extra.is_empty(), "{extra:?}");
}

#[test]
fn disks_from_outside_the_directory_are_captured_too() {
    let world = World::new();
    let hm = world.open();
    let outside = world.temp.path().join("data disk.raw");
    fs::write(&outside, "outside").unwrap();
    let mut request = world.vm("web", InstanceState::Stopped);
    request.disks = vec![Disk { path: outside, readonly: false }];
    hm.instances().register(&request).unwrap();
    let made = create(&hm, "web", &CreateSnapshot::new(SnapshotKind::Stopped)).unwrap();
    let files: Vec<_> =
        hm.snapshots().inspect(&made.id).unwrap().files.into_iter().map(|file| file.path).collect();
    assert_eq!(files, ["disks/0-data disk.raw", "overlay.raw"]);
}

#[test]
fn another_handle_sees_what_this_one_does_and_what_strangers_do() {
    let world = World::new();
    let (hm, other) = (world.open(), world.open());
    let all = |hm: &Hypeman| {
        let list = hm.snapshots().list(&SnapshotFilter::default()).unwrap();
        list.iter().map(|snapshot| snapshot.id.clone()).collect::<Vec<_>>()
    };
    assert!(all(&other).is_empty());
    hm.instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    let made = create(&hm, "web", &CreateSnapshot::new(SnapshotKind::Stopped)).unwrap();
    assert_eq!(all(&other), std::slice::from_ref(&made.id));

    // A stranger's copy: first its directory, then half a record, then all of it.
    let snapshots = world.data().join("snapshots");
    let record = fs::read_to_string(snapshots.join(&made.id).join("snapshot.json")).unwrap();
    fs::create_dir_all(snapshots.join("stranger/guest")).unwrap();
    assert_eq!(all(&other).len(), 1);
    let copy = record.replace(&made.id, "stranger");
    fs::write(snapshots.join("stranger/snapshot.json"), &copy[..copy.len() / 2]).unwrap();
    assert_eq!(all(&other), std::slice::from_ref(&made.id));
    assert_eq!(other.snapshots().get("stranger").unwrap_err().kind(), Kind::Corrupt);
    fs::write(snapshots.join("stranger/snapshot.json"), &copy).unwrap();
    assert_eq!(all(&other).len(), 2);
    fs::write(snapshots.join("stranger/snapshot.json"), copy.replace("\"web\"", "\"renamed\"")).unwrap();
    let names = |hm: &Hypeman| {
        let list = hm.snapshots().list(&SnapshotFilter::default()).unwrap();
        list.iter().map(|snapshot| snapshot.source_instance_name.clone()).collect::<Vec<_>>()
    };
    // A rewrite is found by the sweep, which is whole after two calls on so few.
    names(&other);
    assert!(names(&other).contains(&"renamed".to_owned()));
    fs::remove_dir_all(snapshots.join("stranger")).unwrap();
    assert_eq!(all(&other), std::slice::from_ref(&made.id));
    hm.snapshots().delete(&made.id).unwrap();
    assert!(all(&other).is_empty());
}

#[test]
fn compression_can_be_cancelled_repeated_and_resumed_by_the_next_opener() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Standby)).unwrap();
    let made = create(&hm, "web", &standby()).unwrap();
    assert_eq!(made.compression_state, Some(CompressionState::None));
    let started =
        hm.snapshots().compress(&made.id, Some(&CompressionConfig::with("zstd", Some(19)))).unwrap();
    assert_eq!(started.compression_state, Some(CompressionState::Compressing));
    let cancelled = hm.snapshots().cancel_compression(&made.id).unwrap();
    assert_eq!(cancelled.compression_state, Some(CompressionState::None));
    assert_eq!(cancelled.compression, None);

    hm.snapshots().compress(&made.id, Some(&CompressionConfig::with("zstd", Some(19)))).unwrap();
    hm.close();
    assert_eq!(hm.snapshots().get(&made.id).unwrap_err().kind(), Kind::Closed);
    let next = world.open();
    let done = wait(&next, &made.id);
    assert_eq!(done.compression_state, Some(CompressionState::Compressed));
    assert_eq!(done.compression, Some(CompressionConfig::with("zstd", Some(19))));
    assert_eq!(next.snapshots().compress(&made.id, None).unwrap_err().kind(), Kind::InvalidState);
}

#[test]
fn a_read_only_open_reads_and_refuses_to_write() {
    let world = World::new();
    let missing = Hypeman::open_with(world.data(), Options { read_only: true, ..Options::default() });
    assert_eq!(missing.unwrap_err().kind(), Kind::NotFound);
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    let made = create(&hm, "web", &CreateSnapshot::new(SnapshotKind::Stopped)).unwrap();
    let reader = Hypeman::open_with(world.data(), Options { read_only: true, ..Options::default() }).unwrap();
    assert_eq!(reader.snapshots().get(&made.id).unwrap(), made);
    assert_eq!(reader.instances().get("web").unwrap().name, "web");
    assert_eq!(reader.snapshots().delete(&made.id).unwrap_err().kind(), Kind::Permission);
}

#[test]
fn whoever_waits_for_background_work_hears_that_a_close_cut_it_off() {
    let world = World::new();
    let hm = world.open();
    let vm = world.vm("web", InstanceState::Standby);
    // Noise, which takes the highest level seconds.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()
    });
    let noise: Vec<u8> = noise.take(4 << 20).flatten().collect();
    fs::write(vm.directory.as_ref().unwrap().join("snapshots/snapshot-latest/memory"), noise).unwrap();
    hm.instances().register(&vm).unwrap();
    let compression = Some(CompressionConfig::with("zstd", Some(19)));
    let made = create(&hm, "web", &CreateSnapshot { compression, ..standby() }).unwrap();
    let waiting = hm.clone();
    let waiter = std::thread::spawn(move || waiting.finish(Call::default()));
    hm.close();
    assert_eq!(waiter.join().unwrap().unwrap_err().kind(), Kind::Closed);
    let left = world.open().snapshots().get(&made.id).unwrap();
    assert_eq!(left.compression_state, Some(CompressionState::Compressing));
}

#[test]
fn more_threads_than_any_process_can_have_are_no_danger() {
    let world = World::new();
    let options = Options { threads: NonZeroUsize::new(usize::MAX), ..Options::default() };
    let hm = Hypeman::open_with(world.data(), options).unwrap();
    hm.instances().register(&world.vm("web", InstanceState::Standby)).unwrap();
    for algorithm in ["zstd", "lz4"] {
        let compression = Some(CompressionConfig::with(algorithm, None));
        let made = create(&hm, "web", &CreateSnapshot { compression, ..standby() }).unwrap();
        assert_eq!(wait(&hm, &made.id).compression_state, Some(CompressionState::Compressed));
    }
}

#[test]
fn every_directory_of_a_store_is_drawn_in_the_manual() {
    let at = tempfile::tempdir().unwrap();
    drop(Hypeman::open(at.path()).unwrap());
    let manual = include_str!("../../docs/format.md");
    let entries: Vec<_> = fs::read_dir(at.path().join("snapshots/.libhypeman")).unwrap().collect();
    assert!(entries.len() > 10);
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(manual.contains(&format!("\n{name}/")), "docs/format.md does not draw {name}/");
    }
}
