//! Every step of a capture fails in every way: each time with a typed error, and the guest runs again.

use std::time::Duration;

use super::model::Fault;
use super::scripted::Scripted;
use super::*;
use crate::error::Kind;
use crate::hypervisor::RunState;

#[test]
fn a_capture_asks_for_no_more_than_it_needs() {
    let firecracker = Scripted::start("Running");
    let mut vm = firecracker.connect();
    assert_eq!(vm.version(), "1.17.0");
    let out = firecracker.out();
    let captured = walk(&mut vm, out.path(), &Limit::default()).unwrap();
    assert_eq!((captured.memory_file, captured.memory_format), (Some("memory"), "raw"));
    vm.resume().unwrap();
    assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Running);
    let model = firecracker.model();
    assert_eq!(
        model.requests(),
        [
            "GET /",
            "GET /",
            "GET /",
            "GET /vm/config",
            "PATCH /vm",
            "GET /",
            "PUT /snapshot/create",
            "PATCH /vm",
            "GET /",
            "GET /",
        ]
    );
    assert_eq!(
        model.body_of("PUT /snapshot/create"),
        serde_json::json!({
            "snapshot_type": "Full",
            "snapshot_path": out.path().join("state"),
            "mem_file_path": out.path().join("memory"),
        })
    );
}

#[test]
fn whatever_fails_in_a_capture_the_guest_runs_again() {
    // Those of the test above: the connection's own is the first, the resume's are the last.
    for step in 1..7 {
        for fault in Fault::ALL {
            let story = format!("{fault:?} at request {step}");
            let firecracker = Scripted::start("Running");
            let mut vm = firecracker.connect();
            let cancel = Cancel::new();
            firecracker.model().fault = Some((step, fault));
            firecracker.model().cancel = Some(cancel.clone());
            let outcome = walk(&mut vm, firecracker.out().path(), Call::default().cancel(&cancel).limit());
            let kind = if fault == Fault::Hang { Kind::Cancelled } else { Kind::Hypervisor };
            let error = outcome.expect_err(&story);
            assert_eq!(error.kind(), kind, "{story}: {error}");
            vm.settle().expect(&story);
            vm.resume().expect(&story);
            assert_eq!(firecracker.model().state, "Running", "{story}");
            walk(&mut vm, firecracker.out().path(), &Limit::default()).expect(&story);
            vm.resume().expect(&story);
        }
    }
}

#[test]
fn a_resume_that_fails_says_so_first_and_can_be_repeated() {
    for fault in Fault::ALL {
        for step in 0..2 {
            let firecracker = Scripted::start("Running");
            let mut vm = firecracker.connect();
            walk(&mut vm, firecracker.out().path(), &Limit::default()).unwrap();
            let next = firecracker.model().log.len();
            firecracker.model().fault = Some((next + step, fault));
            if fault == Fault::Hang {
                vm.client.patience = Duration::from_millis(50);
            }
            let error = vm.resume().unwrap_err();
            let kind = if fault == Fault::Hang { Kind::Timeout } else { Kind::Hypervisor };
            assert_eq!(error.kind(), kind, "{fault:?} {step}: {error}");
            assert!(error.message().starts_with("the VM at "), "{error}");
            assert!(error.message().contains("may still be paused"), "{error}");
            // The fault is over; a busy machine is none.
            vm.client.patience = Duration::from_secs(60);
            vm.resume().unwrap();
            assert_eq!(firecracker.model().state, "Running");
        }
    }
}

#[test]
fn a_pause_or_resume_that_is_accepted_but_not_done_is_not_believed() {
    for (state, act) in [
        ("Running", (|vm| vm.pause(&Limit::default())) as fn(&mut Firecracker) -> Result<()>),
        ("Paused", Firecracker::resume),
    ] {
        let firecracker = Scripted::start(state);
        let mut vm = firecracker.connect();
        firecracker.model().ignores = Some("PATCH /vm");
        let error = act(&mut vm).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidState);
        assert!(error.message().contains(state), "{error}");
    }
}

#[test]
fn a_paused_vm_can_be_paused_again_and_a_running_one_resumed() {
    let firecracker = Scripted::start("Paused");
    let mut vm = firecracker.connect();
    vm.pause(&Limit::default()).unwrap();
    vm.resume().unwrap();
    vm.resume().unwrap();
}

#[test]
fn settling_waits_for_a_silent_api_and_gives_up_after_its_patience() {
    let firecracker = Scripted::start("Paused");
    let mut vm = firecracker.connect();
    firecracker.model().fault = Some((1, Fault::Hang));
    vm.client.patience = Duration::from_millis(50);
    assert_eq!(vm.settle().unwrap_err().kind(), Kind::Timeout);
    // The fault is over; a busy machine is none.
    vm.client.patience = Duration::from_secs(60);
    vm.settle().unwrap();
}

#[test]
fn a_call_ends_by_its_timeout_and_patience_grows_with_memory() {
    let firecracker = Scripted::start("Running");
    let mut vm = firecracker.connect();
    firecracker.model().fault = Some((1, Fault::Hang));
    let call = Call::default().timeout(Duration::from_millis(50));
    assert_eq!(vm.run_state(call.limit()).unwrap_err().kind(), Kind::Timeout);
    firecracker.model().memory_mib = 64 << 10;
    firecracker.model().hotplug_mib = Some(64 << 10);
    let before = vm.client.patience;
    vm.prepare(&Limit::default()).unwrap();
    assert_eq!(vm.client.patience, before + Duration::from_secs(2 * 4096));
}

#[test]
fn why_firecracker_could_not_write_is_told_in_its_words() {
    for (reason, kind) in [
        (
            "Cannot perform flush on the memory backing file: No space left on device (os error 28)",
            Kind::NoSpace,
        ),
        ("Cannot dump memory: Disk quota exceeded (os error 122)", Kind::NoSpace),
        ("Cannot save the microVM state: the moon", Kind::Hypervisor),
    ] {
        let firecracker = Scripted::start("Running");
        firecracker.model().fails_with = Some(reason);
        let mut vm = firecracker.connect();
        let error = walk(&mut vm, firecracker.out().path(), &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(reason), "{error}");
        vm.resume().unwrap();
    }
}

#[test]
fn a_success_without_the_whole_memory_is_not_believed() {
    let firecracker = Scripted::start("Running");
    firecracker.model().lost_bytes = 1;
    let mut vm = firecracker.connect();
    let error = walk(&mut vm, firecracker.out().path(), &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Hypervisor);
    assert!(error.message().contains("2097151 of 2097152 bytes of memory"), "{error}");

    firecracker.model().ignores = Some("PUT /snapshot/create");
    let error = walk(&mut vm, firecracker.out().path(), &Limit::default()).unwrap_err();
    assert!(error.message().contains("cannot open what firecracker wrote"), "{error}");
}
