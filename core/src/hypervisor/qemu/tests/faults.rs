//! Every step of a capture fails in every way: each time with a typed error, and the guest runs again.

use std::time::Duration;

use serde_json::{Value, json};

use super::model::{Fault, Version};
use super::scripted::Scripted;
use super::*;
use crate::error::Kind;
use crate::hypervisor::RunState;

fn connect(qemu: &Scripted) -> Qemu {
    Qemu::connect(&qemu.socket(), &Limit::default()).unwrap()
}

/// What a create asks of the driver, up to the resume.
fn walk(vm: &mut Qemu, qemu: &Scripted, limit: &Limit) -> Result<Captured> {
    vm.run_state(limit)?;
    vm.prepare(limit)?;
    vm.pause(limit)?;
    let vendor_forms_only = false;
    Ok(capture_within(vm, qemu.out().path(), vendor_forms_only, limit)?.0)
}

fn assert_as_at_first(qemu: &Scripted, version: Version, story: &str) {
    let model = qemu.model();
    assert_eq!(model.aborted, None, "{story}");
    assert_eq!(model.status, "running", "{story}");
    assert_eq!(model.traces(), Scripted::start(version).model().traces(), "{story}");
}

/// The commands of a capture that goes well. What it changed is given back after it, by the resume.
fn commands(version: Version) -> Vec<String> {
    let qemu = Scripted::start(version);
    let mut vm = connect(&qemu);
    let captured = walk(&mut vm, &qemu, &Limit::default()).unwrap();
    let mapped = version == Version::Ten;
    assert_eq!(captured.memory_format, if mapped { "qemu-mapped-ram" } else { "qemu-stream" });
    let log = qemu.model().log.clone();
    vm.resume().unwrap();
    assert_as_at_first(&qemu, version, "no fault");
    log
}

#[test]
fn whatever_fails_in_a_capture_the_guest_runs_again_and_qemu_keeps_no_trace() {
    for version in [Version::Seven, Version::Ten] {
        let log = commands(version);
        assert!(log.len() > 15, "{log:?}");
        for (step, command) in log.iter().enumerate().skip(1) {
            for fault in Fault::ALL {
                let story = format!("{version:?}: {fault:?} at {command} ({step})");
                let qemu = Scripted::start(version);
                let mut vm = connect(&qemu);
                let cancel = Cancel::new();
                qemu.model().fault = Some((step, fault));
                qemu.model().cancel = Some(cancel.clone());
                let outcome = walk(&mut vm, &qemu, Call::default().cancel(&cancel).limit());
                let kind = if fault == Fault::Hang { Kind::Cancelled } else { Kind::Hypervisor };
                assert_eq!(outcome.expect_err(&story).kind(), kind, "{story}");
                vm.resume().expect(&story);
                assert_as_at_first(&qemu, version, &story);
                walk(&mut vm, &qemu, &Limit::default()).expect(&story);
                vm.resume().expect(&story);
            }
        }
    }
}

#[test]
fn a_resume_that_fails_says_so_first_and_can_be_repeated() {
    for fault in Fault::ALL {
        for step in 0..2 {
            let qemu = Scripted::start(Version::Ten);
            let mut vm = connect(&qemu);
            walk(&mut vm, &qemu, &Limit::default()).unwrap();
            let next = qemu.model().log.len();
            qemu.model().fault = Some((next + step, fault));
            if fault == Fault::Hang {
                vm.qmp.patience = Duration::from_millis(50);
            }
            let error = vm.resume().unwrap_err();
            let kind = if fault == Fault::Hang { Kind::Timeout } else { Kind::Hypervisor };
            assert_eq!(error.kind(), kind, "{fault:?} {step}: {error}");
            assert!(error.message().starts_with("the VM at "), "{error}");
            assert!(error.message().contains("may still be paused; send `cont`"), "{error}");
            // The fault is over; a busy machine is none.
            vm.qmp.patience = Duration::from_secs(60);
            vm.resume().unwrap();
            assert_as_at_first(&qemu, Version::Ten, &format!("{fault:?} {step}"));
        }
    }
}

#[test]
fn settling_ends_what_a_killed_process_left_and_can_be_repeated_after_a_fault() {
    for fault in Fault::ALL {
        for step in 0..3 {
            let qemu = Scripted::start(Version::Ten);
            qemu.model().migration = "active";
            qemu.model().looks_left = 1000;
            let mut vm = connect(&qemu);
            qemu.model().fault = Some((1 + step, fault));
            if fault == Fault::Hang {
                vm.qmp.patience = Duration::from_millis(50);
            }
            assert!(vm.settle().is_err(), "{fault:?} {step}");
            // The fault is over; a busy machine is none.
            vm.qmp.patience = Duration::from_secs(60);
            vm.settle().unwrap();
            assert_eq!(qemu.model().migration, "cancelled");
        }
    }
}

