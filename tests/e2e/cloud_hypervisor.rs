//! A real cloud-hypervisor, captured while it runs: what the snapshot holds, and what the VM notices.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, Error, Hypeman, InstanceState, Kind, Phase, RegisterInstance, RestoreSnapshot,
    Snapshot,
};
use hypeman_tests::cloud_hypervisor::{self, Vm};
use hypeman_tests::guest::{self, PATTERN_PAGES};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::scene::{VM_ID, assert_nothing_left, directory, pretend_to_initialize, raw_memory, standby};

/// Ticks within which the guest has checked each page of its pattern once.
const FULL_CHECK: u32 = PATTERN_PAGES as u32;

const IMAGE: &str = "snapshots/snapshot-latest";

/// A running VM and an open data directory that knows it.
struct Scene {
    vm: Vm,
    hm: Hypeman,
    root: TempDir,
}

impl Scene {
    fn new(memory_mib: u64, is_shared: bool) -> Self {
        let root = directory();
        let program = cloud_hypervisor::program().expect("asked for before");
        let vm = Vm::boot(&program, &root.path().join("first"), memory_mib, is_shared);
        let hm = Hypeman::open(root.path().join("data")).unwrap();
        hm.instances()
            .register(&RegisterInstance {
                id: Some(VM_ID.into()),
                api_socket: Some(vm.api_socket()),
                directory: Some(vm.directory().into()),
                ..RegisterInstance::new("counting", "cloud-hypervisor")
            })
            .unwrap();
        Self { vm, hm, root }
    }

    fn state(&self) -> InstanceState {
        self.hm.instances().get(VM_ID).unwrap().state
    }

    fn capture(&self, compression: Option<CompressionConfig>) -> Snapshot {
        let made =
            self.hm.instances().snapshots().create(VM_ID, &standby(compression), Call::default()).unwrap();
        self.hm.snapshots().wait(&made.id, Call::default()).unwrap()
    }

    fn refused(&self, call: Call<'_>) -> Error {
        self.hm.instances().snapshots().create(VM_ID, &standby(None), call).unwrap_err()
    }

    fn payload(&self, id: &str) -> PathBuf {
        self.hm.data_dir().join("snapshots").join(id).join("guest")
    }

    /// Starts a second cloud-hypervisor with the captured disk, and loads the captured image into it.
    fn load(&self, payload: &Path, memory: &[u8]) -> Vm {
        let program = cloud_hypervisor::program().expect("asked for before");
        let second = Vm::start(&program, &self.root.path().join("second"));
        fs::copy(payload.join("disk.raw"), second.directory().join("disk.raw")).unwrap();
        let image = self.root.path().join("image");
        fs::create_dir(&image).unwrap();
        fs::copy(payload.join(IMAGE).join("state.json"), image.join("state.json")).unwrap();
        fs::write(image.join("memory-ranges"), memory).unwrap();
        let config = fs::read_to_string(payload.join(IMAGE).join("config.json")).unwrap();
        let [from, to] =
            [&self.vm, &second].map(|vm| vm.directory().to_str().expect("a test's path is text"));
        fs::write(image.join("config.json"), config.replace(from, to)).unwrap();
        second.load(&image);
        second
    }
}

