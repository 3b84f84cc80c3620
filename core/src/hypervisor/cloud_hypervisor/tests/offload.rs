//! Memory handed over in a migration: what comes out of it, and what becomes of the guest when it breaks off.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::migration::{Break, Step, image};
use super::model::{MEMORY_BYTES, Version, state, write_snapshot};
use super::scripted::Scripted;
use super::*;
use crate::error::Kind;
use crate::memory::Image;
use crate::memory::pager::{Guarded, Pager};
use crate::sys::memfd;
use crate::types::ServeMemory;

fn shared() -> Value {
    json!({ "memory": { "shared": true }, "disks": [{ "id": "_disk0", "path": "/vms/a/disk.raw" }] })
}

fn start(version: Version) -> Scripted {
    let ch = Scripted::start(version);
    ch.model().config = shared();
    ch
}

/// What a create with `offload_memory` asks of the driver, up to the resume.
fn take(vm: &mut CloudHypervisor, out: &Path, limit: &Limit) -> Result<(Captured, Option<File>)> {
    vm.prepare(limit)?;
    vm.keep_memory();
    let directory_fd = File::open(out).unwrap();
    let target = CaptureTarget {
        directory: out,
        directory_fd: &directory_fd,
        seen_as: out,
        over_last: false,
        vendor_forms_only: false,
    };
    vm.check_reach(&target)?;
    let was_running = vm.run_state(limit)? == crate::hypervisor::RunState::Running;
    vm.arm(&target, limit)?;
    if was_running {
        vm.pause(limit)?;
    }
    let captured = vm.capture(&target, limit, &mut |done, total| {
        assert!(done <= total, "{done} of {total}");
        Ok(())
    })?;
    Ok((captured, vm.kept_memory()))
}

fn connect(ch: &Scripted) -> CloudHypervisor {
    let mut vm = ch.connect();
    vm.outlives = |_| true;
    vm
}

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

