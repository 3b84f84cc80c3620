//! Loading: what is asked for, and what is refused before a Firecracker could end over it.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::super::state_file::tests::sealed;
use super::scripted::Scripted;
use super::*;
use crate::error::{Error, Kind};
use crate::hypervisor::RunState;

/// A directory with the files of a capture.
fn image() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("state"), sealed(b"\x0f/vms/a/disk.raw\x04eth0")).unwrap();
    File::create(root.path().join("memory")).unwrap().set_len(2 << 20).unwrap();
    root
}

/// Loads what `change` made of an image, and requires a refusal before the VMM was told to load.
fn refused(change: impl FnOnce(&Path), wanted: &Wanted<'_>) -> Error {
    let firecracker = Scripted::start("Not started");
    let image = image();
    change(image.path());
    let error = load(&mut firecracker.connect(), image.path(), wanted).unwrap_err();
    assert!(!firecracker.model().requests().contains(&"PUT /snapshot/load"), "{error}");
    error
}

#[test]
fn a_load_leaves_the_vm_paused_and_sends_only_what_says_something() {
    let firecracker = Scripted::start("Not started");
    let (mut vm, image) = (firecracker.connect(), image());
    load(&mut vm, image.path(), &Wanted { memory_format: Some("raw"), ..Wanted::default() }).unwrap();
    assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Paused { after_capture: false });
    assert_eq!(
        firecracker.model().body_of("PUT /snapshot/load"),
        json!({
            "snapshot_path": image.path().join("state"),
            "mem_backend": { "backend_type": "File", "backend_path": image.path().join("memory") },
            "resume_vm": false,
        })
    );
    vm.resume().unwrap();
}

#[test]
fn memory_can_come_from_a_pager_and_the_network_lie_elsewhere() {
    let firecracker = Scripted::start("Not started");
    let (mut vm, image) = (firecracker.connect(), image());
    fs::remove_file(image.path().join("memory")).unwrap();
    let pager = image.path().join("pager");
    let _listener = UnixListener::bind(&pager).unwrap();
    let network_overrides = [("eth0".to_owned(), "tap7".to_owned())];
    let wanted = Wanted { pager: Some(&pager), network_overrides: &network_overrides, ..Wanted::default() };
    load(&mut vm, image.path(), &wanted).unwrap();
    let body = firecracker.model().body_of("PUT /snapshot/load");
    assert_eq!(body["mem_backend"], json!({ "backend_type": "Uffd", "backend_path": pager }));
    assert_eq!(body["network_overrides"], json!([{ "iface_id": "eth0", "host_dev_name": "tap7" }]));
}

#[test]
fn a_vm_is_loaded_into_none_that_has_one() {
    let firecracker = Scripted::start("Running");
    let error = load(&mut firecracker.connect(), image().path(), &Wanted::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    assert_eq!(firecracker.model().state, "Running");
}

#[test]
fn damaged_files_are_refused_before_firecracker_sees_them() {
    let plain = Wanted::default();
    for name in ["state", "memory"] {
        let error = refused(|image| fs::remove_file(image.join(name)).unwrap(), &plain);
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(error.message().contains("is missing"), "{error}");
        let error = refused(
            |image| {
                fs::rename(image.join(name), image.join("moved")).unwrap();
                symlink("moved", image.join(name)).unwrap();
            },
            &plain,
        );
        assert_eq!(error.errno(), Some(libc::ELOOP), "{error}");
    }
    let cut = |name: &'static str, bytes: u64| {
        move |image: &Path| {
            File::options().write(true).open(image.join(name)).unwrap().set_len(bytes).unwrap()
        }
    };
    for (name, bytes) in [("memory", 0), ("memory", (2 << 20) - 1), ("state", 20), ("state", 0)] {
        assert_eq!(refused(cut(name, bytes), &plain).kind(), Kind::Corrupt, "{name} of {bytes} bytes");
    }
    assert_eq!(refused(cut("state", 11_000_000), &plain).kind(), Kind::Corrupt);
    let flip = |image: &Path| {
        let mut state = fs::read(image.join("state")).unwrap();
        state[25] ^= 1;
        fs::write(image.join("state"), state).unwrap();
    };
    let error = refused(flip, &plain);
    assert!(error.message().contains("does not match its checksum"), "{error}");
}

