//! A job and who else wants its lock.

use std::time::{Duration, Instant};

use crate::{Call, CreateSnapshot, Hypeman, RegisterInstance, SnapshotKind};

#[test]
fn a_job_whose_lock_someone_holds_for_a_moment_is_done_after_it() {
    let temp = tempfile::tempdir().unwrap();
    let vm = temp.path().join("web");
    std::fs::create_dir(&vm).unwrap();
    std::fs::write(vm.join("overlay.raw"), "disk").unwrap();
    let hm = Hypeman::open(temp.path().join("data")).unwrap();
    let other = Hypeman::open(temp.path().join("data")).unwrap();
    hm.instances()
        .register(&RegisterInstance { directory: Some(vm), ..RegisterInstance::new("web", "qemu") })
        .unwrap();
    let stopped = CreateSnapshot::new(SnapshotKind::Stopped);
    let made = hm.instances().snapshots().create("web", &stopped, Call::default()).unwrap();
    hm.finish(Call::default()).unwrap();

    let store = hm.writable_store().unwrap();
    let held = loop {
        match other.writable_store().unwrap().try_job(&made.id).unwrap() {
            Some(held) => break held,
            None => std::thread::yield_now(),
        }
    };
    store.begin_job(&made.id).unwrap();
    hm.jobs().start(store, &made.id).unwrap();
    std::thread::sleep(Duration::from_millis(120));
    drop(held);
    let until = Instant::now() + Duration::from_secs(20);
    while store.has_job(&made.id).unwrap() {
        assert!(Instant::now() < until, "it was dropped");
        std::thread::sleep(Duration::from_millis(5));
    }
    hm.finish(Call::default().timeout(Duration::from_secs(20))).unwrap();
}
