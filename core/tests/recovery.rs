//! What dead openers leave behind, and what the next one makes of it.

mod world;

use std::fs;
use std::os::unix::fs::MetadataExt;
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
fn the_note_of_a_pause_is_forgotten_when_its_vm_is_gone_or_it_was_never_whole() {
    let world = World::new();
    world.open().close();
    let intents = world.data().join("snapshots/.libhypeman/intents");
    let of_a_vm = |boot_id: &str, pid: u32| {
        format!(
            r#"{{"snapshot_id":"dead","instance_id":"web","hypervisor":"qemu","api_socket":"/nowhere","was_running":true,
            "boot_id":"{boot_id}","peer":{{"pid":{pid},"uid":0,"start_ticks":18446744073709551615}}}}"#
        )
    };
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    // Of before the machine was booted, of a process that ended, and of one that has its number now.
    let gone = [of_a_vm("another", 1), of_a_vm(boot_id.trim(), u32::MAX >> 1), of_a_vm(boot_id.trim(), 1)];
    for note in gone.iter().map(String::as_str).chain(["", "{\"snapshot_id\":\"dead\","]) {
        fs::write(intents.join("dead.json"), note).unwrap();
        world.open().close();
        assert_eq!(tree(&intents), [""; 0], "{note}");
    }
}

#[test]
fn trash_and_the_job_of_a_snapshot_that_is_gone_are_removed() {
    let world = World::new();
    world.open().close();
    let own = world.data().join("snapshots/.libhypeman");
    fs::create_dir_all(own.join("trash/dead/guest")).unwrap();
    fs::write(own.join("trash/dead/guest/memory"), "was deleted").unwrap();
    fs::write(own.join("jobs/dead"), "").unwrap();
    let hm = world.open();
    until("the job is forgotten", || !own.join("jobs/dead").exists());
    assert_eq!(tree(&own.join("trash")), [""; 0]);
    hm.close();
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

#[test]
fn a_capture_after_a_restore_that_was_cut_off_is_of_whole_files() {
    let world = World::new();
    let hm = world.open();
    let vm = world.vm("web", InstanceState::Stopped);
    let id = hm.instances().register(&vm).unwrap().id;
    let (directory, parent) = (vm.directory.unwrap(), world.temp.path());
    let other = directory.with_file_name("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("overlay.raw"), "as it was captured").unwrap();
    // As left by a restore in another process that died when all was built, after this handle was opened.
    let exchange = serde_json::json!({
        "parent": parent,
        "staged": "other",
        "target": directory.file_name().unwrap().to_str(),
        "inode": fs::metadata(&other).unwrap().ino(),
    });
    let journal = serde_json::json!({
        "instance_id": id,
        "purpose": "restore",
        "step": "forward",
        "exchanges": [exchange],
    });
    let own = world.data().join("snapshots/.libhypeman");
    fs::write(own.join(format!("journals/{id}.json")), journal.to_string()).unwrap();
    let made = create(&hm, "web", &stopped()).unwrap();
    let captured = world.data().join("snapshots").join(&made.id).join("guest/overlay.raw");
    assert_eq!(fs::read_to_string(captured).unwrap(), "as it was captured");
    assert!(!other.exists() && tree(&own.join("journals")).is_empty());
}

/// Waits until `condition` holds.
fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "never came to be: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
