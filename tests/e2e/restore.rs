//! Restoring onto a QEMU: files into place, QEMU started by the host, the image loaded into it.

use std::fs;

use hypeman_core::{Call, CompressionConfig, InstanceState, Kind, RestoreSnapshot};
use hypeman_tests::guest::{self, PATTERN_PAGES};
use hypeman_tests::vm::{self, Vm};

use crate::scene::{Scene, VM_ID};

/// Ticks within which the guest has checked each page of its pattern once.
const FULL_CHECK: u32 = PATTERN_PAGES as u32;

pub fn a_snapshot_is_restored_in_two_steps() {
    for compression in
        [None, Some(CompressionConfig::with("zstd", None)), Some(CompressionConfig::with("lz4", Some(9)))]
    {
        let mut scene = Scene::new();
        let made = scene.capture(compression);
        let captured = u32::try_from(guest::examine(&scene.memory(&made.id)).unwrap().ticks).unwrap();
        scene.vm.tick_after(captured + 16);
        let to =
            |target_state| RestoreSnapshot { target_state: Some(target_state), ..RestoreSnapshot::default() };
        let restore = |state| {
            let restored =
                scene.hm.instances().snapshots().restore(&made.id, VM_ID, &to(state), Call::default());
            restored.map(|instance| instance.state)
        };
        assert_eq!(restore(InstanceState::Standby).unwrap_err().kind(), Kind::InvalidState, "it lives");
        scene.vm.kill();
        fs::write(scene.vm.directory().join("disk.raw"), "ruined").unwrap();

        assert_eq!(restore(InstanceState::Standby).unwrap(), InstanceState::Standby);
        assert_eq!(fs::metadata(scene.vm.directory().join("disk.raw")).unwrap().len(), 8 << 20);
        let mut second = Vm::wait(&vm::qemu().expect("asked for before"), scene.vm.directory());
        assert_eq!(scene.hm.instances().get(VM_ID).unwrap().state, InstanceState::Created);
        assert_eq!(restore(InstanceState::Running).unwrap(), InstanceState::Running);
        assert_eq!(second.status(), "running");
        let went_on = second.tick_after(0);
        assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
        assert_eq!(second.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
        assert!(!scene.vm.directory().join("snapshots/snapshot-latest").exists(), "the guest has moved on");
        second.kill();
        assert_eq!(scene.hm.instances().get(VM_ID).unwrap().state, InstanceState::Stopped);
    }
}

pub fn a_live_guest_is_not_restored_over() {
    let mut scene = Scene::new();
    let made = scene.capture(None);
    let disk = fs::read(scene.vm.directory().join("disk.raw")).unwrap();
    for (pause, state) in [(false, InstanceState::Running), (true, InstanceState::Paused)] {
        if pause {
            scene.vm.pause();
        }
        for target in [InstanceState::Standby, InstanceState::Stopped, InstanceState::Running] {
            let request = RestoreSnapshot { target_state: Some(target), ..RestoreSnapshot::default() };
            let snapshots = scene.hm.instances().snapshots();
            let refused = snapshots.restore(&made.id, VM_ID, &request, Call::default()).unwrap_err();
            assert_eq!(refused.kind(), Kind::InvalidState, "{state}, to {target}: {refused}");
        }
        assert_eq!(scene.hm.instances().get(VM_ID).unwrap().state, state);
    }
    assert!(fs::read(scene.vm.directory().join("disk.raw")).unwrap() == disk);
    scene.vm.resume();
    assert_eq!(scene.vm.tick_after(scene.vm.last_tick().ticks).wrong, 0);
}

pub fn an_image_is_not_loaded_over_other_disks() {
    let mut scene = Scene::new();
    let made = scene.capture(None);
    let captured = guest::examine(&scene.memory(&made.id)).unwrap().ticks;
    scene.vm.kill();
    let running =
        RestoreSnapshot { target_state: Some(InstanceState::Running), ..RestoreSnapshot::default() };
    let standby = RestoreSnapshot::default();
    let restore = |request: &RestoreSnapshot| {
        scene.hm.instances().snapshots().restore(&made.id, VM_ID, request, Call::default())
    };

    // QEMU was started before the files were there: it has the old disk open.
    let mut early = Vm::wait(&vm::qemu().expect("asked for before"), scene.vm.directory());
    let refused = restore(&running).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidState, "{refused}");
    assert!(refused.message().contains("restore with target_state Standby"), "{refused}");
    early.kill();

    // The disk was written to after the files were there.
    restore(&standby).unwrap();
    fs::write(scene.vm.directory().join("disk.raw"), vec![0xee; 8 << 20]).unwrap();
    let mut late = Vm::wait(&vm::qemu().expect("asked for before"), scene.vm.directory());
    assert_eq!(restore(&running).unwrap_err().kind(), Kind::InvalidState);
    assert_eq!(late.ticks(), [], "nothing ran");
    late.kill();

    restore(&standby).unwrap();
    let right = Vm::wait(&vm::qemu().expect("asked for before"), scene.vm.directory());
    restore(&running).unwrap();
    assert!(u64::from(right.tick_after(0).ticks) >= captured);
}
