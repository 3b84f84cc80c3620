//! Images over the last one: what is asked of Firecracker, by way of the whole library, and when it is not trusted to
//! know what has changed.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::scripted::Scripted;
use super::*;
use crate::error::Kind;
use crate::hypeman::Hypeman;
use crate::types::{
    CompressionConfig, CreateSnapshot, RegisterInstance, RestoreSnapshot, Snapshot, SnapshotKind,
};

/// A Firecracker that keeps a log of changes, and a data directory that may trust it.
struct Scene {
    firecracker: Scripted,
    hm: Hypeman,
    root: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let hm = Hypeman::open(root.path().join("data")).unwrap();
        let scene = Self { firecracker: Scripted::start("Running"), hm, root };
        scene.firecracker.model().tracks_changes = true;
        fs::create_dir(scene.directory()).unwrap();
        scene.register("vm", true);
        scene
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("vm")
    }

    fn register(&self, id: &str, exclusive_snapshots: bool) {
        let vm = RegisterInstance {
            id: Some(id.to_owned()),
            api_socket: Some(self.firecracker.socket()),
            directory: Some(self.directory()),
            exclusive_snapshots,
            ..RegisterInstance::new(id, "firecracker")
        };
        self.hm.instances().register(&vm).unwrap();
    }

    fn try_create(&self, id: &str) -> Result<Snapshot> {
        let request = CreateSnapshot::new(SnapshotKind::Standby);
        self.hm.instances().snapshots().create(id, &request, Call::default())
    }

    /// Captures, and requires that the image is all of guest memory as it is now. Tells how it was asked for.
    fn create(&self, id: &str) -> (Snapshot, String) {
        let made = self.try_create(id).unwrap();
        assert!(
            fs::read(self.memory_of(&made)).unwrap() == self.firecracker.model().memory(),
            "another memory"
        );
        let body = self.firecracker.model().body_of("PUT /snapshot/create");
        (made, body["snapshot_type"].as_str().unwrap().to_owned())
    }

    fn memory_of(&self, snapshot: &Snapshot) -> PathBuf {
        let guest = self.hm.data_dir().join("snapshots").join(&snapshot.id).join("guest");
        guest.join("snapshots/snapshot-latest/memory")
    }
}

#[test]
fn what_changed_is_written_over_a_copy_of_the_last_image_which_stays_as_it_is() {
    let scene = Scene::new();
    scene.firecracker.model().write(1, 1);
    let (first, asked) = scene.create("vm");
    assert_eq!(asked, "Full");
    let before = fs::read(scene.memory_of(&first)).unwrap();
    for round in 2..5 {
        scene.firecracker.model().write(round, 0);
        scene.firecracker.model().write(1, u8::try_from(round).unwrap());
        assert_eq!(scene.create("vm").1, "Diff");
    }
    assert!(fs::read(scene.memory_of(&first)).unwrap() == before, "an image is on its own");
    assert_eq!(scene.hm.snapshots().verify(&first.id, Call::default()).unwrap().defects, []);
    scene.hm.snapshots().delete(&first.id).unwrap();
    assert_eq!(scene.create("vm").1, "Diff", "the last one is what counts");
}

#[test]
fn a_vm_that_was_loaded_goes_on_from_the_image_that_it_was_loaded_from() {
    for (version, tracking) in [("1.17.0", "track_dirty_pages"), ("1.12.0", "enable_diff_snapshots")] {
        let scene = Scene::new();
        scene.firecracker.model().version = version;
        let made = scene.create("vm").0;
        // As if another process waited at the socket.
        scene.firecracker.model().state = "Not started";
        scene.firecracker.model().tracks_changes = false;
        let request = RestoreSnapshot {
            api_socket: Some(scene.firecracker.socket()),
            allow_incompatible: true,
            ..RestoreSnapshot::default()
        };
        scene.hm.instances().snapshots().restore(&made.id, "vm", &request, Call::default()).unwrap();
        assert_eq!(scene.firecracker.model().body_of("PUT /snapshot/load")[tracking], json!(true));
        scene.firecracker.model().write(9, 9);
        assert_eq!(scene.create("vm").1, "Diff");
    }
}

#[test]
fn without_a_promise_or_a_whole_log_of_changes_all_of_memory_is_written() {
    for (story, breaks) in [
        ("the log is not kept", (|s| s.firecracker.model().tracks_changes = false) as fn(&Scene)),
        ("a balloon takes pages", |s| s.firecracker.model().balloon = Some(json!({ "amount_mib": 1 }))),
        ("memory can be unplugged", |s| s.firecracker.model().hotplug_mib = Some(0)),
        ("an old version writes no Diff into a file", |s| s.firecracker.model().version = "1.7.0"),
        ("no one promised it", |s| {
            s.hm.instances().unregister("vm").unwrap();
            s.register("vm", false);
        }),
    ] {
        let scene = Scene::new();
        assert_eq!(scene.create("vm").1, "Full");
        breaks(&scene);
        scene.firecracker.model().write(3, 3);
        assert_eq!(scene.create("vm").1, "Full", "{story}");
    }
}

