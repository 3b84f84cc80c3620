//! Finding one snapshot among many: what is known is not read again, and what others do is found.

mod world;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use hypeman_core::{CreateSnapshot, Hypeman, InstanceState, Kind, SnapshotFilter};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use world::{World, create, stopped};

/// More than two sweeps of 512 records, and more than the 1000 from which on the directory is watched.
const MANY: usize = 1100;

/// Longer than it takes until a record that was written just now is known for good: two seconds where a file system
/// keeps whole ones, and this one may have hit one.
const SETTLED: Duration = Duration::from_millis(2200);

fn record(world: &World, id: &str) -> PathBuf {
    world.data().join("snapshots").join(id).join("snapshot.json")
}

/// A data directory with `count` snapshots, all but one copied by a stranger.
fn with_snapshots(world: &World, count: usize) -> Hypeman {
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    let first = create(&hm, "web", &stopped()).unwrap();
    (1..count).for_each(|n| copy(world, &first.id, &format!("copy{n:04}")));
    hm
}

/// A snapshot that a stranger puts there.
fn copy(world: &World, of: &str, id: &str) {
    let text = fs::read_to_string(record(world, of)).unwrap();
    fs::create_dir_all(world.data().join("snapshots").join(id).join("guest")).unwrap();
    fs::write(record(world, id), text.replace(of, id)).unwrap();
}

/// A stranger changes the name of the source in a record.
fn rewrite(world: &World, id: &str, from: &str, to: &str) {
    let text = fs::read_to_string(record(world, id)).unwrap();
    assert!(text.contains(&format!("\"{from}\"")));
    fs::write(record(world, id), text.replace(&format!("\"{from}\""), &format!("\"{to}\""))).unwrap();
}

fn source_names(hm: &Hypeman) -> Vec<String> {
    let list = hm.snapshots().list(&SnapshotFilter::default()).unwrap();
    list.iter().map(|snapshot| snapshot.source_instance_name.clone()).collect()
}

fn ids(hm: &Hypeman) -> Vec<String> {
    let list = hm.snapshots().list(&SnapshotFilter::default()).unwrap();
    list.iter().map(|snapshot| snapshot.id.clone()).collect()
}

#[test]
fn a_record_that_a_stranger_rewrites_shows_after_a_call_for_each_512_snapshots() {
    let world = World::new();
    let hm = with_snapshots(&world, MANY);
    for rewritten in ["copy0001", "copy0600", "copy1099"] {
        assert_eq!(source_names(&hm).len(), MANY);
        rewrite(&world, rewritten, "web", rewritten);
        let calls = MANY.div_ceil(512);
        let found = (0..calls).any(|_| source_names(&hm).iter().any(|name| name == rewritten));
        assert!(found, "{rewritten} does not show after {calls} calls");
    }
}

#[test]
fn what_is_known_is_not_read_again() {
    let world = World::new();
    let hm = with_snapshots(&world, 50);
    sleep(SETTLED);
    assert_eq!(source_names(&hm).len(), 50);
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
    for id in ids(&hm) {
        watch.add_watch(&record(&world, &id), AddWatchFlags::IN_OPEN).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(source_names(&hm).len(), 50);
        hm.snapshots().get("copy0007").unwrap();
    }
    assert_eq!(events(&watch).len(), 0);

    rewrite(&world, "copy0007", "web", "db");
    events(&watch);
    assert_eq!(hm.snapshots().get("copy0007").unwrap().source_instance_name, "db");
    assert_eq!(events(&watch).len(), 1, "one that changed is read");
    rewrite(&world, "copy0008", "web", "cache");
    events(&watch);
    assert!(source_names(&hm).contains(&"cache".to_owned()));
    sleep(SETTLED);
    source_names(&hm);
    events(&watch);
    assert!(source_names(&hm).contains(&"cache".to_owned()));
    assert_eq!(events(&watch).len(), 0, "and known from then on");
}

