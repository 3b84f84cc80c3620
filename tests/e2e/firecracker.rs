//! A real Firecracker, captured while it runs: what the snapshot holds, and what the VM notices.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
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
use crate::scene::{SmallDisk, VM_ID, assert_nothing_left, directory, raw_memory, standby};

/// Ticks within which the guest has checked each page of its pattern once.
const FULL_CHECK: u32 = PATTERN_PAGES as u32;

/// A running VM and an open data directory that knows it.
struct Scene {
    vm: Vm,
    hm: Hypeman,
    root: TempDir,
}

impl Scene {
    fn new(memory_mib: u32) -> Self {
        Self::with_data(memory_mib, |root| root.join("data"))
    }

    fn with_data(memory_mib: u32, data: impl FnOnce(&Path) -> PathBuf) -> Self {
        let root = directory();
        let vm = Vm::boot(&program(), &root.path().join("first"), memory_mib);
        let hm = Hypeman::open(data(root.path())).unwrap();
        hm.instances().register(&registered(&vm)).unwrap();
        Self { vm, hm, root }
    }

    /// One whose Firecracker keeps a log of dirty pages that no one else empties.
    fn tracking(memory_mib: u32) -> Self {
        let root = directory();
        let vm = Vm::start(&program(), &root.path().join("first")).boot_guest(memory_mib, true);
        let hm = Hypeman::open(root.path().join("data")).unwrap();
        hm.instances().register(&RegisterInstance { exclusive_snapshots: true, ..registered(&vm) }).unwrap();
        Self { vm, hm, root }
    }

    fn image_of(&self, id: &str) -> PathBuf {
        self.payload(id).join("snapshots/snapshot-latest")
    }