#[test]
fn a_base_that_is_gone_compressed_or_not_the_last_one_is_not_built_on() {
    for (story, breaks) in [
        ("it was deleted", (|s, last| s.hm.snapshots().delete(last).unwrap()) as fn(&Scene, &str)),
        ("it was compressed", |s, last| {
            s.hm.snapshots().compress(last, Some(&CompressionConfig::on())).unwrap();
            s.hm.snapshots().wait(last, Call::default()).unwrap();
            let raw = s.hm.data_dir().join("snapshots").join(last);
            let raw = raw.join("guest/snapshots/snapshot-latest/memory");
            while raw.exists() {
                std::thread::yield_now();
            }
        }),
        ("a capture failed after it", |s, _| {
            s.firecracker.model().fails_with = Some("the moon");
            assert_eq!(s.try_create("vm").unwrap_err().kind(), Kind::Hypervisor);
            s.firecracker.model().fails_with = None;
            // What was written then is not known.
            s.firecracker.model().dirty.clear();
        }),
        ("an image was written, and its snapshot was not made", |s, _| {
            let cancelled = Call::default().progress(|progress| match progress.phase {
                crate::call::Phase::Syncing => std::ops::ControlFlow::Break(()),
                _ => std::ops::ControlFlow::Continue(()),
            });
            let request = CreateSnapshot::new(SnapshotKind::Standby);
            let error = s.hm.instances().snapshots().create("vm", &request, cancelled).unwrap_err();
            assert_eq!(error.kind(), Kind::Cancelled);
        }),
        ("its note is of another process", |s, _| {
            let notes = s.hm.data_dir().join("snapshots/.libhypeman/images");
            let note = notes.join(format!("{}.json", std::process::id()));
            let ticks = format!("{}", s.firecracker.connect().peer().start_ticks);
            let text = fs::read_to_string(&note).unwrap();
            assert!(text.contains(&ticks));
            fs::write(&note, text.replace(&ticks, "1")).unwrap();
        }),
        ("its note is damaged", |s, _| {
            let notes = s.hm.data_dir().join("snapshots/.libhypeman/images");
            fs::write(notes.join(format!("{}.json", std::process::id())), "{").unwrap();
        }),
        ("its memory was cut", |s, last| {
            let raw = s.hm.data_dir().join("snapshots").join(last);
            let raw = File::options().write(true).open(raw.join("guest/snapshots/snapshot-latest/memory"));
            raw.unwrap().set_len(4096).unwrap();
        }),
    ] {
        let scene = Scene::new();
        let last = scene.create("vm").0;
        scene.firecracker.model().write(4, 4);
        breaks(&scene, &last.id);
        scene.firecracker.model().write(5, 5);
        assert_eq!(scene.create("vm").1, "Full", "{story}");
        scene.firecracker.model().write(6, 6);
        assert_eq!(scene.create("vm").1, "Diff", "{story}: from there on, all is known again");
    }
}

#[test]
fn two_instances_that_are_one_vm_know_of_each_others_images() {
    let scene = Scene::new();
    scene.register("alias", false);
    assert_eq!(scene.create("vm").1, "Full");
    scene.firecracker.model().write(7, 7);
    assert_eq!(scene.create("alias").1, "Full", "it made no promise");
    scene.firecracker.model().write(8, 8);
    assert_eq!(scene.create("vm").1, "Diff", "over the image of the other");
}

#[test]
fn a_disk_that_the_guest_writes_to_and_no_one_registered_is_refused_before_the_pause() {
    let scene = Scene::new();
    let disk = scene.root.path().join("elsewhere.raw");
    fs::write(&disk, "a disk").unwrap();
    let drive =
        |is_read_only: bool| json!([{ "drive_id": "d", "path_on_host": disk, "is_read_only": is_read_only }]);
    scene.firecracker.model().drives = drive(false);
    let error = scene.try_create("vm").unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    assert!(error.message().contains("elsewhere.raw"), "{error}");
    assert!(!scene.firecracker.model().requests().contains(&"PATCH /vm"), "it was never paused");
    scene.firecracker.model().drives =
        json!([{ "drive_id": "d", "socket": "/run/vhost", "path_on_host": null }]);
    assert!(scene.try_create("vm").unwrap_err().message().contains("no file of this machine"));
    scene.firecracker.model().drives = drive(true);
    scene.create("vm");
}
