//! VMMs that cannot be talked to, and calls that are ended: a typed error, and the VM runs.

use std::ops::ControlFlow;

use hypeman_core::{Call, Cancel, Error, InstanceState, Kind, Phase};
use hypeman_tests::qmp::Qmp;
use nix::sys::signal::Signal;

use crate::scene::{Scene, VM_ID, assert_nothing_left, standby};

impl Scene {
    fn refused(&self, call: Call<'_>) -> Error {
        self.hm.instances().snapshots().create(VM_ID, &standby(None), call).unwrap_err()
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

pub fn a_vm_whose_qemu_died_is_stopped() {
    let mut scene = Scene::new();
    scene.vm.kill();
    assert_eq!(scene.hm.instances().get(VM_ID).unwrap().state, InstanceState::Stopped);
    let refused = scene.refused(Call::default());
    assert_eq!(refused.kind(), Kind::InvalidState, "{refused}");
    assert_nothing_left(scene.hm.data_dir());
}
