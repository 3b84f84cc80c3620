//! A real Firecracker, captured while it runs: what the snapshot holds, and what the VM notices.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypeman_core::{
    Call, Cancel, CompressionConfig, Error, Hypeman, InstanceState, Kind, Phase, RegisterInstance,
    RestoreSnapshot, Snapshot,
};
use hypeman_tests::firecracker::{self, Vm};
use hypeman_tests::guest::{self, PATTERN_PAGES};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::crash::host;
use crate::scene::{
    SmallDisk, VM_ID, assert_nothing_left, directory, pretend_to_initialize, raw_memory, standby,
};

/// Ticks within which the guest has checked each page of its pattern once.
pub const FULL_CHECK: u32 = PATTERN_PAGES as u32;

/// A running VM and an open data directory that knows it.
pub struct Scene {
    pub vm: Vm,
    pub hm: Hypeman,
    pub root: TempDir,
}

impl Scene {
    pub fn new(memory_mib: u32) -> Self {
        Self::with_data(memory_mib, |root| root.join("data"))
    }

    fn with_data(memory_mib: u32, data: impl FnOnce(&Path) -> PathBuf) -> Self {
        let root = directory();
        // Alone in its directory, so that its forks' firecrackers can have another one there.
        let vm = Vm::boot(&program(), &root.path().join("vms/first"), memory_mib);
        let hm = Hypeman::open(data(root.path())).unwrap();
        hm.instances().register(&registered(&vm)).unwrap();
        Self { vm, hm, root }
    }

    fn state(&self) -> InstanceState {
        self.hm.instances().get(VM_ID).unwrap().state
    }

    /// Captures a Standby snapshot and waits until its compression has ended.
    pub fn capture(&self, compression: Option<CompressionConfig>) -> Snapshot {
        let made =
            self.hm.instances().snapshots().create(VM_ID, &standby(compression), Call::default()).unwrap();
        self.hm.snapshots().wait(&made.id, Call::default()).unwrap()
    }

    fn refused(&self, call: Call<'_>) -> Error {
        self.hm.instances().snapshots().create(VM_ID, &standby(None), call).unwrap_err()
    }

    /// The payload of a snapshot.
    pub fn payload(&self, id: &str) -> PathBuf {
        self.hm.data_dir().join("snapshots").join(id).join("guest")
    }

    /// Requires that a call that failed left nothing, and that the guest runs.
    fn assert_as_before(&self) {
        self.vm.wait_until("the VM runs", |vm| vm.state() == "Running");
        self.vm.tick_after(self.vm.last_tick().ticks);
        assert_eq!(self.hm.snapshots().list(&Default::default()).unwrap(), []);
        assert_nothing_left(self.hm.data_dir());
    }
}

/// The Firecracker of these stories.
pub fn program() -> PathBuf {
    firecracker::program().expect("asked for before")
}

/// What is told of `vm`.
pub fn registered(vm: &Vm) -> RegisterInstance {
    RegisterInstance {
        id: Some(VM_ID.into()),
        api_socket: Some(vm.api_socket()),
        directory: Some(vm.directory().into()),
        ..RegisterInstance::new("counting", "firecracker")
    }
}

