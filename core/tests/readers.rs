//! Those who read a snapshot while its job compresses it, or while someone wants to delete it.

mod world;

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CompressionState, CreateSnapshot, ForkSnapshot, Hypeman, InstanceState, Kind,
    RestoreSnapshot, Snapshot,
};
use world::{World, create, jobs_end, standby, tree, wait};

/// Guest memory that keeps the highest level of zstd busy for seconds.
fn hard_memory() -> Vec<u8> {
    (0..1_u64 << 20).flat_map(|n| (n.wrapping_mul(n) >> 5).to_le_bytes()).collect()
}

fn compressed_hard(world: &World, hm: &Hypeman, memory: &[u8]) -> Snapshot {
    let vm = world.vm("web", InstanceState::Standby);
    fs::write(vm.directory.clone().unwrap().join("snapshots/snapshot-latest/memory"), memory).unwrap();
    hm.instances().register(&vm).unwrap();
    let compression = Some(CompressionConfig::with("zstd", Some(19)));
    create(hm, "web", &CreateSnapshot { compression, ..standby() }).unwrap()
}

fn state(hm: &Hypeman, id: &str) -> Option<CompressionState> {
    hm.snapshots().get(id).unwrap().compression_state
}

#[test]
fn a_snapshot_that_is_being_compressed_is_restored_and_forked_at_once_and_its_job_comes_to_its_end() {
    let world = World::new();
    let hm = world.open();
    let memory = hard_memory();
    let made = compressed_hard(&world, &hm, &memory);
    let image = world.temp.path().join("web/snapshots/snapshot-latest/memory");
    fs::remove_file(&image).unwrap();
    hm.instances()
        .snapshots()
        .restore(&made.id, "web", &RestoreSnapshot::default(), Call::default())
        .unwrap();
    let forked = hm.snapshots().fork(&made.id, &ForkSnapshot::new("fork"), Call::default()).unwrap();
    // A second program's does the same under the nose of the first one's job.
    let second = world.open();
    let other = second.snapshots().fork(&made.id, &ForkSnapshot::new("other"), Call::default()).unwrap();
    assert_eq!(state(&hm, &made.id), Some(CompressionState::Compressing), "it was not waited for");

    let images = [forked, other].map(|fork| fork.directory.unwrap().join("snapshots/snapshot-latest/memory"));
    for image in images.iter().chain([&image]) {
        assert!(fs::read(image).unwrap() == memory, "{}", image.display());
    }
    assert_eq!(wait(&hm, &made.id).compression_state, Some(CompressionState::Compressed));
    jobs_end(&world);
    assert!(hm.snapshots().verify(&made.id, Call::default()).unwrap().defects.is_empty());
    let stored = world.data().join("snapshots").join(&made.id).join("guest/snapshots/snapshot-latest");
    assert_eq!(tree(&stored), ["memory.zst"]);

    fs::remove_file(&image).unwrap();
    hm.instances()
        .snapshots()
        .restore(&made.id, "web", &RestoreSnapshot::default(), Call::default())
        .unwrap();
    assert!(fs::read(&image).unwrap() == memory);
}

#[test]
fn a_compression_stands_still_while_its_snapshot_is_restored_and_goes_on_after_it() {
    let world = World::new();
    let hm = world.open();
    let made = compressed_hard(&world, &hm, &hard_memory());
    // What watches it is in another thread: the restore's own callback holds the restore up meanwhile.
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let watch = Call::default().progress(|progress| {
                done.store(progress.bytes_done, Ordering::Relaxed);
                ControlFlow::Continue(())
            });
            hm.snapshots().wait(&made.id, watch).unwrap()
        });
        let mut has_stood = false;
        let in_its_midst = Call::default().progress(|_| {
            // Each thread brings the piece to its end that it has begun.
            while !has_stood && state(&hm, &made.id) == Some(CompressionState::Compressing) {
                let before = done.load(Ordering::Relaxed);
                std::thread::sleep(Duration::from_secs(3));
                has_stood = done.load(Ordering::Relaxed) == before;
            }
            ControlFlow::Continue(())
        });
        let restored =
            hm.instances().snapshots().restore(&made.id, "web", &RestoreSnapshot::default(), in_its_midst);
        assert_eq!(restored.unwrap().state, InstanceState::Standby);
        assert!(has_stood, "it was compressed to its end under a restore");
        assert_eq!(waiting.join().unwrap().compression_state, Some(CompressionState::Compressed));
    });
    jobs_end(&world);
    assert!(hm.snapshots().verify(&made.id, Call::default()).unwrap().defects.is_empty());
}

#[test]
fn a_job_whose_raw_file_is_read_for_long_keeps_no_other_job_waiting() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Standby)).unwrap();
    let made = create(&hm, "web", &standby()).unwrap();
    jobs_end(&world);
    let reading = hm.snapshots().memory(&made.id).unwrap();
    hm.snapshots().compress(&made.id, None).unwrap();
    assert_eq!(wait(&hm, &made.id).compression_state, Some(CompressionState::Compressed));
    let stored = world.data().join("snapshots").join(&made.id).join("guest/snapshots/snapshot-latest");
    assert_eq!(tree(&stored), ["memory", "memory.zst"], "the reader has the raw one");

    let compression = Some(CompressionConfig::on());
    let next = create(&hm, "web", &CreateSnapshot { compression, ..standby() }).unwrap();
    assert_eq!(wait(&hm, &next.id).compression_state, Some(CompressionState::Compressed));
    assert_eq!(tree(&stored), ["memory", "memory.zst"]);
    assert_eq!(reading.size_bytes(), world::memory().len() as u64);
    drop(reading);
    jobs_end(&world);
    assert_eq!(tree(&stored), ["memory.zst"]);
}

#[test]
fn a_snapshot_is_not_deleted_under_a_restore_a_fork_or_an_open_memory() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Standby)).unwrap();
    let made = create(&hm, "web", &standby()).unwrap();
    jobs_end(&world);
    let other = world.open();
    let tries = AtomicUsize::new(0);
    let refused = || {
        let error = other.snapshots().delete(&made.id).unwrap_err();
        assert_eq!((error.kind(), error.id()), (Kind::Busy, Some(made.id.as_str())), "{error}");
        tries.fetch_add(1, Ordering::Relaxed);
    };
    let meanwhile = || {
        Call::default().progress(|_| {
            refused();
            ControlFlow::Continue(())
        })
    };
    hm.snapshots().fork(&made.id, &ForkSnapshot::new("fork"), meanwhile()).unwrap();
    let in_fork = tries.load(Ordering::Relaxed);
    assert!(in_fork > 0);
    hm.instances().snapshots().restore(&made.id, "web", &RestoreSnapshot::default(), meanwhile()).unwrap();
    assert!(tries.load(Ordering::Relaxed) > in_fork);
    let reading = hm.snapshots().memory(&made.id).unwrap();
    refused();
    drop(reading);
    other.snapshots().delete(&made.id).unwrap();
}
