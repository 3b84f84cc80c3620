//! The driver against a scripted shim that fails at every step.

mod shim;

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use self::shim::{Fault, Shim};
use super::*;
use crate::call::{Call, Cancel};
use crate::hypervisor::MemoryBackend;
use crate::{
    CompressionConfig, CompressionState, CreateSnapshot, Disk, Hypeman, InstanceState, RegisterInstance,
    RestoreSnapshot, SnapshotKind,
};

fn connect(shim: &Shim) -> Vz {
    Vz::connect(&shim.socket(), &Limit::default()).unwrap()
}

/// What a create asks of the driver, up to the resume.
fn walk(vm: &mut Vz, directory: &Path, limit: &Limit) -> Result<Captured> {
    let directory_fd = File::open(directory).unwrap();
    let target = CaptureTarget {
        directory,
        directory_fd: &directory_fd,
        seen_as: directory,
        over_last: false,
        vendor_forms_only: false,
    };
    vm.run_state(limit)?;
    vm.prepare(limit)?;
    vm.check_reach(&target)?;
    vm.pause(limit)?;
    vm.capture(&target, limit, &mut |done, total| {
        assert!(done <= total, "{done} of {total}");
        Ok(())
    })
}

#[test]
fn a_running_vm_is_saved_in_the_shims_two_files_and_runs_on() {
    let shim = Shim::start();
    let mut vm = connect(&shim);
    assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Running);
    let out = tempfile::tempdir().unwrap();
    let captured = walk(&mut vm, out.path(), &Limit::default()).unwrap();
    assert_eq!(captured, Captured { memory_file: None, memory_format: "vz-machine-state" });
    let mut names: Vec<_> =
        fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "machine-state.vzm"]);
    vm.resume().unwrap();
    assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Running);
    // It is not told to run when it does.
    let told = shim.model().log.iter().filter(|request| request.ends_with("vm.resume")).count();
    vm.resume().unwrap();
    assert_eq!(shim.model().log.iter().filter(|request| request.ends_with("vm.resume")).count(), told);
}

#[test]
fn whatever_fails_in_a_capture_the_error_is_typed_and_the_guest_runs_again() {
    let shim = Shim::start();
    let out = tempfile::tempdir().unwrap();
    walk(&mut connect(&shim), out.path(), &Limit::default()).unwrap();
    let log = shim.model().log.clone();
    assert!(log.len() > 6, "{log:?}");
    for (step, request) in log.iter().enumerate().skip(1) {
        for fault in Fault::ALL {
            let story = format!("{fault:?} at {request} ({step})");
            let shim = Shim::start();
            let mut vm = connect(&shim);
            let cancel = Cancel::new();
            shim.model().fault = Some((step, fault));
            shim.model().cancel = Some(cancel.clone());
            let out = tempfile::tempdir().unwrap();
            let outcome = walk(&mut vm, out.path(), Call::default().cancel(&cancel).limit());
            let kind = if fault == Fault::Hang { Kind::Cancelled } else { Kind::Hypervisor };
            assert_eq!(outcome.expect_err(&story).kind(), kind, "{story}");
            vm.settle().expect(&story);
            vm.resume().expect(&story);
            assert_eq!(shim.model().state, "Running", "{story}");
            assert!(out.path().is_dir(), "{story}");
            walk(&mut vm, tempfile::tempdir().unwrap().path(), &Limit::default()).expect(&story);
        }
    }
}

#[test]
fn a_resume_that_fails_says_so_first_and_can_be_repeated() {
    for fault in Fault::ALL {
        for (step, request) in ["vm.info", "vm.resume", "vm.info"].into_iter().enumerate() {
            let shim = Shim::start();
            shim.model().state = "Paused";
            let mut vm = connect(&shim);
            let usual = (vm.client.patience, vm.patience);
            match fault {
                Fault::Hang => vm.client.patience = Duration::from_millis(500),
                Fault::Refuse => vm.patience = Duration::from_millis(200),
                Fault::Cut | Fault::CutInside | Fault::Garbage | Fault::Endless => {}
            }
            let next = shim.model().log.len();
            shim.model().fault = Some((next + step, fault));
            let outcome = vm.resume();
            assert!(shim.model().log[next + step].ends_with(request));
            if request == "vm.resume" && fault != Fault::Refuse {
                // Only its answer was lost.
                outcome.unwrap();
                assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Running);
                continue;
            }
            let error = outcome.unwrap_err();
            let kind = if fault == Fault::Hang { Kind::Timeout } else { Kind::Hypervisor };
            assert_eq!(error.kind(), kind, "{fault:?} {step}: {error}");
            assert!(error.message().starts_with("the VM at "), "{error}");
            assert!(error.message().contains("send PUT /api/v1/vm.resume"), "{error}");
            (vm.client.patience, vm.patience) = usual;
            vm.resume().unwrap();
            assert_eq!(shim.model().state, "Running", "{fault:?} {step}");
        }
    }
}

