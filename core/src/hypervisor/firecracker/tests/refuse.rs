//! What is refused before the pause, and what may lie behind a socket that is registered as Firecracker's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::scripted::Scripted;
use super::*;
use crate::error::Kind;
use crate::hypervisor::RunState;

fn assert_never_paused(firecracker: &Scripted) {
    assert!(!firecracker.model().requests().contains(&"PATCH /vm"));
}

#[test]
fn a_vm_that_was_never_started_has_nothing_to_capture() {
    let firecracker = Scripted::start("Not started");
    let mut vm = firecracker.connect();
    assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::NotStarted);
    let error = vm.prepare(&Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    assert!(error.message().contains("Not started"), "{error}");
}

#[test]
fn a_state_of_a_later_version_is_none_that_we_act_on() {
    let firecracker = Scripted::start("Hibernated");
    let mut vm = firecracker.connect();
    assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Other);
    assert_eq!(vm.prepare(&Limit::default()).unwrap_err().kind(), Kind::InvalidState);
}

#[test]
fn a_disk_without_room_for_all_of_memory_is_refused_before_the_pause() {
    let firecracker = Scripted::start("Running");
    firecracker.model().memory_mib = 1 << 40;
    let mut vm = firecracker.connect();
    let error = walk(&mut vm, firecracker.out().path(), &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace);
    assert_never_paused(&firecracker);
}

#[test]
fn files_that_are_there_are_not_written_over() {
    for name in ["state", "memory"] {
        let firecracker = Scripted::start("Running");
        let mut vm = firecracker.connect();
        let out = firecracker.out();
        let other = out.path().join("of someone else");
        fs::write(&other, "theirs").unwrap();
        fs::hard_link(&other, out.path().join(name)).unwrap();
        let error = walk(&mut vm, out.path(), &Limit::default()).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EEXIST), "{error}");
        assert_never_paused(&firecracker);
        fs::remove_file(out.path().join(name)).unwrap();
        symlink(&other, out.path().join(name)).unwrap();
        assert_eq!(capture(&mut vm, out.path(), &Limit::default()).unwrap_err().errno(), Some(libc::ELOOP));
        assert_eq!(fs::read(&other).unwrap(), b"theirs");
    }
}

#[test]
fn what_firecracker_wrote_is_closed_to_others() {
    let firecracker = Scripted::start("Running");
    let mut vm = firecracker.connect();
    let out = firecracker.out();
    walk(&mut vm, out.path(), &Limit::default()).unwrap();
    for name in ["state", "memory"] {
        let mode = fs::metadata(out.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn memory_that_could_be_plugged_in_has_its_place_in_the_file() {
    let firecracker = Scripted::start("Running");
    firecracker.model().hotplug_mib = Some(1);
    let mut vm = firecracker.connect();
    let out = firecracker.out();
    walk(&mut vm, out.path(), &Limit::default()).unwrap();
    assert_eq!(fs::metadata(out.path().join("memory")).unwrap().len(), 3 << 20);
}

#[test]
fn another_server_is_told_from_firecracker() {
    let other = Scripted::start("Running");
    other.model().app_name = "Watercracker";
    let error = Firecracker::connect(&other.socket(), &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Hypervisor);
    assert!(error.message().contains("Watercracker"), "{error}");

    other.model().ignores = Some("GET /");
    let error = Firecracker::connect(&other.socket(), &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Hypervisor, "an answer without a body: {error}");
}

#[test]
fn a_socket_without_a_listener_means_that_the_vm_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("s");
    assert_eq!(Firecracker::connect(&path, &Limit::default()).unwrap_err().kind(), Kind::InvalidState);
    drop(UnixListener::bind(&path).unwrap());
    let error = Firecracker::connect(&path, &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    assert!(error.message().contains("no firecracker listens at"), "{error}");
}
