//! Forks of real VMs: each counts on from where the snapshot was taken, on files of its own.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use hypeman_core::{
    Call, CompressionConfig, Duplicates, ForkSnapshot, Hypeman, InstanceState, Kind, Options,
    RegisterInstance, RestoreSnapshot, Snapshot,
};
use hypeman_tests::guest::{self, PATTERN_PAGES};
use hypeman_tests::vm::{self, Tick, Vm, ticks_of};
use hypeman_tests::{cloud_hypervisor, firecracker};

use crate::offload::{captured_and_gone, raw_files};
use crate::scene::{Scene, VM_ID, directory, raw_memory, standby};

/// Ticks within which the guest has checked each page of its pattern once.
pub const FULL_CHECK: u32 = PATTERN_PAGES as u32;

/// For guests on a busy machine, not a claim of speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// How far the guest had counted.
pub fn captured_at(hm: &Hypeman, made: &Snapshot) -> u32 {
    let payload = hm.data_dir().join("snapshots").join(&made.id).join("guest");
    u32::try_from(guest::examine(&raw_memory(&payload)).unwrap().ticks).unwrap()
}

/// The first tick beyond `ticks` in a serial log.
pub fn tick_after(log: &Path, ticks: u32) -> Tick {
    let began = Instant::now();
    loop {
        if let Some(tick) = ticks_of(log).into_iter().find(|tick| tick.ticks > ticks) {
            return tick;
        }
        assert!(began.elapsed() < PATIENCE, "{} does not count", log.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sees that the guest of that log went on from `captured`, and finds all of its memory as it was.
fn assert_went_on(log: &Path, captured: u32) {
    let went_on = tick_after(log, 0);
    assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
    assert_eq!(tick_after(log, went_on.ticks + FULL_CHECK).wrong, 0);
}

pub fn qemu_forks_run_beside_their_source() {
    let scene = Scene::new();
    let made = scene.capture(Some(CompressionConfig::on()));
    let captured = captured_at(&scene.hm, &made);
    let place = scene.vm.directory().parent().unwrap().join("forks");
    fs::create_dir(&place).unwrap();
    let mut forks = Vec::new();
    for (name, generation) in [("one", 1), ("two", 2)] {
        let asleep = RestoreSnapshot {
            target_state: Some(InstanceState::Standby),
            api_socket: Some(place.join(name).join("qmp.sock")),
            ..RestoreSnapshot::default()
        };
        let request =
            ForkSnapshot { directory: Some(place.join(name)), restore: asleep, ..ForkSnapshot::new(name) };
        let forked = scene.hm.snapshots().fork(&made.id, &request, Call::default()).unwrap();
        assert_eq!((forked.state, forked.generation), (InstanceState::Standby, Some(generation)));
        let fork = Vm::wait(&vm::qemu().expect("asked for before"), &place.join(name));
        let running = RestoreSnapshot {
            target_state: Some(InstanceState::Running),
            duplicates: Duplicates::Deny,
            ..RestoreSnapshot::default()
        };
        // The copy that was handed out by the fork: it is no second one.
        let snapshots = scene.hm.instances().snapshots();
        let restored = snapshots.restore(&made.id, &forked.id, &running, Call::default()).unwrap();
        assert_eq!((restored.state, restored.generation), (InstanceState::Running, Some(generation)));
        forks.push(fork);
    }
    for fork in &forks {
        assert_went_on(&fork.directory().join("serial.log"), captured);
    }
    // The source noticed nothing of it, and a fork can be captured.
    assert_eq!(scene.vm.tick_after(scene.vm.last_tick().ticks).wrong, 0);
    let snapshots = scene.hm.instances().snapshots();
    let own = snapshots.create("two", &standby(None), Call::default()).unwrap();
    assert_eq!(own.source_instance_name, "two");
}

pub fn cloud_hypervisor_forks_run_beside_their_source() {
    let root = directory();
    let program = cloud_hypervisor::program().expect("asked for before");
    let source = cloud_hypervisor::Vm::boot(&program, &root.path().join("first"), 64, false);
    let hm = Hypeman::open(root.path().join("data")).unwrap();
    hm.instances()
        .register(&RegisterInstance {
            id: Some(VM_ID.into()),
            api_socket: Some(source.api_socket()),
            directory: Some(source.directory().into()),
            ..RegisterInstance::new("counting", "cloud-hypervisor")
        })
        .unwrap();
    let compression = Some(CompressionConfig::with("lz4", None));
    let made = hm.instances().snapshots().create(VM_ID, &standby(compression), Call::default()).unwrap();
    let made = hm.snapshots().wait(&made.id, Call::default()).unwrap();
    let captured = captured_at(&hm, &made);
    let mut forks = Vec::new();
    for (name, generation) in [("one", 1), ("two", 2)] {
        let waiting = cloud_hypervisor::Vm::start(&program, &root.path().join(format!("vmm-{name}")));
        let place = root.path().join(name);
        let request = ForkSnapshot {
            directory: Some(place.clone()),
            restore: RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() },
            ..ForkSnapshot::new(name)
        };
        let forked = hm.snapshots().fork(&made.id, &request, Call::default()).unwrap();
        assert_eq!((forked.state, forked.generation), (InstanceState::Running, Some(generation)));
        assert_eq!(hm.instances().get(name).unwrap().state, InstanceState::Running);
        forks.push((waiting, place));
    }
    for (waiting, place) in &forks {
        // Its serial log is where the configuration has it now, and the disk is its own.
        assert_went_on(&place.join("serial.log"), captured);
        assert_eq!(waiting.state(), "Running");
    }
    assert_eq!(source.tick_after(source.last_tick().ticks).wrong, 0);
}

pub fn a_cloud_hypervisor_fork_gets_compressed_memory_by_descriptor_and_never_raw() {
    let root = directory();
    let compression = CompressionConfig::with("zstd", None);
    let (_source, hm, made, captured) = captured_and_gone(root.path(), 64, true, compression);
    hm.close();
    let program = cloud_hypervisor::program().expect("asked for before");
    // Without the option there is a raw file for a while: it would be noticed.
    for (name, offload_memory) in [("through-a-file", false), ("given", true)] {
        let options = Options { offload_memory, ..Options::default() };
        let hm = Hypeman::open_with(root.path().join("data"), options).unwrap();
        let waiting = cloud_hypervisor::Vm::start(&program, &root.path().join(format!("vmm-{name}")));
        let place = root.path().join(name);
        let request = ForkSnapshot {
            directory: Some(place.clone()),
            restore: RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() },
            ..ForkSnapshot::new(name)
        };
        let mut was_raw = false;
        let watched = Call::default().progress(|_| {
            was_raw |= !raw_files(root.path()).is_empty();
            ControlFlow::Continue(())
        });
        let fork = hm.snapshots().fork(&made.id, &request, watched).unwrap();
        assert_eq!(fork.state, InstanceState::Running);
        assert_eq!(was_raw, !offload_memory);
        assert_went_on(&place.join("serial.log"), captured);
    }
}

pub fn a_firecracker_fork_must_find_its_files_where_its_sources_were() {
    let root = directory();
    let program = firecracker::program().expect("asked for before");
    let mut source = firecracker::Vm::boot(&program, &root.path().join("first"), 64);
    let hm = Hypeman::open(root.path().join("data")).unwrap();
    hm.instances()
        .register(&RegisterInstance {
            id: Some(VM_ID.into()),
            api_socket: Some(source.api_socket()),
            directory: Some(source.directory().into()),
            ..RegisterInstance::new("counting", "firecracker")
        })
        .unwrap();
    let made = hm.instances().snapshots().create(VM_ID, &standby(None), Call::default()).unwrap();
    let capture = hm.snapshots().inspect(&made.id).unwrap().capture.unwrap();
    assert!(capture.state_format.is_some_and(|format| format.contains('.')));
    let captured = captured_at(&hm, &made);

    let place = root.path().join("fork");
    let waiting = firecracker::Vm::start(&program, &root.path().join("second"));
    let request = ForkSnapshot {
        directory: Some(place.clone()),
        restore: RestoreSnapshot {
            api_socket: Some(waiting.api_socket()),
            duplicates: Duplicates::Deny,
            ..RestoreSnapshot::default()
        },
        ..ForkSnapshot::new("fork")
    };
    let fork = || hm.snapshots().fork(&made.id, &request, Call::default());
    // It would write to the disk of its source, which lives.
    let refused = fork().unwrap_err();
    assert_eq!(refused.kind(), Kind::NotSupported, "{refused}");
    assert!(refused.message().contains("mount namespace"), "{refused}");
    assert!(!place.exists());
    assert_eq!(hm.instances().list().unwrap().len(), 1);
    assert_eq!(waiting.state(), "Not started");
    assert_eq!(source.tick_after(source.last_tick().ticks).wrong, 0);

    source.kill();
    hm.instances().unregister(VM_ID).unwrap();
    fs::rename(source.directory(), root.path().join("gone")).unwrap();
    symlink(&place, source.directory()).unwrap();
    // Nothing ran of the first attempt, so that this is the first copy.
    assert_eq!(fork().unwrap().generation, Some(1));
    let went_on = waiting.tick_after(0);
    assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
    assert_eq!(waiting.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
}
