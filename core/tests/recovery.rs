//! What dead openers leave behind, and what the next one makes of it.

mod world;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use hypeman_core::{CompressionConfig, CompressionState, CreateSnapshot, InstanceState};
use world::{World, create, memory, standby, stopped, tree, wait};

#[test]
fn the_name_of_a_snapshot_that_never_came_to_be_is_free() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    let named = CreateSnapshot { name: Some("n".into()), ..stopped() };
    let made = create(&hm, "web", &named).unwrap();
    let names = world.data().join("snapshots/.libhypeman/names");
    let claim = names.join(&tree(&names)[0]);
    let claimed_by = fs::read(&claim).unwrap();
    assert_eq!(claimed_by, made.id.as_bytes());
    hm.snapshots().delete(&made.id).unwrap();
    assert!(tree(&names).is_empty());

    // As left by one who died between the claim and the snapshot, or while the claim was written.
    for stale in [claimed_by.as_slice(), b""] {
        fs::write(&claim, stale).unwrap();
        let made = create(&hm, "web", &named).unwrap();
        assert_eq!(fs::read(&claim).unwrap(), made.id.as_bytes());
        hm.snapshots().delete(&made.id).unwrap();
    }
}

#[test]
fn a_stage_whose_maker_died_is_cleared_by_the_next_opener() {
    let world = World::new();
    world.open().close();
    let staging = world.data().join("snapshots/.libhypeman/staging");
    fs::create_dir_all(staging.join("dead/guest/snapshots")).unwrap();
    fs::write(staging.join("dead/guest/overlay.raw"), "half a disk").unwrap();
    fs::write(staging.join("dead.json"), "half a record").unwrap();
    world.open();
    assert_eq!(tree(&staging), [""; 0]);
}

#[test]
fn a_raw_file_beside_the_compressed_one_is_finished_with() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Standby)).unwrap();
    let compression = Some(CompressionConfig::with("zstd", Some(1)));
    let made = create(&hm, "web", &CreateSnapshot { compression, ..standby() }).unwrap();
    let done = wait(&hm, &made.id);
    hm.close();
    let snapshot = world.data().join("snapshots").join(&made.id);
    let image = snapshot.join("guest/snapshots/snapshot-latest");
    let record = fs::read_to_string(snapshot.join("snapshot.json")).unwrap();
    let job = world.data().join("snapshots/.libhypeman/jobs").join(&made.id);
    assert_eq!(tree(&image), ["memory.zst"]);

    // As left by one who died before the record said so, and by one who died before the raw file was removed.
    for state in ["compressing", "compressed"] {
        let before = record.replace("\"compressed\"", &format!("\"{state}\""));
        fs::write(snapshot.join("snapshot.json"), before).unwrap();
        fs::write(image.join("memory"), memory()).unwrap();
        fs::write(&job, "").unwrap();

        let next = world.open();
        until("its job is forgotten", || !job.exists());
        assert_eq!(tree(&image), ["memory.zst"], "{state}");
        let ended = next.snapshots().get(&made.id).unwrap();
        assert_eq!(ended.compression_state, Some(CompressionState::Compressed));
        assert_eq!(ended, done);
        next.close();
    }
}

#[test]
fn a_compressed_file_of_a_snapshot_that_is_not_compressed_is_removed() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Standby)).unwrap();
    let made = create(&hm, "web", &standby()).unwrap();
    world::jobs_end(&world);
    hm.close();
    let image = world.data().join("snapshots").join(&made.id).join("guest/snapshots/snapshot-latest");
    let job = world.data().join("snapshots/.libhypeman/jobs").join(&made.id);
    // As left by one who died while a compression was cancelled, or its failure written down.
    fs::write(image.join("memory.zst"), "of no use to anyone").unwrap();
    fs::write(&job, "").unwrap();
    let next = world.open();
    until("its job is forgotten", || !job.exists());
    assert_eq!(tree(&image), ["memory"]);
    assert!(next.snapshots().verify(&made.id, Default::default()).unwrap().is_good());
}

/// Waits until `condition` holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "never came to be: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
