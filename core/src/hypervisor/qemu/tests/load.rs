//! Every step of a load fails in every way, and every image that is none is refused before QEMU hears of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use super::model::{Fault, Model, Version};
use super::scripted::Scripted;
use super::*;
use crate::error::{Error, Kind};
use crate::hypervisor::RunState;

/// An image of the machine that the scripted QEMU has.
const IMAGE: &[u8] = b"QEVM\0\0\0\x03\x07\0\0\0\x0bpc-q35-10.0 and then the memory";

const STREAM: Option<&str> = Some("qemu-stream");

fn waiting(version: Version) -> (Scripted, Qemu) {
    let qemu = Scripted::of(Model::waiting(version));
    let vm = Qemu::connect(&qemu.socket(), &Limit::default()).unwrap();
    (qemu, vm)
}

fn image(bytes: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("memory"), bytes).unwrap();
    directory
}

/// Why a QEMU that waits refuses to load what is in `directory`, without having been told to.
fn refused(directory: &Path, memory_format: Option<&str>) -> Error {
    let (qemu, mut vm) = waiting(Version::Seven);
    let error = load(&mut vm, directory, memory_format, &Limit::default()).unwrap_err();
    let log = qemu.model().log.clone();
    assert!(!log.iter().any(|command| command == "stop" || command == "migrate-incoming"), "{log:?}");
    error
}

#[test]
fn an_image_is_loaded_and_the_guest_is_paused_until_it_is_resumed() {
    for (version, memory_format, bytes) in [
        (Version::Seven, None, IMAGE),
        (Version::Seven, STREAM, IMAGE),
        (Version::Ten, STREAM, IMAGE),
        (Version::Ten, Some("qemu-mapped-ram"), &[IMAGE, b"mapped"].concat()),
    ] {
        let (qemu, mut vm) = waiting(version);
        let limit = Limit::default();
        let at_first = qemu.model().traces();
        let progress = load(&mut vm, image(bytes).path(), memory_format, &limit).unwrap();
        assert_eq!(progress, (bytes.len() as u64, bytes.len() as u64));
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: false });
        assert!(!qemu.model().ran_by_itself);
        assert_eq!(qemu.model().traces(), at_first);
        vm.resume().unwrap();
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);
    }
}

#[test]
fn whatever_fails_in_a_load_the_error_is_typed_and_qemu_keeps_no_trace() {
    for version in [Version::Seven, Version::Ten] {
        let directory = image(IMAGE);
        let (qemu, mut vm) = waiting(version);
        let at_first = qemu.model().traces();
        load(&mut vm, directory.path(), STREAM, &Limit::default()).unwrap();
        let log = qemu.model().log.clone();
        assert!(log.len() > 12, "{log:?}");
        let given_back = log.iter().rposition(|command| command == "migrate-set-capabilities").unwrap();
        let last = log.len() - 2;
        for (step, command) in log.iter().enumerate().skip(1) {
            for fault in Fault::ALL {
                let story = format!("{version:?}: {fault:?} at {command} ({step})");
                let (qemu, mut vm) = waiting(version);
                let cancel = Cancel::new();
                qemu.model().fault = Some((step, fault));
                qemu.model().cancel = Some(cancel.clone());
                let outcome =
                    load(&mut vm, directory.path(), STREAM, Call::default().cancel(&cancel).limit());
                let kind = if fault == Fault::Hang { Kind::Cancelled } else { Kind::Hypervisor };
                match outcome {
                    // What cannot be given back now is given back by the settling.
                    Ok(_) => assert!(fault == Fault::Refuse && (given_back..last).contains(&step), "{story}"),
                    Err(error) => assert_eq!(error.kind(), kind, "{story}: {error}"),
                }
                vm.settle().expect(&story);
                assert_eq!(qemu.model().traces(), at_first, "{story}");
                assert_ne!(qemu.model().status, "running", "{story}");
                assert!(!qemu.model().ran_by_itself, "{story}");
            }
        }
    }
}

