//! Every step of a capture fails in every way: each time with a typed error, and the guest runs again.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;

use super::model::{Fault, Place, Version};
use super::scripted::Scripted;
use super::*;
use crate::error::Kind;
use crate::hypervisor::{RunState, WrittenDisk};

const VERSIONS: [Version; 2] = [Version::FiftyOne, Version::FiftyFour];

#[test]
fn a_capture_leaves_three_private_files_and_a_guest_that_runs() {
    for version in VERSIONS {
        let ch = Scripted::start(version);
        let out = ch.out();
        let mut vm = ch.connect();
        let expected = if version == Version::FiftyOne { "v51.1" } else { "v53.0-246-gae44c2971" };
        assert_eq!(vm.version(), expected);
        let captured = walk(&mut vm, out.path(), &Limit::default()).unwrap();
        assert_eq!(captured.memory_file, Some("memory-ranges"));
        assert_eq!(captured.memory_format, "cloud-hypervisor-ranges");
        assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Paused { after_capture: false });
        for name in ["config.json", "state.json", "memory-ranges"] {
            let mode = out.path().join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{name}");
        }
        vm.resume().unwrap();
        assert_eq!(ch.model().state, Some("Running"));
    }
}

#[test]
fn whatever_fails_in_a_capture_the_guest_runs_again() {
    for version in VERSIONS {
        let ch = Scripted::start(version);
        walk(&mut ch.connect(), ch.out().path(), &Limit::default()).unwrap();
        let log = ch.model().log.clone();
        assert_eq!(
            log,
            ["vmm.ping", "vm.info", "vm.info", "vm.snapshot", "vm.pause", "vm.snapshot"],
            "a rehearsal while it runs, then nothing in the pause but the snapshot"
        );
        for (step, action) in log.iter().enumerate().skip(1) {
            for fault in Fault::ALL {
                let story = format!("{version:?}: {fault:?} at {action} ({step})");
                let ch = Scripted::start(version);
                let mut vm = ch.connect();
                let cancel = Cancel::new();
                ch.model().fault = Some((step, fault));
                ch.model().cancel = Some(cancel.clone());
                let outcome = walk(&mut vm, ch.out().path(), Call::default().cancel(&cancel).limit());
                match outcome.map_err(|error| error.kind()) {
                    // An answer without a body is over when the last byte of its head is cut off, but not before.
                    Ok(_) => panic!("{story}: a success"),
                    Err(kind) if fault == Fault::Hang => assert_eq!(kind, Kind::Cancelled, "{story}"),
                    // What refuses the rehearsal refuses the snapshot.
                    Err(kind) if step == 3 && fault == Fault::Refuse => {
                        assert_eq!(kind, Kind::NotSupported, "{story}");
                    }
                    Err(kind) => assert_eq!(kind, Kind::Hypervisor, "{story}"),
                }
                vm.settle().expect(&story);
                vm.resume().expect(&story);
                assert_eq!(ch.model().state, Some("Running"), "{story}");
                walk(&mut vm, ch.out().path(), &Limit::default()).expect(&story);
                vm.resume().expect(&story);
            }
        }
    }
}

#[test]
fn a_resume_that_fails_says_so_first_and_can_be_repeated() {
    for fault in Fault::ALL {
        for step in 0..3 {
            let ch = Scripted::start(Version::FiftyFour);
            let mut vm = ch.connect();
            walk(&mut vm, ch.out().path(), &Limit::default()).unwrap();
            let next = ch.model().log.len();
            ch.model().fault = Some((next + step, fault));
            if fault == Fault::Hang {
                vm.api.expect_to_wait(Duration::from_millis(50));
            }
            let error = vm.resume().unwrap_err();
            let kind = if fault == Fault::Hang { Kind::Timeout } else { Kind::Hypervisor };
            assert_eq!(error.kind(), kind, "{fault:?} {step}: {error}");
            assert!(error.message().starts_with("the VM at "), "{error}");
            assert!(error.message().contains("may still be paused; send `PUT"), "{error}");
            // A machine that is busy may take longer than the hang was waited for.
            vm.api.expect_to_wait(Duration::from_secs(20));
            vm.resume().unwrap();
            assert_eq!(ch.model().state, Some("Running"));
        }
    }
}

#[test]
fn a_pause_whose_answer_was_lost_is_taken_back_whether_it_was_done_or_not() {
    for fault in [Fault::Cut(Place::Start), Fault::Refuse] {
        let ch = Scripted::start(Version::FiftyFour);
        let mut vm = ch.connect();
        ch.model().fault = Some((1, fault));
        vm.pause(&Limit::default()).unwrap_err();
        let done = fault != Fault::Refuse;
        assert_eq!(ch.model().state, Some(if done { "Paused" } else { "Running" }));
        vm.resume().unwrap();
        assert_eq!(ch.model().state, Some("Running"));
        assert_eq!(ch.model().log.iter().filter(|action| *action == "vm.resume").count(), usize::from(done));
    }
}

