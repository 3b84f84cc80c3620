//! VMMs that cannot be talked to, and calls that are ended: a typed error, and the VM runs.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use hypeman_core::{Call, Cancel, Disk, Error, InstanceState, Kind, Phase, RegisterInstance};
use hypeman_tests::qmp::Qmp;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::scene::{Scene, VM_ID, assert_nothing_left, directory, standby};

impl Scene {
    fn refused(&self, call: Call<'_>) -> Error {
        self.hm.instances().snapshots().create(VM_ID, &standby(None), call).unwrap_err()
    }

    /// Registers the VM anew, with `disks`.
    fn register(&self, disks: &[(&Path, bool)]) {
        self.hm.instances().unregister(VM_ID).unwrap();
        let disks = disks.iter().map(|&(path, readonly)| Disk { path: path.to_owned(), readonly });
        let vm = RegisterInstance {
            id: Some(VM_ID.into()),
            api_socket: Some(self.vm.api_socket()),
            directory: Some(self.vm.directory().into()),
            disks: disks.collect(),
            ..RegisterInstance::new("counting", "qemu")
        };
        self.hm.instances().register(&vm).unwrap();
    }
}

pub fn a_cancelled_capture_lets_the_vm_run() {
    let mut scene = Scene::new();
    for phase in [Phase::Preparing, Phase::SavingMemory, Phase::Syncing] {
        let watched = Call::default().progress(|progress| {
            if progress.phase == phase { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(scene.refused(watched).kind(), Kind::Cancelled, "in {}", phase.as_str());
        // A VMM goes on with what it was told: the VM is resumed when it is done with it.
        scene.vm.wait_until("the VM runs again", |vm| vm.status() == "running");
        scene.vm.tick_after(scene.vm.last_tick().ticks);
    }
    let token = Cancel::new();
    token.cancel();
    assert_eq!(scene.refused(Call::default().cancel(&token)).kind(), Kind::Cancelled);
    scene.capture(None);
    assert_eq!(scene.hm.snapshots().list(&Default::default()).unwrap().len(), 1);
    assert_nothing_left(scene.hm.data_dir());
}

pub fn a_monitor_with_another_client_is_busy() {
    let mut scene = Scene::new();
    let other = Qmp::connect(&scene.vm.api_socket()).unwrap();
    let refused = scene.refused(Call::default());
    assert_eq!(refused.kind(), Kind::Busy, "{refused}");
    assert!(refused.message().contains("-qmp"), "it says what to do: {refused}");
    scene.assert_as_before();
    drop(other);
    scene.capture(None);
}

pub fn a_frozen_qemu_gives_a_typed_error() {
    let mut scene = Scene::new();
    scene.vm.signal(Signal::SIGSTOP);
    let refused = scene.refused(Call::default());
    scene.vm.signal(Signal::SIGCONT);
    assert!([Kind::Busy, Kind::Timeout].contains(&refused.kind()), "{refused}");
    scene.assert_as_before();
}

pub fn a_qemu_that_freezes_in_the_pause_keeps_no_one_waiting() {
    let mut scene = Scene::new();
    // The memory may be saved before anyone is told of it: at the first try, but on a very busy machine.
    let frozen_in_the_pause = (0..5).any(|_| {
        let mut frozen = false;
        let call = Call::default().timeout(Duration::from_secs(5)).progress(|progress| {
            if progress.phase == Phase::SavingMemory && !frozen && progress.bytes_done < progress.bytes_total
            {
                scene.vm.signal(Signal::SIGSTOP);
                frozen = true;
            }
            ControlFlow::Continue(())
        });
        let outcome = scene.hm.instances().snapshots().create(VM_ID, &standby(None), call);
        scene.vm.signal(Signal::SIGCONT);
        // It was frozen until now, and yet there is an answer.
        assert!(!frozen || outcome.as_ref().is_err_and(|e| e.kind() == Kind::Timeout), "{outcome:?}");
        frozen
    });
    assert!(frozen_in_the_pause, "QEMU could not be frozen while it saved the memory");
    scene.vm.wait_until("the VM runs again", |vm| vm.status() == "running");
    scene.vm.tick_after(scene.vm.last_tick().ticks);
    scene.capture(None);
    assert_nothing_left(scene.hm.data_dir());
}

pub fn a_vm_whose_qemu_died_is_stopped() {
    let mut scene = Scene::new();
    scene.vm.kill();
    assert_eq!(scene.hm.instances().get(VM_ID).unwrap().state, InstanceState::Stopped);
    let refused = scene.refused(Call::default());
    assert_eq!(refused.kind(), Kind::InvalidState, "{refused}");
    assert_nothing_left(scene.hm.data_dir());
}

pub fn a_disk_that_a_snapshot_would_miss_is_refused_before_the_pause() {
    let mut scene = Scene::new();
    let elsewhere = directory();
    let (own, second) = (scene.vm.directory().join("disk.raw"), elsewhere.path().join("second.raw"));
    fs::write(&second, [0x2d; 8192]).unwrap();
    let medium = json!({"driver": "file", "node-name": "second", "filename": second});
    scene.vm.control().run("blockdev-add", medium);
    scene.vm.control().run("device_add", json!({"driver": "virtio-blk-pci", "drive": "second"}));
    scene.vm.control().take_events();

    let own_only: &[_] = &[(&*own, false)];
    let neither: &[_] = &[(&*own, true), (&*second, true)];
    let wrong_one: &[_] = &[(&*second, false)];
    for (disks, missed, why) in [
        (&[][..], &second, "neither in its directory nor among its disks"),
        (own_only, &second, "neither in its directory nor among its disks"),
        (neither, &own, "registered as read-only"),
        (wrong_one, &own, "beside other disks not at all"),
    ] {
        scene.register(disks);
        let refused = scene.refused(Call::default());
        assert_eq!(refused.kind(), Kind::InvalidState, "{refused}");
        assert!(refused.message().contains(why), "{refused}");
        assert_eq!((refused.path(), refused.id()), (Some(&**missed), Some(VM_ID)), "{refused}");
        scene.assert_as_before();
    }
    assert!(!scene.vm.control().take_events().contains(&"STOP".to_owned()), "it was never paused");

    scene.register(&[(&own, false), (&second, false)]);
    let made = scene.capture(None);
    let held = fs::read(scene.payload(&made.id).join("disks/0-second.raw")).unwrap();
    assert_eq!(held, [0x2d; 8192]);
}