fn contents(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn memory_is_kept_as_the_file_would_have_it_and_no_file_of_it_is_written() {
    for before in ["Running", "Paused"] {
        let ch = start(Version::FiftyFour);
        ch.model().state = Some(before);
        // A path that no socket address holds.
        for out in [ch.out().path().join("o"), ch.out().path().join("deep".repeat(30))] {
            fs::create_dir_all(&out).unwrap();
            let mut vm = connect(&ch);
            let (captured, memory) = take(&mut vm, &out, &Limit::default()).unwrap();
            assert_eq!(captured.memory_file, Some("memory-ranges"));
            assert!(contents(&memory.unwrap()) == image());
            assert_eq!(names(&out), ["config.json", "state.json"]);
            let read =
                |name: &str| serde_json::from_slice::<Value>(&fs::read(out.join(name)).unwrap()).unwrap();
            assert_eq!((read("config.json"), read("state.json")), (shared(), state()));
            assert_eq!(out.join("state.json").metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(ch.model().state, Some("Paused"));
            if before == "Running" {
                vm.resume().unwrap();
                assert_eq!(ch.model().state, Some("Running"));
            }
        }
    }
}

#[test]
fn wherever_a_migration_breaks_off_the_guest_runs_again_and_can_be_captured() {
    for step in Step::ALL {
        for how in Break::ALL {
            let story = format!("{how:?} at {step:?}");
            let ch = start(Version::FiftyFour);
            ch.model().breaks = Some((step, how));
            let mut vm = connect(&ch);
            let out = ch.out();
            let error = take(&mut vm, out.path(), &Limit::default()).expect_err(&story);
            assert_eq!(error.kind(), Kind::Hypervisor, "{story}: {error}");
            vm.settle().expect(&story);
            vm.resume().expect(&story);
            assert_eq!(ch.model().state, Some("Running"), "{story}");
            assert!(!names(out.path()).contains(&"handover".to_owned()), "{story}");
            take(&mut vm, ch.out().path(), &Limit::default()).expect(&story).1.expect(&story);
            vm.resume().expect(&story);
        }
    }
}

#[test]
fn memory_that_ends_before_its_slot_is_not_taken_for_zeros() {
    let ch = start(Version::FiftyFour);
    ch.model().forgets_bytes = 4096;
    let mut vm = connect(&ch);
    let error = take(&mut vm, ch.out().path(), &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Hypervisor, "{error}");
    assert!(error.to_string().contains("did not hand over all of the guest's memory"), "{error}");
    vm.settle().unwrap();
    vm.resume().unwrap();
    assert_eq!(ch.model().state, Some("Running"));
}

#[test]
fn a_capture_that_is_given_up_ends_the_migration() {
    let ch = start(Version::FiftyFour);
    let mut vm = connect(&ch);
    let cancel = Cancel::new();
    let out = ch.out();
    let directory_fd = File::open(out.path()).unwrap();
    let target = CaptureTarget {
        directory: out.path(),
        directory_fd: &directory_fd,
        seen_as: out.path(),
        over_last: false,
        vendor_forms_only: false,
    };
    let limit = Limit::until(&cancel);
    vm.prepare(&limit).unwrap();
    vm.keep_memory();
    vm.arm(&target, &limit).unwrap();
    vm.pause(&limit).unwrap();
    assert_eq!(ch.model().state, Some("Paused"));
    cancel.cancel();
    let error = vm.capture(&target, &limit, &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled);
    vm.settle().unwrap();
    vm.resume().unwrap();
    assert_eq!(ch.model().state, Some("Running"));
    assert!(vm.kept_memory().is_none());
}

#[test]
fn what_cannot_be_handed_over_safely_goes_through_a_file() {
    let not_shared = json!({ "memory": { "shared": false } });
    let huge = json!({ "memory": { "shared": true, "hugepages": true } });
    let zones = json!({ "memory": { "shared": true, "zones": [{ "shared": true }] } });
    for (version, config, outlives) in [
        (Version::FiftyOne, shared(), true),
        (Version::FiftyFour, shared(), false),
        (Version::FiftyFour, not_shared, true),
        (Version::FiftyFour, huge, true),
        (Version::FiftyFour, zones, true),
    ] {
        let ch = Scripted::start(version);
        ch.model().config = config.clone();
        let mut vm = ch.connect();
        vm.outlives = if outlives { |_| true } else { |_| false };
        let out = ch.out();
        let (_, memory) = take(&mut vm, out.path(), &Limit::default()).unwrap();
        assert!(memory.is_none(), "{version:?} {config}");
        assert_eq!(names(out.path()), ["config.json", "memory-ranges", "state.json"]);
        assert!(!ch.model().log.contains(&"vm.send-migration".to_owned()), "{version:?} {config}");
    }
}

/// A VMM without a VM, and a snapshot without a memory file.
fn waiting() -> (Scripted, TempDir, PathBuf) {
    let ch = Scripted::start(Version::FiftyFour);
    ch.model().state = None;
    let root = ch.out();
    let snapshot = root.path().join("snapshot-latest");
    fs::create_dir(&snapshot).unwrap();
    write_snapshot(&snapshot, &shared(), 0);
    fs::remove_file(snapshot.join("memory-ranges")).unwrap();
    (ch, root, snapshot)
}

fn filled() -> File {
    let memory = memfd::create().unwrap();
    memory.write_all_at(&image(), 0).unwrap();
    memory
}

#[test]
fn a_vm_is_loaded_with_the_memory_that_was_given() {
    let (ch, _root, snapshot) = waiting();
    let mut vm = ch.connect();
    assert!(vm.takes_memory(&snapshot).unwrap());
    vm.give_memory(filled());
    let opened = File::open(&snapshot).unwrap();
    let moved = [(PathBuf::from("/vms/a"), PathBuf::from("/vms/b"))];
    let from = LoadSource { moved: &moved, ..source(&snapshot, &opened, MemoryBackend::File) };
    load(&mut vm, &from).unwrap();
    let received = ch.model().received.take().unwrap();
    assert!(received.memory == image());
    assert!(received.is_paused);
    assert_eq!(received.state, state());
    assert_eq!(received.config["vm_config"]["disks"][0]["path"], "/vms/b/disk.raw");
    assert_eq!(received.config["common_cpuid"], json!([{ "function": 7 }]));
    assert_eq!(received.config["memory_manager_data"]["boot_ram"], MEMORY_BYTES);
    assert_eq!(names(&snapshot), ["config.json", "state.json"], "the socket is gone");
}

/// A pager of `memory`, and its socket.
fn pager(root: &Path, memory: File) -> (Pager, PathBuf) {
    let socket = root.join("pager.sock");
    let listener = crate::sys::socket::listen_at(&socket).unwrap();
    let image = Image::raw(memory).unwrap();
    let (keep, guarded) = (Box::new(|_: &_| true), Arc::new(Guarded::new(Box::new(|why| panic!("{why}")))));
    let started = Pager::start(image, listener, &ServeMemory::default(), None, keep, guarded).unwrap();
    (started, socket)
}

#[test]
fn a_vm_asks_a_pager_for_its_memory() {
    let (ch, root, snapshot) = waiting();
    let mut vm = ch.connect();
    vm.check_served(&snapshot, &Limit::default()).unwrap();
    let (pager, socket) = pager(root.path(), filled());
    let opened = File::open(&snapshot).unwrap();
    load(&mut vm, &source(&snapshot, &opened, MemoryBackend::Uffd(&socket))).unwrap();
    let received = ch.model().received.take().unwrap();
    assert!(received.memory == image() && received.is_paused);
    pager.wait(Call::default().timeout(std::time::Duration::from_secs(60)).limit()).unwrap();
    let metrics = pager.metrics();
    assert_eq!(
        (metrics.vms_whole, metrics.faults, metrics.errors),
        (1, MEMORY_BYTES / 4096, 0),
        "{metrics:?}"
    );
    assert_eq!(names(&snapshot), ["config.json", "state.json"], "the socket is gone");
}

#[test]
fn a_vm_whose_pager_does_not_have_its_memory_is_not_loaded() {
    let (ch, root, snapshot) = waiting();
    let short = filled();
    short.set_len(MEMORY_BYTES - 4096).unwrap();
    let (pager, socket) = pager(root.path(), short);
    let opened = File::open(&snapshot).unwrap();
    let error =
        load(&mut ch.connect(), &source(&snapshot, &opened, MemoryBackend::Uffd(&socket))).unwrap_err();
    assert_eq!(error.kind(), Kind::Hypervisor, "{error}");
    // It hangs up a moment before it says why.
    let why = std::iter::repeat_with(|| pager.metrics().last_error).take(1_000_000).flatten().next().unwrap();
    assert!(why.contains("not the VM of this snapshot"), "{why}");
    let no_socket = snapshot.join("state.json");
    let backend = MemoryBackend::Uffd(&no_socket);
    let error = load(&mut ch.connect(), &source(&snapshot, &opened, backend)).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidRequest, "{error}");
}

#[test]
fn a_vm_whose_memory_others_read_is_served_by_no_pager() {
    let (ch, _root, snapshot) = waiting();
    let vm = ch.connect();
    let refused = |config: Value| {
        fs::write(snapshot.join("config.json"), config.to_string()).unwrap();
        let error = vm.check_served(&snapshot, &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::NotSupported, "{config}: {error}");
    };
    for (key, value) in [
        ("fs", json!([{ "tag": "t" }])),
        ("devices", json!([{}])),
        ("vdpa", json!([{}])),
        ("user_devices", json!([{}])),
        ("disks", json!([{ "vhost_socket": "/s" }])),
        ("net", json!([{ "vhost_user": true }])),
        ("memory", json!({ "shared": true, "prefault": true })),
        ("memory", json!({ "shared": false })),
    ] {
        let mut config = shared();
        config[key] = value;
        refused(config);
    }
    let old = Scripted::start(Version::FiftyOne);
    fs::write(snapshot.join("config.json"), shared().to_string()).unwrap();
    vm.check_served(&snapshot, &Limit::default()).unwrap();
    assert!(old.connect().check_served(&snapshot, &Limit::default()).is_err());
}

#[test]
fn memory_of_another_length_is_refused_and_a_load_that_breaks_off_can_be_repeated() {
    let (ch, _root, snapshot) = waiting();
    let opened = File::open(&snapshot).unwrap();
    let from = source(&snapshot, &opened, MemoryBackend::File);
    let mut vm = ch.connect();
    let short = filled();
    short.set_len(MEMORY_BYTES - 1).unwrap();
    vm.give_memory(short);
    assert_eq!(load(&mut vm, &from).unwrap_err().kind(), Kind::Corrupt);
    for step in Step::ALL {
        for how in Break::ALL {
            ch.model().breaks = Some((step, how));
            vm.give_memory(filled());
            let error = load(&mut vm, &from).unwrap_err();
            assert_eq!(error.kind(), Kind::Hypervisor, "{how:?} at {step:?}: {error}");
            assert_eq!(names(&snapshot), ["config.json", "state.json"]);
        }
    }
    ch.model().breaks = None;
    vm.give_memory(filled());
    load(&mut vm, &from).unwrap();
}

#[test]
fn a_snapshot_whose_memory_cannot_be_given_is_told_apart() {
    let (ch, _root, snapshot) = waiting();
    let vm = ch.connect();
    fs::write(snapshot.join("config.json"), r#"{"memory":{"shared":false}}"#).unwrap();
    assert!(!vm.takes_memory(&snapshot).unwrap());
    fs::write(snapshot.join("config.json"), shared().to_string()).unwrap();
    let text = fs::read_to_string(snapshot.join("state.json")).unwrap();
    fs::write(snapshot.join("state.json"), text.replace("guest_ram_mappings", "mappings")).unwrap();
    assert!(!vm.takes_memory(&snapshot).unwrap());
    let old = Scripted::start(Version::FiftyOne);
    assert!(!old.connect().takes_memory(&snapshot).unwrap());
}