#[test]
fn what_this_host_cannot_load_is_refused() {
    let format = Wanted { memory_format: Some("qemu-stream"), ..Wanted::default() };
    assert_eq!(refused(|_| (), &format).kind(), Kind::Incompatible);

    let overrides = [("eth9".to_owned(), "tap7".to_owned())];
    let error = refused(|_| (), &Wanted { network_overrides: &overrides, ..Wanted::default() });
    assert_eq!(error.kind(), Kind::InvalidRequest);
    assert!(error.message().contains("eth9"), "{error}");

    let root = tempfile::tempdir().unwrap();
    let no_socket = root.path().join("file");
    fs::write(&no_socket, "").unwrap();
    let error = refused(|_| (), &Wanted { pager: Some(&no_socket), ..Wanted::default() });
    assert_eq!(error.kind(), Kind::InvalidRequest);

    let other_machine = |image: &Path| {
        let machine: u16 = if cfg!(target_arch = "aarch64") { 0x8664 } else { 0xaaaa };
        let mut state = fs::read(image.join("state")).unwrap();
        state[3..5].copy_from_slice(&machine.to_le_bytes());
        state.truncate(state.len() - 8);
        let checksum = crc64::crc64(0, &state);
        state.extend_from_slice(&checksum.to_le_bytes());
        fs::write(image.join("state"), state).unwrap();
    };
    assert_eq!(refused(other_machine, &Wanted::default()).kind(), Kind::Incompatible);
}

#[test]
fn a_disk_that_moved_must_be_found_where_it_was() {
    let root = tempfile::tempdir().unwrap();
    let (was, is) = (root.path().join("a"), root.path().join("b"));
    fs::create_dir(&is).unwrap();
    let moved = [(was.clone(), is.clone())];
    let wanted = Wanted { moved: &moved, ..Wanted::default() };
    let naming = |path: &Path| {
        let path: PathBuf = path.join("disk.raw");
        move |image: &Path| {
            fs::write(image.join("state"), sealed(path.as_os_str().as_encoded_bytes())).unwrap();
        }
    };
    let error = refused(naming(&was), &wanted);
    assert_eq!(error.kind(), Kind::NotSupported);
    assert!(error.message().contains(was.to_str().unwrap()), "{error}");

    symlink(&is, &was).unwrap();
    let firecracker = Scripted::start("Not started");
    let image = image();
    naming(&was)(image.path());
    load(&mut firecracker.connect(), image.path(), &wanted).unwrap();
}

#[test]
fn why_firecracker_could_not_load_is_told_in_its_words_and_that_it_ends() {
    for (reason, kind) in [
        ("Open tap device failed: Device or resource busy (os error 16)", Kind::Hypervisor),
        ("Failed to load snapshot state from file: Invalid data version: 8.0.0", Kind::Incompatible),
        (
            "Failed to load snapshot state from file: An error occurred during bitcode serialization: bitcode error",
            Kind::Incompatible,
        ),
    ] {
        let firecracker = Scripted::start("Not started");
        firecracker.model().fails_with = Some(reason);
        let error = load(&mut firecracker.connect(), image().path(), &Wanted::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(reason) && error.message().contains("start a new one"), "{error}");
        assert!(kind != Kind::Incompatible || error.message().contains("11.0.0"), "{error}");
    }
}

#[test]
fn memory_of_another_size_than_was_captured_is_never_shown_to_firecracker() {
    let cut = |image: &Path| {
        let memory = File::options().write(true).open(image.join("memory")).unwrap();
        memory.set_len(1 << 20).unwrap();
    };
    let wanted = Wanted { memory_bytes: Some(2 << 20), ..Wanted::default() };
    let error = refused(cut, &wanted);
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.message().contains("1048576 bytes, where 2097152 were captured"), "{error}");
}