#[test]
fn a_call_ends_by_its_timeout_and_else_by_the_patience_that_the_driver_has() {
    let qemu = Scripted::start(Version::Ten);
    let mut vm = connect(&qemu);
    qemu.model().fault = Some((1, Fault::Hang));
    let call = Call::default().timeout(Duration::from_millis(50));
    assert_eq!(vm.run_state(call.limit()).unwrap_err().kind(), Kind::Timeout);
    // The answer that never came is not waited for again.
    assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Running);

    qemu.model().fault = Some((3, Fault::Hang));
    vm.qmp.patience = Duration::from_millis(50);
    assert_eq!(vm.run_state(&Limit::default()).unwrap_err().kind(), Kind::Timeout);
}

#[test]
fn a_migration_that_does_not_end_is_given_up_and_cancelled_by_the_resume() {
    let qemu = Scripted::start(Version::Seven);
    let mut vm = connect(&qemu);
    vm.pause(&Limit::default()).unwrap();
    vm.prepare(&Limit::default()).unwrap();
    qemu.model().looks_left = u32::MAX;
    vm.qmp.patience = Duration::from_millis(50);
    assert_eq!(capture(&mut vm, qemu.out().path(), true).unwrap_err().kind(), Kind::Timeout);
    // The fault is over; a busy machine is none.
    vm.qmp.patience = Duration::from_secs(60);
    vm.resume().unwrap();
    assert_eq!(qemu.model().migration, "cancelled");
    assert_as_at_first(&qemu, Version::Seven, "endless migration");
}

#[test]
fn why_qemu_could_not_save_the_memory_is_told_in_its_words() {
    for (reason, kind) in [
        ("Unable to write to file: No space left on device", Kind::NoSpace),
        ("Unable to write to file: Disk quota exceeded", Kind::NoSpace),
        ("State blocked by the moon", Kind::Hypervisor),
    ] {
        let qemu = Scripted::start(Version::Ten);
        qemu.model().fails_with = Some(reason);
        let mut vm = connect(&qemu);
        let error = walk(&mut vm, &qemu, &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(reason), "{error}");
        vm.resume().unwrap();
        assert_as_at_first(&qemu, Version::Ten, reason);
    }
}

#[test]
fn a_success_without_a_byte_of_memory_is_not_believed() {
    let qemu = Scripted::start(Version::Seven);
    qemu.model().writes = b"";
    let mut vm = connect(&qemu);
    let error = walk(&mut vm, &qemu, &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Hypervisor);
    assert!(error.message().contains("wrote nothing"), "{error}");
}

#[test]
fn a_file_that_is_there_already_is_not_written_over() {
    let qemu = Scripted::start(Version::Seven);
    let mut vm = connect(&qemu);
    let out = qemu.out();
    std::fs::write(out.path().join("memory"), "of someone else").unwrap();
    let error = capture(&mut vm, out.path(), true).unwrap_err();
    assert_eq!(error.errno(), Some(libc::EEXIST));
    assert_eq!(std::fs::read(out.path().join("memory")).unwrap(), b"of someone else");
}

/// What a capture of ours sets up for its own ends: what it switched off that others had on, a dead one cannot give back.
fn traces_of_the_dead(qemu: &Scripted) -> (Vec<bool>, u64, Vec<String>) {
    let (capabilities, max_bandwidth, descriptors) = qemu.model().traces();
    let ours = ["events", "mapped-ram"].iter().filter_map(|name| capabilities.get(name).copied());
    (ours.collect(), max_bandwidth, descriptors)
}

#[test]
fn a_vm_that_is_settled_to_be_resumed_bears_our_mark_until_it_runs() {
    for version in [Version::Seven, Version::Ten] {
        let qemu = Scripted::start(version);
        let untouched = traces_of_the_dead(&qemu);
        let mut vm = connect(&qemu);
        walk(&mut vm, &qemu, &Limit::default()).unwrap();
        vm.settle_for_resume().unwrap();
        // Whoever was to resume it is killed here, and so is the next one.
        for _ in 0..2 {
            drop(vm);
            vm = connect(&qemu);
            assert!(vm.is_as_we_left_it(&Limit::default()).unwrap());
            vm.settle_for_resume().unwrap();
        }
        vm.resume().unwrap();
        assert!(!vm.is_as_we_left_it(&Limit::default()).unwrap());
        assert_eq!(traces_of_the_dead(&qemu), untouched);
    }
}

#[test]
fn a_mark_that_was_left_behind_goes_with_the_next_capture() {
    let qemu = Scripted::start(Version::Ten);
    let untouched = traces_of_the_dead(&qemu);
    let mut killed = connect(&qemu);
    walk(&mut killed, &qemu, &Limit::default()).unwrap();
    // It let the guest run, and could give nothing back.
    killed.qmp.ask::<Value>("cont", json!({}), &Limit::default()).unwrap();
    drop(killed);
    let mut vm = connect(&qemu);
    walk(&mut vm, &qemu, &Limit::default()).unwrap();
    vm.resume().unwrap();
    assert_eq!(traces_of_the_dead(&qemu), untouched);
}