pub fn a_firecracker_snapshot_counts_on_in_a_second_one() {
    for compression in [None, Some(CompressionConfig::with("zstd", Some(1)))] {
        let scene = Scene::new(64);
        assert_eq!(scene.state(), InstanceState::Running);
        let before = scene.vm.last_tick();

        let made = scene.capture(compression);

        assert_eq!(scene.vm.state(), "Running");
        let after = scene.vm.tick_after(scene.vm.last_tick().ticks);
        assert_eq!(after.wrong, 0);
        assert_eq!(made.source_hypervisor.as_str(), "firecracker");
        let capture = scene.hm.snapshots().inspect(&made.id).unwrap().capture.unwrap();
        assert_eq!(capture.memory_format.as_deref(), Some("raw"));
        assert!(capture.hypervisor_version.is_some_and(|version| version.contains('.')));
        assert!(capture.paused_ms.is_some_and(|ms| ms > 0.0));

        let payload = scene.payload(&made.id);
        let memory = raw_memory(&payload);
        assert_eq!(memory.len(), 64 << 20);
        let captured = guest::examine(&memory).unwrap();
        assert!((u64::from(before.ticks)..=u64::from(after.ticks)).contains(&captured.ticks), "{captured:?}");
        assert_eq!(captured.wrong, 0);
        let disk = |place: &Path| fs::read(place.join("disk.raw")).unwrap();
        assert!(disk(&payload) == disk(scene.vm.directory()), "the disk was captured as it was");

        let image = scene.root.path().join("image");
        fs::create_dir(&image).unwrap();
        fs::copy(payload.join("snapshots/snapshot-latest/state"), image.join("state")).unwrap();
        fs::write(image.join("memory"), memory).unwrap();
        let program = firecracker::program().expect("asked for before");
        let second = Vm::start(&program, &scene.root.path().join("second"));
        second.load(&image);
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

pub fn a_firecracker_snapshot_is_restored_by_one_call() {
    let mut scene = Scene::new(64);
    let made = scene.capture(Some(CompressionConfig::with("zstd", None)));
    let captured =
        u32::try_from(guest::examine(&raw_memory(&scene.payload(&made.id))).unwrap().ticks).unwrap();
    scene.vm.tick_after(captured + 16);
    scene.vm.kill();
    fs::write(scene.vm.directory().join("disk.raw"), "ruined").unwrap();

    let program = firecracker::program().expect("asked for before");
    let waiting = Vm::start(&program, &scene.root.path().join("second"));
    let request = RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() };
    let snapshots = scene.hm.instances().snapshots();
    let restored = snapshots.restore(&made.id, VM_ID, &request, Call::default()).unwrap();
    assert_eq!(restored.state, InstanceState::Running);
    let went_on = waiting.tick_after(0);
    assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
    assert_eq!(waiting.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
    assert_eq!(fs::metadata(scene.vm.directory().join("disk.raw")).unwrap().len(), 8 << 20);

    // It has a VM now.
    let again = snapshots.restore(&made.id, VM_ID, &request, Call::default()).unwrap_err();
    assert_eq!(again.kind(), Kind::InvalidState);
    waiting.tick_after(waiting.last_tick().ticks);
}

pub fn a_live_firecracker_is_not_restored_over() {
    let scene = Scene::new(64);
    let made = scene.capture(None);
    let disk = || fs::read(scene.vm.directory().join("disk.raw")).unwrap();
    let before = disk();
    let elsewhere = Vm::start(&program(), &scene.root.path().join("second"));
    for state in [InstanceState::Running, InstanceState::Paused, InstanceState::Initializing] {
        match state {
            InstanceState::Paused => scene.vm.pause(),
            InstanceState::Initializing => {
                scene.vm.resume();
                pretend_to_initialize(&scene.hm, "firecracker", &scene.vm.api_socket());
            }
            _ => {}
        }
        assert_eq!(scene.state(), state);
        for target in [InstanceState::Standby, InstanceState::Stopped, InstanceState::Running] {
            // Nor into another Firecracker: the disks are this one's.
            for api_socket in [None, Some(elsewhere.api_socket())] {
                let request =
                    RestoreSnapshot { target_state: Some(target), api_socket, ..RestoreSnapshot::default() };
                let snapshots = scene.hm.instances().snapshots();
                let refused = snapshots.restore(&made.id, VM_ID, &request, Call::default()).unwrap_err();
                assert_eq!(refused.kind(), Kind::InvalidState, "{state}, to {target}: {refused}");
            }
        }
    }
    assert_eq!(elsewhere.state(), "Not started");
    assert!(disk() == before);
    assert_eq!(scene.vm.tick_after(scene.vm.last_tick().ticks).wrong, 0, "it noticed nothing");
}

pub fn a_paused_firecracker_stays_paused_and_is_captured_again() {
    let scene = Scene::new(64);
    scene.vm.pause();
    assert_eq!(scene.state(), InstanceState::Paused);
    let (one, two) = (scene.capture(None), scene.capture(None));
    assert_eq!(scene.vm.state(), "Paused");
    let memory = |id: &str| raw_memory(&scene.payload(id));
    let ticks = |id: &str| guest::examine(&memory(id)).unwrap().ticks;
    assert_eq!(ticks(&one.id), ticks(&two.id), "it stands");
    let stood_at = scene.vm.last_tick();
    scene.vm.resume();
    scene.vm.tick_after(stood_at.ticks);
}

pub fn a_cancelled_firecracker_capture_lets_the_vm_run() {
    let scene = Scene::new(512);
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
    let token = Cancel::new();
    token.cancel();
    assert_eq!(scene.refused(Call::default().cancel(&token)).kind(), Kind::Cancelled);
    scene.capture(None);
    assert_eq!(scene.hm.snapshots().list(&Default::default()).unwrap().len(), 1);
    assert_nothing_left(scene.hm.data_dir());
}

pub fn a_firecracker_that_is_frozen_or_dead_gives_a_typed_error() {
    let mut scene = Scene::new(64);
    scene.vm.signal(Signal::SIGSTOP);
    let refused = scene.refused(Call::default().timeout(Duration::from_millis(300)));
    scene.vm.signal(Signal::SIGCONT);
    assert_eq!(refused.kind(), Kind::Timeout, "{refused}");
    scene.assert_as_before();

    scene.vm.kill();
    assert_eq!(scene.state(), InstanceState::Stopped, "nothing listens at the socket that is left");
    assert_eq!(scene.refused(Call::default()).kind(), Kind::InvalidState);
    assert_nothing_left(scene.hm.data_dir());
}

pub fn a_host_killed_while_firecracker_writes_is_made_good() {
    let mut scene = Scene::new(512);
    let data = scene.hm.data_dir().to_owned();
    scene.hm.close();
    let mut killed = host(&data, 1);
    scene.vm.wait_until("firecracker writes", |_| has_memory(&data.join("snapshots/.libhypeman/staging")));
    killed.kill().unwrap();
    killed.wait().unwrap();
    scene.vm.wait_until("firecracker has written all", |vm| vm.state() == "Paused");
    let stood_at = scene.vm.last_tick();

    scene.hm = Hypeman::open(&data).unwrap();
    scene.vm.tick_after(stood_at.ticks);
    scene.assert_as_before();
    scene.capture(None);
}

/// Whether a stage in `staging` has a memory file, finished or not.
fn has_memory(staging: &Path) -> bool {
    let stages = fs::read_dir(staging).into_iter().flatten().filter_map(Result::ok);
    stages.into_iter().any(|stage| stage.path().join("guest/snapshots/snapshot-latest/memory").exists())
}

pub fn a_disk_too_small_for_the_memory_is_refused_before_firecracker_pauses() {
    let mut small = None;
    let scene = Scene::with_data(64, |root| {
        let disk = SmallDisk::mount(root.join("small"), 32).unwrap();
        let data = disk.path().join("data");
        small = Some(disk);
        data
    });
    let refused = scene.refused(Call::default());
    assert_eq!(refused.kind(), Kind::NoSpace, "{refused}");
    scene.assert_as_before();
    small.as_ref().expect("it was mounted").resize(200);
    scene.capture(None);
    scene.hm.close();
}

/// Captures a guest of `memory_mib`, ends it, and tells how far it had counted.
pub fn captured_and_gone(scene: &mut Scene, compression: Option<CompressionConfig>) -> (Snapshot, u32) {
    let made = scene.capture(compression);
    let captured = guest::examine(&raw_memory(&scene.payload(&made.id))).unwrap().ticks;
    scene.vm.kill();
    (made, u32::try_from(captured).unwrap())
}
