//! The driver against a real QEMU under TCG; its firmware is guest enough here.

use std::fs;

use serde_json::{Value, json};

use super::process::{RealQemu, ask, with_each_qemu};
use super::*;
use crate::error::Kind;
use crate::hypervisor::RunState;

/// The settings of migrations that this driver touches.
fn settings(vm: &mut Qemu) -> (Value, Value) {
    let capabilities = ask(vm, "query-migrate-capabilities", json!({}));
    let parameters = ask(vm, "query-migrate-parameters", json!({}));
    (capabilities, parameters["max-bandwidth"].clone())
}

#[test]
fn a_running_vm_is_captured_and_runs_on_with_its_settings_as_they_were() {
    with_each_qemu("a_running_vm_is_captured", |program| {
        let qemu = RealQemu::start(program, &[]);
        let limit = Limit::default();
        let mut other = qemu.connect("other");
        let mut vm = qemu.connect("ours");
        assert_eq!(vm.peer().pid, i32::try_from(qemu.process.id()).unwrap());
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);
        let before = settings(&mut other);
        let has_mapped_ram = before.0.to_string().contains("mapped-ram");

        for (vendor_forms_only, name) in [(true, "vendor"), (false, "any"), (false, "again")] {
            vm.prepare(&limit).unwrap();
            vm.pause(&limit).unwrap();
            assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: false });
            let out = qemu.out(name);
            let (captured, progress) = capture(&mut vm, &out, vendor_forms_only).unwrap();
            assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: true });
            vm.resume().unwrap();
            assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);

            let mapped = has_mapped_ram && !vendor_forms_only;
            assert_eq!(captured.memory_format, if mapped { "qemu-mapped-ram" } else { "qemu-stream" });
            let memory = fs::read(out.join("memory")).unwrap();
            assert!(memory.starts_with(b"QEVM"), "{:?}", &memory[..16]);
            assert!(!mapped || memory.len() > 64 << 20, "each page has its place: {}", memory.len());
            assert!(progress.0 == progress.1 && progress.1 >= 64 << 20, "{progress:?}");
            assert_eq!(settings(&mut other), before);
            assert_eq!(ask(&mut other, "query-fdsets", json!({})), json!([]));
        }
    });
}

#[test]
fn a_vm_that_stands_after_its_capture_is_not_captured_again_from_there() {
    with_each_qemu("a_vm_that_stands_after_its_capture", |program| {
        let qemu = RealQemu::start(program, &[]);
        let limit = Limit::default();
        let mut vm = qemu.connect("ours");
        vm.pause(&limit).unwrap();
        capture(&mut vm, &qemu.out("first"), true).unwrap();
        assert_eq!(vm.prepare(&limit).unwrap_err().kind(), Kind::InvalidState);
        vm.resume().unwrap();
        vm.prepare(&limit).unwrap();
    });
}

#[test]
fn what_qemu_cannot_save_is_refused_before_the_pause_in_its_own_words() {
    with_each_qemu("what_qemu_cannot_save", |program| {
        let memory = "memory-backend-ram,id=shared,size=1M,share=on";
        let device = "ivshmem-plain,memdev=shared,master=off";
        let qemu = RealQemu::start(program, &["-object", memory, "-device", device]);
        let mut vm = qemu.connect("ours");
        let error = vm.prepare(&Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::NotSupported);
        assert!(error.message().contains("ivshmem"), "{error}");
        assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Running);
    });
}

#[test]
fn a_vm_that_was_never_started_says_so() {
    with_each_qemu("a_vm_that_was_never_started", |program| {
        let qemu = RealQemu::start(program, &["-S"]);
        assert_eq!(qemu.connect("ours").run_state(&Limit::default()).unwrap(), RunState::NotStarted);
        let qemu = RealQemu::start(program, &["-incoming", "defer"]);
        assert_eq!(qemu.connect("ours").run_state(&Limit::default()).unwrap(), RunState::NotStarted);
    });
}

#[test]
fn a_migration_of_someone_else_is_left_alone_until_settling_cancels_it() {
    with_each_qemu("a_migration_of_someone_else", |program| {
        let qemu = RealQemu::start(program, &[]);
        let limit = Limit::default();
        let mut other = qemu.connect("other");
        let mut vm = qemu.connect("ours");
        ask(&mut other, "migrate-set-parameters", json!({ "max-bandwidth": 1 }));
        ask(&mut other, "migrate", json!({ "uri": "exec:cat > /dev/null" }));
        assert_eq!(vm.prepare(&limit).unwrap_err().kind(), Kind::Busy);
        vm.settle().unwrap();
        assert_eq!(ask(&mut other, "query-migrate", json!({}))["status"], "cancelled");
        vm.prepare(&limit).unwrap();
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);
    });
}

#[test]
fn a_cancelled_capture_returns_at_once_and_its_migration_is_ended_by_the_resume() {
    with_each_qemu("a_cancelled_capture", |program| {
        let qemu = RealQemu::start(program, &[]);
        let mut vm = qemu.connect("ours");
        let before = settings(&mut vm);
        vm.pause(&Limit::default()).unwrap();
        let cancel = Cancel::new();
        let call = Call::default().cancel(&cancel);
        let out = qemu.out("cancelled");
        let directory_fd = File::open(&out).unwrap();
        let target = CaptureTarget {
            directory: &out,
            directory_fd: &directory_fd,
            seen_as: &out,
            over_last: false,
            vendor_forms_only: true,
        };
        let outcome = vm.capture(&target, call.limit(), &mut |_, _| {
            cancel.cancel();
            call.check()
        });
        assert_eq!(outcome.unwrap_err().kind(), Kind::Cancelled);
        vm.resume().unwrap();
        assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Running);
        assert_eq!(settings(&mut vm), before);
        vm.pause(&Limit::default()).unwrap();
        capture(&mut vm, &qemu.out("next"), true).unwrap();
        vm.resume().unwrap();
    });
}

#[test]
fn settings_of_a_capture_whose_process_was_killed_are_undone_by_settling() {
    with_each_qemu("settings_of_a_capture_whose_process_was_killed", |program| {
        let qemu = RealQemu::start(program, &[]);
        let mut vm = qemu.connect("ours");
        let before = settings(&mut vm);
        let plan = vm.plan(&Limit::default()).unwrap();
        vm.borrow_settings(&plan, crate::hypervisor::qemu::settings::Form::MappedRam, &Limit::default())
            .unwrap();
        let file =
            crate::sys::disk::create_for_writing(&File::open(qemu.root.path()).unwrap(), "memory").unwrap();
        vm.lend(&file, &plan, &Limit::default()).unwrap();
        assert_ne!(settings(&mut vm), before);
        let mut other = qemu.connect("other");
        drop(vm);
        let mut vm = qemu.connect("ours");
        vm.settle().unwrap();
        assert_eq!(settings(&mut vm), before);
        assert_eq!(ask(&mut other, "query-fdsets", json!({})), json!([]));
    });
}