    /// Captures the paused VM, and requires that its memory is what a Full holds that is written by hand.
    fn capture_as_a_full(&self, name: &str) -> Snapshot {
        let made = self.capture(None);
        let by_hand = self.root.path().join(name);
        fs::create_dir(&by_hand).unwrap();
        let full = self.vm.save_by_hand(&by_hand);
        let ours = fs::read(self.image_of(&made.id).join("memory")).unwrap();
        let differ = ours.chunks(4096).zip(full.chunks(4096)).enumerate().filter(|(_, (a, b))| a != b);
        assert_eq!(differ.map(|(page, _)| page).collect::<Vec<_>>(), Vec::<usize>::new(), "pages of {name}");
        made
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

    /// Requires that a call that failed left nothing, and that the guest runs.
    fn assert_as_before(&self) {
        self.vm.wait_until("the VM runs", |vm| vm.state() == "Running");
        self.vm.tick_after(self.vm.last_tick().ticks);
        assert_eq!(self.hm.snapshots().list(&Default::default()).unwrap(), []);
        assert_nothing_left(self.hm.data_dir());
    }
}

fn program() -> PathBuf {
    firecracker::program().expect("asked for before")
}

fn registered(vm: &Vm) -> RegisterInstance {
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

pub fn a_firecracker_diff_is_what_a_full_snapshot_would_be() {
    let mut scene = Scene::tracking(64);
    let mut made = Vec::new();
    for name in ["full", "diff", "another diff"] {
        scene.vm.tick_after(scene.vm.last_tick().ticks + 8);
        scene.vm.pause();
        made.push(scene.capture_as_a_full(name));
        scene.vm.resume();
    }
    // What a page of the last image holds that the guest never touches shows that the next is written over a copy of it.
    let unused = 60 << 20;
    let mark = |id: &str, bytes: &[u8]| {
        let file = fs::File::options().write(true).open(scene.image_of(id).join("memory")).unwrap();
        file.write_all_at(bytes, unused).unwrap();
    };
    mark(&made[2].id, b"a mark");
    scene.vm.tick_after(scene.vm.last_tick().ticks + 8);
    let marked = fs::read(scene.image_of(&scene.capture(None).id).join("memory")).unwrap();
    assert!(marked[unused as usize..].starts_with(b"a mark"), "it was a Diff");
    mark(&made[2].id, &[0; 6]);

    let mut before = 0;
    for (number, snapshot) in made.iter().enumerate() {
        let ticks = guest::examine(&raw_memory(&scene.payload(&snapshot.id))).unwrap().ticks;
        let captured = u32::try_from(ticks).unwrap();
        assert!(captured > before, "each has its own moment");
        before = captured;
        let second = Vm::start(&program(), &scene.root.path().join(format!("second{number}")));
        second.load(&scene.image_of(&snapshot.id));
        second.resume();
        let went_on = second.tick_after(0);
        assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
        assert_eq!(second.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
    }

    // A VM that was loaded has what it was loaded from as its last image.
    scene.vm.kill();
    let waiting = Vm::start(&program(), &scene.root.path().join("waiting"));
    let request = RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() };
    scene.hm.instances().snapshots().restore(&made[2].id, VM_ID, &request, Call::default()).unwrap();
    scene.hm.instances().unregister(VM_ID).unwrap();
    let known = RegisterInstance { api_socket: Some(waiting.api_socket()), ..registered(&scene.vm) };
    scene.hm.instances().register(&RegisterInstance { exclusive_snapshots: true, ..known }).unwrap();
    scene.vm = waiting;
    scene.vm.tick_after(before + 8);
    scene.vm.pause();
    scene.capture_as_a_full("diff of a loaded VM");
    scene.vm.resume();
    let file = fs::File::options()
        .write(true)
        .open(scene.image_of(&scene.hm.snapshots().list(&Default::default()).unwrap()[0].id).join("memory"));
    file.unwrap().write_all_at(b"a mark", unused).unwrap();
    let marked = fs::read(scene.image_of(&scene.capture(None).id).join("memory")).unwrap();
    assert!(marked[unused as usize..].starts_with(b"a mark"), "it was a Diff");
    assert_nothing_left(scene.hm.data_dir());
}

/// The user that owns nothing.
const NOBODY: u32 = 65534;

pub fn a_jailed_firecracker_of_another_user_passes_files_through_a_staging_directory() {
    let root = directory();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let [staging, seen_as] = ["pass", "jail"].map(|name| root.path().join(name));
    fs::create_dir(&staging).unwrap();
    fs::create_dir(&seen_as).unwrap();
    let jailed =
        |name: &str| Vm::start_jailed(&program(), &root.path().join(name), NOBODY, &staging, &seen_as);
    let mut vm = jailed("first").boot_guest(64, true);
    let hm = Hypeman::open(root.path().join("data")).unwrap();
    let snapshots = hm.instances().snapshots();

    hm.instances().register(&registered(&vm)).unwrap();
    let refused = snapshots.create(VM_ID, &standby(None), Call::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Permission, "{refused}");
    assert!(refused.message().contains("staging_directory"), "{refused}");
    hm.instances().unregister(VM_ID).unwrap();

    let known = |vm: &Vm| RegisterInstance {
        staging_directory: Some(staging.clone()),
        staging_directory_in_vmm: Some(seen_as.clone()),
        exclusive_snapshots: true,
        ..registered(vm)
    };
    hm.instances().register(&known(&vm)).unwrap();
    let mut last = 0;
    for _ in ["full", "diff"] {
        let made = snapshots.create(VM_ID, &standby(None), Call::default()).unwrap();
        let payload = hm.data_dir().join("snapshots").join(&made.id).join("guest");
        for name in ["state", "memory"] {
            let facts = fs::metadata(payload.join("snapshots/snapshot-latest").join(name)).unwrap();
            assert_eq!((facts.uid(), facts.mode() & 0o7777), (0, 0o600), "{name} is ours alone");
        }
        let captured = guest::examine(&raw_memory(&payload)).unwrap();
        assert!(captured.ticks > last && captured.wrong == 0, "{captured:?}");
        last = captured.ticks;
        vm.tick_after(vm.last_tick().ticks + 8);
        assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
    }
    let made = hm.snapshots().list(&Default::default()).unwrap().remove(0);

    vm.kill();
    let waiting = jailed("second");
    let request = RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() };
    snapshots.restore(&made.id, VM_ID, &request, Call::default()).unwrap();
    let captured = u32::try_from(last).unwrap();
    let went_on = waiting.tick_after(0);
    assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
    assert_eq!(waiting.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
    assert_nothing_left(hm.data_dir());
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