#[test]
fn every_word_of_a_refusal_is_told_and_a_full_disk_is_known_by_it() {
    for (words, kind) in [
        (&["Error from API", "The VM could not be snapshotted", "the moon"][..], Kind::Hypervisor),
        (
            &["Error writing dense memory snapshot region", "No space left on device (os error 28)"],
            Kind::NoSpace,
        ),
    ] {
        let ch = Scripted::start(Version::FiftyFour);
        let mut vm = ch.connect();
        vm.prepare(&Limit::default()).unwrap();
        ch.model().refuses_snapshot = Some(words);
        vm.pause(&Limit::default()).unwrap();
        let out = ch.out();
        let fd = File::open(out.path()).unwrap();
        let target = CaptureTarget {
            directory: out.path(),
            directory_fd: &fd,
            seen_as: out.path(),
            over_last: false,
            vendor_forms_only: false,
        };
        let error = vm.capture(&target, &Limit::default(), &mut |_, _| Ok(())).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(&words.join(": ")), "{error}");
    }
}

#[test]
fn a_vm_that_cannot_be_saved_is_refused_before_its_pause() {
    let restoring = &["Error from API", "VM on-demand memory restore is still in progress"][..];
    let confidential = &["Error from API", "Snapshot not possible with TDX VM"][..];
    for (words, config, kind, word) in [
        (Some(restoring), json!({}), Kind::Busy, "still in progress"),
        (Some(confidential), json!({}), Kind::NotSupported, "TDX"),
        (None, json!({ "vdpa": [{}] }), Kind::NotSupported, "vDPA"),
    ] {
        let ch = Scripted::start(Version::FiftyFour);
        ch.model().refuses_snapshot = words;
        ch.model().config = config;
        let error = walk(&mut ch.connect(), ch.out().path(), &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(word), "{error}");
        assert!(!ch.model().log.contains(&"vm.pause".to_owned()));
    }
}

#[test]
fn a_snapshot_that_is_not_whole_is_not_believed() {
    for (forgets_bytes, forgets_state, word) in [(1, false, "memory-ranges"), (0, true, "state.json")] {
        let ch = Scripted::start(Version::FiftyFour);
        ch.model().forgets_bytes = forgets_bytes;
        ch.model().forgets_state = forgets_state;
        let error = walk(&mut ch.connect(), ch.out().path(), &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Hypervisor);
        assert!(error.message().contains("reports success"), "{error}");
        assert!(error.message().contains(word), "{error}");
    }
}

#[test]
fn states_without_a_vm_are_told_apart_from_errors_in_every_version() {
    for version in VERSIONS {
        let ch = Scripted::start(version);
        let mut vm = ch.connect();
        for (state, expected) in [
            (None, RunState::NotStarted),
            (Some("Created"), RunState::NotStarted),
            (Some("Shutdown"), RunState::Shutdown),
            (Some("BreakPoint"), RunState::Other),
            (Some("Paused"), RunState::Paused { after_capture: false }),
        ] {
            ch.model().state = state;
            assert_eq!(vm.run_state(&Limit::default()).unwrap(), expected);
        }
        ch.model().state = None;
        assert_eq!(vm.prepare(&Limit::default()).unwrap_err().kind(), Kind::InvalidState);
    }
}

#[test]
fn what_is_no_cloud_hypervisor_is_refused_at_once() {
    for fault in [Fault::Refuse, Fault::Garbage, Fault::Endless] {
        let other = Scripted::start(Version::FiftyFour);
        other.model().fault = Some((0, fault));
        let error = CloudHypervisor::connect(&other.socket(), &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Hypervisor, "{error}");
    }
}

#[test]
fn disks_that_the_guest_writes_to_are_told_and_a_vmm_without_a_vm_has_none() {
    let ch = Scripted::start(Version::FiftyFour);
    ch.model().config = json!({ "disks": [
        { "id": "_disk0", "path": "/vms/a/disk.raw", "readonly": false },
        { "id": "_disk1", "path": "/vms/a/base.raw", "readonly": true },
        { "id": "_disk2", "vhost_user": true, "vhost_socket": "/run/disk.sock" },
    ] });
    let mut vm = ch.connect();
    let written =
        |name: &str, path: Option<&str>| WrittenDisk { name: name.to_owned(), path: path.map(Into::into) };
    assert_eq!(
        vm.written_disks(&Limit::default()).unwrap(),
        [written("/vms/a/disk.raw", Some("/vms/a/disk.raw")), written("/run/disk.sock", None)]
    );
    ch.model().state = None;
    assert_eq!(vm.written_disks(&Limit::default()).unwrap(), []);
}
