//! Loading into a scripted cloud-hypervisor: what it is told, and what is refused before it is told anything.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::model::{Fault, Version, write_snapshot};
use super::scripted::Scripted;
use super::*;
use crate::error::Kind;

const CONFIG: &str =
    r#"{"disks":[{"id":"_disk0","path":"/vms/a/disk.raw"}],"net":[{"id":"_net0","tap":"t0"}]}"#;

/// A VMM without a VM, and a snapshot in a directory with nothing beside it.
fn ready(version: Version) -> (Scripted, TempDir, PathBuf, File) {
    let ch = Scripted::start(version);
    ch.model().state = None;
    let root = ch.out();
    let snapshot = root.path().join("snapshot-latest");
    fs::create_dir(&snapshot).unwrap();
    write_snapshot(&snapshot, &serde_json::from_str(CONFIG).unwrap(), 0);
    let opened = File::open(&snapshot).unwrap();
    (ch, root, snapshot, opened)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_is_loaded_where_it_lies_and_on_demand_where_the_version_can() {
    for (version, memory, mode) in [
        (Version::FiftyFour, MemoryBackend::File, None),
        (Version::FiftyFour, MemoryBackend::OnDemand, Some("OnDemand")),
        (Version::FiftyOne, MemoryBackend::OnDemand, None),
    ] {
        let (ch, _root, snapshot, opened) = ready(version);
        load(&mut ch.connect(), &source(&snapshot, &opened, memory)).unwrap();
        let mut told = json!({ "source_url": format!("file://{}", snapshot.display()), "prefault": false });
        if let Some(mode) = mode {
            told["memory_restore_mode"] = mode.into();
        }
        assert_eq!(ch.model().restored.as_ref().unwrap().0, told);
    }
}

#[test]
fn a_snapshot_that_moved_is_loaded_from_beside_itself_and_stays_as_it_was() {
    let (ch, root, snapshot, opened) = ready(Version::FiftyFour);
    let mut vm = ch.connect();
    let moved = [(PathBuf::from("/vms/a"), PathBuf::from("/vms/b"))];
    let overrides = [("_net0".to_owned(), "t7".to_owned())];
    let beside = source(&snapshot, &opened, MemoryBackend::File);
    load(&mut vm, &LoadSource { moved: &moved, network_overrides: &overrides, ..beside }).unwrap();
    let (body, config) = ch.model().restored.clone().unwrap();
    let loaded = PathBuf::from(body["source_url"].as_str().unwrap().strip_prefix("file://").unwrap());
    assert_eq!(loaded.parent(), Some(root.path()));
    assert_eq!(config["disks"][0]["path"], "/vms/b/disk.raw");
    assert_eq!(config["net"][0]["tap"], "t7");
    assert_eq!(names(root.path()), ["snapshot-latest"], "nothing is left beside it");
    assert_eq!(fs::read_to_string(snapshot.join("config.json")).unwrap(), CONFIG);
}

#[test]
fn a_load_that_is_given_up_keeps_its_files_until_it_has_ended() {
    let (ch, root, snapshot, opened) = ready(Version::FiftyFour);
    let mut vm = ch.connect();
    let moved = [(PathBuf::from("/vms/a"), PathBuf::from("/vms/b"))];
    let cancel = Cancel::new();
    // After the version and the look that there is no VM.
    ch.model().fault = Some((2, Fault::Hang));
    ch.model().cancel = Some(cancel.clone());
    let source = LoadSource { moved: &moved, ..source(&snapshot, &opened, MemoryBackend::File) };
    let error = vm.load(&source, Call::default().cancel(&cancel).limit(), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled);
    assert_eq!(names(root.path()).len(), 2);
    vm.settle().unwrap();
    assert_eq!(names(root.path()), ["snapshot-latest"]);
}

type Damage = Box<dyn Fn(&Path)>;

#[test]
fn what_is_damaged_or_cannot_be_loaded_is_refused_before_the_vmm_is_told() {
    let cut = |name: &'static str, bytes: u64| {
        move |snapshot: &Path| {
            let file = File::options().write(true).open(snapshot.join(name)).unwrap();
            file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
        }
    };
    let gone = |name: &'static str| move |snapshot: &Path| fs::remove_file(snapshot.join(name)).unwrap();
    let damages: [(&str, Damage); 6] = [
        ("memory-ranges", Box::new(cut("memory-ranges", 1))),
        ("state.json", Box::new(cut("state.json", 1))),
        ("config.json", Box::new(cut("config.json", 1))),
        ("memory-ranges", Box::new(gone("memory-ranges"))),
        ("state.json", Box::new(gone("state.json"))),
        ("config.json", Box::new(gone("config.json"))),
    ];
    for (name, damage) in damages {
        let (ch, _root, snapshot, opened) = ready(Version::FiftyFour);
        damage(&snapshot);
        let error = load(&mut ch.connect(), &source(&snapshot, &opened, MemoryBackend::File)).unwrap_err();
        assert_eq!((error.kind(), error.path()), (Kind::Corrupt, Some(&*snapshot.join(name))), "{error}");
        assert_eq!(ch.model().restored, None);
    }

    let (ch, _root, snapshot, opened) = ready(Version::FiftyFour);
    let error = load(&mut ch.connect(), &source(&snapshot, &opened, MemoryBackend::Uffd(Path::new("/s"))))
        .unwrap_err();
    assert_eq!(error.path(), Some(Path::new("/s")), "no pager listens there: {error}");
    assert_eq!(ch.model().restored, None);
    let stream = source(&snapshot, &opened, MemoryBackend::File);
    let stream = LoadSource { memory_format: Some("qemu-stream"), ..stream };
    assert_eq!(load(&mut ch.connect(), &stream).unwrap_err().kind(), Kind::Incompatible);
    for state in ["Created", "Running", "Paused"] {
        ch.model().state = Some(state);
        let error = load(&mut ch.connect(), &source(&snapshot, &opened, MemoryBackend::File)).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidState, "{state}");
    }
    assert_eq!(ch.model().restored, None);
}

#[test]
fn a_disk_that_another_vm_holds_is_busy_in_the_words_of_the_vmm() {
    let (ch, _root, snapshot, opened) = ready(Version::FiftyFour);
    let words =
        &["Error locking disk images: Another instance likely holds a lock", "The file is already locked"];
    ch.model().refuses_restore = Some(words);
    let error = load(&mut ch.connect(), &source(&snapshot, &opened, MemoryBackend::File)).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.message().contains("The file is already locked"), "{error}");
    // A VMM that refused can be told again.
    ch.model().refuses_restore = None;
    load(&mut ch.connect(), &source(&snapshot, &opened, MemoryBackend::File)).unwrap();
}
