//! A VM that stands where it was captured is captured again, by way of the whole library.

use std::fs;

use super::model::Version;
use super::scripted::Scripted;
use super::*;
use crate::error::Kind;
use crate::hypeman::Hypeman;
use crate::types::{
    CompressionConfig, CompressionState, CreateSnapshot, InstanceState, RegisterInstance, Snapshot,
    SnapshotKind,
};

/// A QEMU whose user has paused the VM, and a data directory that knows it.
struct Scene {
    qemu: Scripted,
    hm: Hypeman,
    root: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (directory, data) = (root.path().join("vm"), root.path().join("data"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("disk.raw"), "a disk").unwrap();
        fs::write(directory.join("qemu-config.json"), "{}").unwrap();
        let scene = Self { qemu: Scripted::start(Version::Ten), hm: Hypeman::open(data).unwrap(), root };
        scene.qemu.model().status = "paused";
        let vm = RegisterInstance {
            id: Some("vm".to_owned()),
            api_socket: Some(scene.qemu.socket()),
            directory: Some(directory),
            ..RegisterInstance::new("vm", "qemu")
        };
        scene.hm.instances().register(&vm).unwrap();
        scene
    }

    fn create(&self) -> Result<Snapshot> {
        let request = CreateSnapshot::new(SnapshotKind::Standby);
        self.hm.instances().snapshots().create("vm", &request, Call::default())
    }

    /// Every file of a snapshot's payload.
    fn payload(&self, snapshot: &Snapshot) -> Vec<(String, Vec<u8>)> {
        let guest = self.hm.data_dir().join("snapshots").join(&snapshot.id).join("guest");
        let files = self.hm.snapshots().inspect(&snapshot.id).unwrap().files;
        files.into_iter().map(|file| (file.path.clone(), fs::read(guest.join(&file.path)).unwrap())).collect()
    }

    fn migrations(&self) -> usize {
        self.qemu.model().log.iter().filter(|command| *command == "migrate").count()
    }
}

#[test]
fn a_second_snapshot_of_a_vm_that_stands_has_the_image_of_the_first_and_is_on_its_own() {
    let scene = Scene::new();
    let first = scene.create().unwrap();
    assert_eq!(scene.qemu.model().status, "postmigrate");
    assert_eq!(scene.hm.instances().get("vm").unwrap().state, InstanceState::Paused);
    let second = scene.create().unwrap();
    assert_eq!(scene.migrations(), 1, "QEMU was asked for nothing");
    assert_eq!(scene.qemu.model().status, "postmigrate", "it stands as before");
    assert_eq!(scene.payload(&second), scene.payload(&first));
    assert_eq!(scene.payload(&second).len(), 4, "disk, configuration twice, memory");
    let capture = |snapshot: &Snapshot| scene.hm.snapshots().inspect(&snapshot.id).unwrap().capture.unwrap();
    assert_eq!(capture(&second).memory_format, capture(&first).memory_format);
    assert_eq!(capture(&second).memory_file, capture(&first).memory_file);
    assert_eq!((capture(&second).source_state.as_str(), capture(&second).paused_ms), ("Paused", None));

    let whole = scene.payload(&first);
    scene.hm.snapshots().delete(&first.id).unwrap();
    assert_eq!(scene.payload(&second), whole);
    let third = scene.create().unwrap();
    assert_eq!(scene.payload(&third), whole, "the second has the image, too");
    assert_eq!(
        fs::read_dir(scene.root.path().join("data/snapshots/.libhypeman/staging")).unwrap().count(),
        0
    );
}

#[test]
fn an_image_that_was_compressed_meanwhile_is_expanded() {
    let scene = Scene::new();
    let first = scene.create().unwrap();
    let whole = scene.payload(&first);
    scene.hm.snapshots().compress(&first.id, Some(&CompressionConfig::on())).unwrap();
    let first = scene.hm.snapshots().wait(&first.id, Call::default()).unwrap();
    assert_eq!(first.compression_state, Some(CompressionState::Compressed));
    let second = scene.create().unwrap();
    assert_eq!(scene.payload(&second), whole);
    assert_eq!(second.compression_state, Some(CompressionState::None));
}

#[test]
fn an_image_that_is_not_surely_the_one_where_the_vm_stands_is_not_used() {
    for (story, breaks) in [
        ("it was deleted", (|s, first| s.hm.snapshots().delete(first).unwrap()) as fn(&Scene, &str)),
        ("the VM ran, and someone else migrated it", |s, _| {
            let mut model = s.qemu.model();
            model.begin_migration();
            model.migration = "completed";
        }),
        ("its note is of another process", |s, _| {
            let notes = s.hm.data_dir().join("snapshots/.libhypeman/images");
            let note = notes.join(format!("{}.json", std::process::id()));
            let text = fs::read_to_string(&note).unwrap();
            fs::write(&note, text.replace("\"start_ticks\": ", "\"start_ticks\": 1")).unwrap();
        }),
    ] {
        let scene = Scene::new();
        let first = scene.create().unwrap();
        breaks(&scene, &first.id);
        let error = scene.create().unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidState, "{story}: {error}");
        assert!(error.message().contains("resume it and pause it again"), "{story}: {error}");
        assert_eq!(scene.qemu.model().status, "postmigrate", "{story}");
        assert_eq!(scene.migrations(), 1, "{story}");

        // As it says.
        scene.qemu.model().status = "paused";
        scene.qemu.model().migration = "";
        scene.qemu.model().looks_left = 3;
        scene.create().expect(story);
        scene.create().expect(story);
        assert_eq!(scene.migrations(), 2, "{story}");
    }
}

#[test]
fn a_vm_that_runs_while_it_is_copied_gives_no_snapshot() {
    let scene = Scene::new();
    scene.create().unwrap();
    let mut qemu_goes_on = false;
    let call = Call::default().progress(|progress| {
        if progress.phase == crate::call::Phase::CopyingDisks && !qemu_goes_on {
            qemu_goes_on = true;
            scene.qemu.model().status = "running";
        }
        std::ops::ControlFlow::Continue(())
    });
    let request = CreateSnapshot::new(SnapshotKind::Standby);
    let error = scene.hm.instances().snapshots().create("vm", &request, call).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    assert_eq!(scene.hm.snapshots().list(&Default::default()).unwrap().len(), 1);
}