#[test]
fn why_the_shim_could_not_save_is_told_in_its_words_and_the_directory_stays() {
    for (status, reason, kind) in [
        (400, "save/restore not supported: macOS 14 is needed", Kind::NotSupported),
        (500, "save machine state failed: invalid argument", Kind::Hypervisor),
        (500, "save machine state failed: No space left on device", Kind::NoSpace),
    ] {
        let shim = Shim::start();
        shim.model().refuses_saving = Some((status, reason));
        let mut vm = connect(&shim);
        let out = tempfile::tempdir().unwrap();
        let error = walk(&mut vm, out.path(), &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(reason), "{error}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
        vm.resume().unwrap();
    }
}

#[test]
fn a_success_without_both_files_is_not_believed() {
    for writes in [&[][..], &["config.json"], &["machine-state.vzm"]] {
        let shim = Shim::start();
        shim.model().writes = writes;
        let error =
            walk(&mut connect(&shim), tempfile::tempdir().unwrap().path(), &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Hypervisor);
        assert!(error.message().contains("reports success, but wrote no"), "{error}");
    }
}

#[test]
fn states_are_what_the_shim_says_and_those_of_other_versions_are_none_of_ours() {
    let shim = Shim::start();
    let mut vm = connect(&shim);
    for (state, expected) in [
        ("Running", RunState::Running),
        ("Paused", RunState::Paused { after_capture: false }),
        ("Shutdown", RunState::Shutdown),
        ("Saving", RunState::Other),
        ("Error", RunState::Other),
        ("Dreaming", RunState::Other),
    ] {
        shim.model().state = state;
        assert_eq!(vm.run_state(&Limit::default()).unwrap(), expected, "{state}");
    }
    shim.model().state = "Error";
    assert_eq!(vm.pause(&Limit::default()).unwrap_err().kind(), Kind::Hypervisor);
}

#[test]
fn a_vm_that_does_not_arrive_is_not_waited_for_for_ever() {
    let shim = Shim::start();
    let mut vm = connect(&shim);
    vm.patience = Duration::from_millis(50);
    vm.put("vm.pause", None, &Limit::default()).unwrap();
    shim.model().on_the_way = std::iter::repeat_n("Pausing", 1000).collect();
    let error = vm.arrive(State::Paused, &[State::Pausing], &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    let call = Call::default().timeout(Duration::from_millis(50));
    assert_eq!(vm.rest(call.limit()).unwrap_err().kind(), Kind::Timeout);
}

#[test]
fn a_load_is_refused_with_what_the_host_has_to_do() {
    let shim = Shim::start();
    let mut vm = connect(&shim);
    let directory = Path::new("/data/image");
    let directory_fd = File::open("/").unwrap();
    let source = LoadSource {
        directory,
        directory_fd: &directory_fd,
        seen_as: directory,
        memory_format: None,
        memory_bytes: None,
        memory: MemoryBackend::File,
        tracks_changes: false,
        moved: &[],
        network_overrides: &[],
    };
    let error = vm.load(&source, &Limit::default(), &mut |_, _| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::NotSupported);
    for part in ["/data/image/config.json", "restore_machine_state_path", "/data/image/machine-state.vzm"] {
        assert!(error.message().contains(part), "{error}");
    }
    // One that was started with an image has it.
    shim.model().state = "Paused";
    vm.load(&source, &Limit::default(), &mut |_, _| Ok(())).unwrap();
}

#[test]
fn what_is_no_shim_is_told_from_one_that_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let error = Vz::connect(&root.path().join("vz.sock"), &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    let shim = Shim::start();
    shim.model().fault = Some((0, Fault::Garbage));
    assert_eq!(Vz::connect(&shim.socket(), &Limit::default()).unwrap_err().kind(), Kind::Hypervisor);
}

#[test]
fn a_snapshot_of_vz_is_whole_and_never_compressed_whatever_was_asked() {
    let shim = Shim::start();
    let directory = shim.root.path().join("vm");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("disk.raw"), "the disk").unwrap();
    let hm = Hypeman::open(shim.root.path().join("data")).unwrap();
    let registered = RegisterInstance {
        api_socket: Some(shim.socket()),
        directory: Some(directory),
        ..RegisterInstance::new("mac", "vz")
    };
    let vm = hm.instances().register(&registered).unwrap();
    let mut request = CreateSnapshot::new(SnapshotKind::Standby);
    request.compression = Some(CompressionConfig::on());
    let made = hm.instances().snapshots().create(&vm.id, &request, Call::default()).unwrap();
    assert_eq!(made.compression_state, Some(CompressionState::None));
    assert_eq!((&made.compression, made.compressed_size_bytes), (&None, None));
    assert_eq!(hm.snapshots().wait(&made.id, Call::default()).unwrap(), made);
    assert_eq!(shim.model().state, "Running");

    let guest = shim.root.path().join("data/snapshots").join(&made.id).join("guest");
    assert_eq!(fs::read(guest.join("disk.raw")).unwrap(), b"the disk");
    for name in ["machine-state.vzm", "config.json"] {
        let saved = fs::read(guest.join("snapshots/snapshot-latest").join(name)).unwrap();
        assert_eq!(saved, format!("the {name}").as_bytes());
    }
    let facts = hm.snapshots().inspect(&made.id).unwrap();
    assert_eq!(facts.capture.unwrap().hypervisor_version, None);
}

#[test]
fn a_shim_that_was_started_with_the_image_is_let_run_by_a_restore() {
    let shim = Shim::start();
    let directory = shim.root.path().join("vm");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("disk.raw"), "the disk").unwrap();
    let hm = Hypeman::open(shim.root.path().join("data")).unwrap();
    let registered = RegisterInstance {
        id: Some("mac".to_owned()),
        api_socket: Some(shim.socket()),
        directory: Some(directory.clone()),
        disks: vec![Disk { path: directory.join("disk.raw"), readonly: false }],
        ..RegisterInstance::new("mac", "vz")
    };
    hm.instances().register(&registered).unwrap();
    let snapshots = hm.instances().snapshots();
    let made = snapshots.create("mac", &CreateSnapshot::new(SnapshotKind::Standby), Call::default()).unwrap();
    let restore = |target| {
        let request = RestoreSnapshot { target_state: Some(target), ..RestoreSnapshot::default() };
        snapshots.restore(&made.id, "mac", &request, Call::default())
    };

    // The shim has ended, the files are put into place, and it is started with them.
    let away = shim.root.path().join("away");
    fs::rename(shim.socket(), &away).unwrap();
    restore(InstanceState::Standby).unwrap();
    fs::rename(&away, shim.socket()).unwrap();
    shim.model().state = "Paused";
    let refused = restore(InstanceState::Running).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidState, "{refused}: this shim is older than the files");
    assert_eq!(shim.model().state, "Paused");

    let note = shim.root.path().join("data/snapshots/.libhypeman/placed/mac.json");
    let mut placed: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    placed["ticks"] = 0.into();
    fs::write(&note, placed.to_string()).unwrap();
    let disk = File::options().write(true).open(directory.join("disk.raw")).unwrap();
    let restored_at = disk.metadata().unwrap().modified().unwrap();
    disk.set_modified(SystemTime::now()).unwrap();
    let refused = restore(InstanceState::Running).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidState, "{refused}: the disk was written to since");
    assert_eq!(shim.model().state, "Paused");
    disk.set_modified(restored_at).unwrap();
    assert_eq!(restore(InstanceState::Running).unwrap().state, InstanceState::Running);
    assert_eq!(shim.model().state, "Running");
    assert!(!directory.join("snapshots/snapshot-latest").exists(), "it is no standby image any more");
    assert_eq!(restore(InstanceState::Running).unwrap_err().kind(), Kind::InvalidState, "it runs");
}