#[test]
fn an_image_that_is_none_is_corrupt_before_qemu_hears_of_it() {
    for bytes in [&b""[..], b"Q", b"QEV", b"Qevm\0\0\0\x03", &[0; 4096]] {
        let error = refused(image(bytes).path(), STREAM);
        assert_eq!(error.kind(), Kind::Corrupt, "{bytes:?}: {error}");
        assert!(error.path().unwrap().ends_with("memory"), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(refused(directory.path(), STREAM).errno(), Some(libc::ENOENT));
    let memory = directory.path().join("memory");
    mkfifo(&memory, Mode::S_IRWXU).unwrap();
    assert_eq!(refused(directory.path(), STREAM).kind(), Kind::Io, "a FIFO");
    fs::remove_file(&memory).unwrap();
    let elsewhere = image(IMAGE);
    std::os::unix::fs::symlink(elsewhere.path().join("memory"), &memory).unwrap();
    assert_eq!(refused(directory.path(), STREAM).errno(), Some(libc::ELOOP));
}

#[test]
fn an_image_of_another_machine_form_or_vmm_is_incompatible() {
    let other = b"QEVM\0\0\0\x03\x07\0\0\0\x07microvm and then the memory";
    let error = refused(image(other).path(), STREAM);
    assert_eq!(error.kind(), Kind::Incompatible);
    assert!(error.message().contains("start it with -machine microvm"), "{error}");
    for (memory_format, why) in [("qemu-mapped-ram", "use QEMU 9.0 or later"), ("raw", "of another VMM")] {
        let error = refused(image(IMAGE).path(), Some(memory_format));
        assert_eq!(error.kind(), Kind::Incompatible);
        assert!(error.message().contains(why), "{error}");
    }
}

#[test]
fn wishes_that_qemu_cannot_grant_are_not_passed_over() {
    let directory = image(IMAGE);
    let directory_fd = File::open(directory.path()).unwrap();
    let plain = || source(directory.path(), &directory_fd, STREAM);
    let devices = [("eth0".to_owned(), "tap7".to_owned())];
    for wished in [
        LoadSource { memory: MemoryBackend::OnDemand, ..plain() },
        LoadSource { memory: MemoryBackend::Uffd(&PathBuf::from("/run/uffd")), ..plain() },
        LoadSource { network_overrides: &devices, ..plain() },
    ] {
        let (_qemu, mut vm) = waiting(Version::Ten);
        let error = vm.load(&wished, &Limit::default(), &mut |_, _| Ok(())).unwrap_err();
        assert_eq!(error.kind(), Kind::NotSupported);
    }
}

#[test]
fn a_vm_that_ran_is_never_loaded_over_and_no_qemu_loads_twice() {
    let directory = image(IMAGE);
    for status in ["running", "paused", "prelaunch", "shutdown", "postmigrate"] {
        let qemu = Scripted::start(Version::Ten);
        qemu.model().status = status;
        let mut vm = Qemu::connect(&qemu.socket(), &Limit::default()).unwrap();
        let error = load(&mut vm, directory.path(), STREAM, &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidState, "{status}");
        assert!(error.message().contains("-incoming defer"), "{error}");
        assert_eq!(qemu.model().status, status);
    }
    let (qemu, mut vm) = waiting(Version::Ten);
    qemu.model().migration = "failed";
    let error = load(&mut vm, directory.path(), STREAM, &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    assert!(error.message().contains("start another one"), "{error}");
}

#[test]
fn a_load_that_qemu_gives_up_is_an_error_with_its_reason_or_with_its_end() {
    for (version, told) in
        [(Version::Ten, "QEMU says: no such device"), (Version::Seven, "QEMU before 9.1 ends when")]
    {
        let (qemu, mut vm) = waiting(version);
        qemu.model().fails_with = Some("no such device");
        let error = load(&mut vm, image(IMAGE).path(), STREAM, &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Hypervisor);
        assert!(error.message().contains("/memory was not loaded: "), "{error}");
        assert!(error.message().contains(told), "{error}");
    }
}

#[test]
fn a_load_that_does_not_end_is_given_up() {
    let (qemu, mut vm) = waiting(Version::Ten);
    qemu.model().looks_left = u32::MAX;
    let call = Call::default().timeout(Duration::from_millis(50));
    let error = load(&mut vm, image(IMAGE).path(), STREAM, call.limit()).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
}