#[test]
fn get_is_as_the_record_is_now_however_quickly_it_changes_and_whatever_its_length_and_times() {
    let world = World::new();
    let hm = with_snapshots(&world, 2);
    let path = record(&world, "copy0001");
    let name = |hm: &Hypeman| hm.snapshots().get("copy0001").unwrap().source_instance_name;
    let (mut last, modified) = ("web".to_owned(), fs::metadata(&path).unwrap().modified().unwrap());
    for round in 0..200 {
        let next = format!("w{round:02}");
        rewrite(&world, "copy0001", &last, &next);
        fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(name(&hm), next);
        assert_eq!(name(&hm), next);
        if round % 100 == 50 {
            // Known for good now: the next change is one of what is not read again.
            sleep(SETTLED);
            assert_eq!(name(&hm), next);
        }
        last = next;
    }
    let other = path.with_extension("new");
    fs::write(&other, fs::read_to_string(&path).unwrap().replace(&format!("\"{last}\""), "\"new\"")).unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(name(&hm), "new");
    fs::remove_file(&path).unwrap();
    assert_eq!(hm.snapshots().get("copy0001").unwrap_err().kind(), Kind::Corrupt);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    assert_eq!(hm.snapshots().get("copy0001").unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_record_that_is_known_is_not_followed_through_a_link() {
    let world = World::new();
    let hm = with_snapshots(&world, 2);
    sleep(SETTLED);
    hm.snapshots().get("copy0001").unwrap();
    assert_eq!(ids(&hm).len(), 2);
    let (snapshot, away) = (world.data().join("snapshots/copy0001"), world.temp.path().join("away"));
    fs::rename(&snapshot, &away).unwrap();
    symlink(&away, &snapshot).unwrap();
    assert_eq!(hm.snapshots().get("copy0001").unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(hm.snapshots().get_in_memory("copy0001").unwrap(), None);
    assert_eq!(ids(&hm).len(), 1);
}

#[test]
fn what_is_known_can_be_had_without_waiting_and_what_changed_cannot() {
    let world = World::new();
    let hm = with_snapshots(&world, 2);
    sleep(SETTLED);
    let in_memory = |hm: &Hypeman| hm.snapshots().get_in_memory("copy0001").unwrap();
    assert_eq!(in_memory(&hm), None);
    let got = hm.snapshots().get("copy0001").unwrap();
    assert_eq!(in_memory(&hm), Some(got));
    rewrite(&world, "copy0001", "web", "db");
    assert_eq!(in_memory(&hm), None);
    for id in ["copy0002", "copy", "../copy0001", ""] {
        assert_eq!(hm.snapshots().get_in_memory(id).unwrap(), None, "{id}");
    }
    hm.close();
    assert_eq!(hm.snapshots().get_in_memory("copy0001").unwrap_err().kind(), Kind::Closed);
}

#[test]
fn among_many_what_comes_and_goes_shows_at_once_whoever_does_it() {
    let world = World::new();
    let (hm, other) = (with_snapshots(&world, MANY), world.open());
    sleep(SETTLED);
    for round in 0..4 {
        for handle in [&hm, &other] {
            assert_eq!(ids(handle).len(), MANY);
        }
        let made = create(&other, "web", &stopped()).unwrap().id;
        assert_eq!(ids(&hm).len(), MANY + 1, "made by another handle");
        let strange = format!("strange{round}");
        copy(&world, &made, &strange);
        assert!(ids(&hm).contains(&strange) && ids(&other).contains(&strange));
        let (mut newest, mut pair) = (ids(&hm)[..2].to_vec(), vec![made.clone(), strange.clone()]);
        newest.sort();
        pair.sort();
        assert_eq!(newest, pair);
        hm.snapshots().delete(&made).unwrap();
        assert!(!ids(&other).contains(&made));
        fs::rename(world.data().join("snapshots").join(&strange), world.temp.path().join(&strange)).unwrap();
        assert_eq!(hm.snapshots().get(&strange).unwrap_err().kind(), Kind::NotFound);
        for handle in [&hm, &other] {
            assert!(!ids(handle).contains(&strange));
        }
    }
}

#[test]
fn a_named_create_among_many_reads_neither_the_directory_nor_other_records() {
    let world = World::new();
    let hm = with_snapshots(&world, MANY);
    sleep(SETTLED);
    let named = |n: usize| CreateSnapshot { name: Some(format!("n{n}")), ..stopped() };
    // The first one learns what there is, the second that it is worth a watch.
    (0..2).for_each(|n| drop(create(&hm, "web", &named(n)).unwrap()));
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
    watch.add_watch(&world.data().join("snapshots"), AddWatchFlags::IN_OPEN).unwrap();
    for n in 2..12 {
        create(&hm, "web", &named(n)).unwrap();
        assert_eq!(create(&hm, "web", &named(n)).unwrap_err().kind(), Kind::Conflict);
    }
    let opened = events(&watch);
    assert!(opened.iter().all(|event| event.name.is_some()), "the directory itself was read");
    let strange = |event: &&InotifyEvent| {
        event.name.as_ref().is_some_and(|name| name.to_string_lossy().starts_with("copy"))
    };
    assert_eq!(opened.iter().filter(strange).count(), 0);
    // What this test would see if it were otherwise.
    fs::read_dir(world.data().join("snapshots")).unwrap().count();
    fs::read_dir(world.data().join("snapshots/copy0001")).unwrap().count();
    let seen = events(&watch);
    assert!(seen.iter().any(|event| event.name.is_none()) && seen.iter().any(|event| strange(&event)));
}

/// What was seen since this was last asked.
fn events(watch: &Inotify) -> Vec<InotifyEvent> {
    let mut all = Vec::new();
    loop {
        match watch.read_events() {
            Ok(events) => all.extend(events),
            Err(Errno::EAGAIN) => return all,
            Err(error) => panic!("{error}"),
        }
    }
}
