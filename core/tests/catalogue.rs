//! Listing many snapshots: what is known is not read again, and what strangers rewrite is found.

mod world;

use std::fs;
use std::path::Path;

use hypeman_core::{Hypeman, InstanceState, SnapshotFilter};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use world::{World, create, stopped};

/// More than two sweeps of 512 records.
const MANY: usize = 1100;

/// A data directory with `count` snapshots, all but one copied by a stranger.
fn with_snapshots(world: &World, count: usize) -> Hypeman {
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    let first = create(&hm, "web", &stopped()).unwrap();
    let snapshots = world.data().join("snapshots");
    let record = fs::read_to_string(snapshots.join(&first.id).join("snapshot.json")).unwrap();
    for n in 1..count {
        let id = format!("copy{n:04}");
        fs::create_dir_all(snapshots.join(&id).join("guest")).unwrap();
        fs::write(snapshots.join(&id).join("snapshot.json"), record.replace(&first.id, &id)).unwrap();
    }
    hm
}

fn source_names(hm: &Hypeman) -> Vec<String> {
    let list = hm.snapshots().list(&SnapshotFilter::default()).unwrap();
    list.into_iter().map(|snapshot| snapshot.source_instance_name).collect()
}

#[test]
fn a_record_that_a_stranger_rewrites_shows_after_a_call_for_each_512_snapshots() {
    let world = World::new();
    let hm = with_snapshots(&world, MANY);
    for rewritten in ["copy0001", "copy0600", "copy1099"] {
        assert_eq!(source_names(&hm).len(), MANY);
        let record = world.data().join("snapshots").join(rewritten).join("snapshot.json");
        let text = fs::read_to_string(&record).unwrap();
        fs::write(&record, text.replace("\"web\"", &format!("\"{rewritten}\""))).unwrap();
        let calls = MANY.div_ceil(512);
        let found = (0..calls).any(|_| source_names(&hm).iter().any(|name| name == rewritten));
        assert!(found, "{rewritten} does not show after {calls} calls");
    }
}

#[test]
fn what_is_known_is_not_read_again() {
    let world = World::new();
    let hm = with_snapshots(&world, 50);
    assert_eq!(source_names(&hm).len(), 50);
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
    for entry in fs::read_dir(world.data().join("snapshots")).unwrap().map(Result::unwrap) {
        if !entry.file_name().to_string_lossy().starts_with('.') {
            watch.add_watch(&entry.path().join("snapshot.json"), AddWatchFlags::IN_OPEN).unwrap();
        }
    }
    for _ in 0..3 {
        assert_eq!(source_names(&hm).len(), 50);
    }
    assert_eq!(opened(&watch), 0);

    let record: &Path = &world.data().join("snapshots/copy0007/snapshot.json");
    let text = fs::read_to_string(record).unwrap();
    opened(&watch);
    hm.snapshots().get("copy0007").unwrap();
    assert_eq!(opened(&watch), 1, "one that is asked for is read");
    fs::write(record, text.replace("\"web\"", "\"db\"")).unwrap();
    opened(&watch);
    assert!(source_names(&hm).contains(&"db".to_owned()));
    assert_eq!(opened(&watch), 1, "and of fifty the one that changed");
}

/// How often records were opened since this was last asked.
fn opened(watch: &Inotify) -> usize {
    let mut count = 0;
    loop {
        match watch.read_events() {
            Ok(events) => count += events.len(),
            Err(Errno::EAGAIN) => return count,
            Err(error) => panic!("{error}"),
        }
    }
}