pub fn a_cloud_hypervisor_snapshot_counts_on_in_a_second_one() {
    let zstd = Some(CompressionConfig::with("zstd", Some(1)));
    for (is_shared, compression) in [(false, None), (false, zstd), (true, None)] {
        let scene = Scene::new(64, is_shared);
        assert_eq!(scene.state(), InstanceState::Running);
        let before = scene.vm.last_tick();

        let made = scene.capture(compression);

        assert_eq!(scene.vm.state(), "Running");
        let after = scene.vm.tick_after(scene.vm.last_tick().ticks);
        assert_eq!(after.wrong, 0);
        assert_eq!(made.source_hypervisor.as_str(), "cloud-hypervisor");
        let capture = scene.hm.snapshots().inspect(&made.id).unwrap().capture.unwrap();
        assert_eq!(capture.memory_format.as_deref(), Some("cloud-hypervisor-ranges"));
        assert!(capture.hypervisor_version.is_some_and(|version| version.starts_with('v')));
        assert!(capture.paused_ms.is_some_and(|ms| ms > 0.0));

        let payload = scene.payload(&made.id);
        let memory = raw_memory(&payload);
        assert_eq!(memory.len(), 64 << 20);
        let captured = guest::examine(&memory).unwrap();
        assert!((u64::from(before.ticks)..=u64::from(after.ticks)).contains(&captured.ticks), "{captured:?}");
        assert_eq!(captured.wrong, 0);
        let disk = |place: &Path| fs::read(place.join("disk.raw")).unwrap();
        assert!(disk(&payload) == disk(scene.vm.directory()), "the disk was captured as it was");

        let second = scene.load(&payload, &memory);
        assert_eq!(second.ticks(), [], "it does not run before it is told to");
        second.resume();
        let went_on = second.tick_after(0);
        let captured = u32::try_from(captured.ticks).unwrap();
        assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
        assert_eq!(second.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
        let ticks = scene.vm.ticks();
        assert!(ticks.is_sorted_by(|a, b| a.ticks < b.ticks), "the first guest never went back");
        assert!(scene.vm.last_tick().ticks > captured && scene.vm.last_tick().wrong == 0);
        assert_nothing_left(scene.hm.data_dir());
    }
}

pub fn a_cloud_hypervisor_snapshot_is_restored_by_one_call() {
    for on_demand in [false, true] {
        let mut scene = Scene::new(64, false);
        let made = scene.capture(Some(CompressionConfig::with("lz4", None)));
        let memory = raw_memory(&scene.payload(&made.id));
        let captured = u32::try_from(guest::examine(&memory).unwrap().ticks).unwrap();
        scene.vm.tick_after(captured + 16);
        scene.vm.kill();
        fs::write(scene.vm.directory().join("disk.raw"), "ruined").unwrap();

        let program = cloud_hypervisor::program().expect("asked for before");
        let waiting = Vm::start(&program, &scene.root.path().join("second"));
        let api_socket = Some(waiting.api_socket());
        let request = RestoreSnapshot { api_socket, on_demand, ..RestoreSnapshot::default() };
        let restored = scene.hm.instances().snapshots().restore(&made.id, VM_ID, &request, Call::default());
        assert_eq!(restored.unwrap().state, InstanceState::Running);
        // Its serial log is where the captured configuration has it: in the directory of the first one.
        let went_on = scene.vm.tick_after(captured);
        assert!(went_on.ticks <= captured + 16, "captured at {captured}: {went_on:?}");
        assert_eq!(scene.vm.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
        assert_eq!(waiting.state(), "Running");
    }
}

pub fn a_live_cloud_hypervisor_is_not_restored_over() {
    let scene = Scene::new(64, false);
    let made = scene.capture(None);
    let disk = || fs::read(scene.vm.directory().join("disk.raw")).unwrap();
    let before = disk();
    let program = cloud_hypervisor::program().expect("asked for before");
    let elsewhere = Vm::start(&program, &scene.root.path().join("second"));
    for state in [InstanceState::Running, InstanceState::Paused, InstanceState::Initializing] {
        match state {
            InstanceState::Paused => scene.vm.pause(),
            InstanceState::Initializing => {
                scene.vm.resume();
                pretend_to_initialize(&scene.hm, "cloud-hypervisor", &scene.vm.api_socket());
            }
            _ => {}
        }
        assert_eq!(scene.state(), state);
        for target in [InstanceState::Standby, InstanceState::Stopped, InstanceState::Running] {
            // Nor into another one: the disks are this one's.
            for api_socket in [None, Some(elsewhere.api_socket())] {
                let request =
                    RestoreSnapshot { target_state: Some(target), api_socket, ..RestoreSnapshot::default() };
                let snapshots = scene.hm.instances().snapshots();
                let refused = snapshots.restore(&made.id, VM_ID, &request, Call::default()).unwrap_err();
                assert_eq!(refused.kind(), Kind::InvalidState, "{state}, to {target}: {refused}");
            }
        }
    }
    assert!(disk() == before);
    assert_eq!(scene.vm.tick_after(scene.vm.last_tick().ticks).wrong, 0, "it noticed nothing");
}

pub fn a_paused_cloud_hypervisor_stays_paused_and_is_captured_again() {
    let scene = Scene::new(64, false);
    scene.vm.pause();
    assert_eq!(scene.state(), InstanceState::Paused);
    let (one, two) = (scene.capture(None), scene.capture(None));
    assert_eq!(scene.vm.state(), "Paused");
    let ticks = |id: &str| guest::examine(&raw_memory(&scene.payload(id))).unwrap().ticks;
    assert_eq!(ticks(&one.id), ticks(&two.id), "it stands");
    let stood_at = scene.vm.last_tick();
    scene.vm.resume();
    scene.vm.tick_after(stood_at.ticks);
}

pub fn a_cancelled_cloud_hypervisor_capture_lets_the_vm_run() {
    let scene = Scene::new(512, false);
    for phase in [Phase::Preparing, Phase::SavingMemory, Phase::Syncing] {
        let watched = Call::default().progress(|progress| {
            // In the midst of the writing, where there is one.
            let is_there =
                progress.phase == phase && (progress.bytes_done > 0 || phase != Phase::SavingMemory);
            if is_there { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(scene.refused(watched).kind(), Kind::Cancelled, "in {}", phase.as_str());
        scene.vm.wait_until("the VM runs again", |vm| vm.state() == "Running");
        scene.vm.tick_after(scene.vm.last_tick().ticks);
    }
    scene.capture(None);
    assert_eq!(scene.hm.snapshots().list(&Default::default()).unwrap().len(), 1);
    assert_nothing_left(scene.hm.data_dir());
}

pub fn a_cloud_hypervisor_that_is_frozen_or_dead_gives_a_typed_error() {
    let mut scene = Scene::new(64, false);
    scene.vm.signal(Signal::SIGSTOP);
    let refused = scene.refused(Call::default().timeout(Duration::from_millis(300)));
    scene.vm.signal(Signal::SIGCONT);
    assert_eq!(refused.kind(), Kind::Timeout, "{refused}");
    scene.vm.tick_after(scene.vm.last_tick().ticks);
    assert_eq!(scene.vm.state(), "Running");

    scene.vm.kill();
    assert_eq!(scene.state(), InstanceState::Stopped, "nothing listens at the socket that is left");
    assert_eq!(scene.refused(Call::default()).kind(), Kind::InvalidState);
    assert_eq!(scene.hm.snapshots().list(&Default::default()).unwrap(), []);
    assert_nothing_left(scene.hm.data_dir());
}
