//! Hosts that end: what they leave is good, or the next opener makes it good. A host is this test binary in a role.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hypeman_core::{
    Call, CompressionConfig, CompressionState, Hypeman, Kind, Options, Phase, RegisterInstance,
};
use nix::sys::signal::Signal;

use crate::scene::{Scene, VM_ID, assert_nothing_left, directory, raw_memory, standby};

const ROLE: &str = "HYPEMAN_E2E_ROLE";

/// The part of a host that cancels its capture and ends; any other is one that creates, at that level of zstd.
const CANCELS: &str = "cancels";

/// Plays the part of a host, if that is what this process is for.
pub fn play_role() -> bool {
    let Ok(role) = env::var(ROLE) else { return false };
    let (data, part) = role.split_once('|').expect("a role names a data directory and a part");
    let hm = Hypeman::open(data).unwrap();
    match part {
        CANCELS => cancel_and_close(&hm),
        level => create_and_wait(&hm, level.parse().unwrap()),
    }
    true
}

fn cancel_and_close(hm: &Hypeman) {
    let call = Call::default().progress(|progress| match progress.phase {
        Phase::SavingMemory => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let refused = hm.instances().snapshots().create(VM_ID, &standby(None), call).unwrap_err();
    assert_eq!(refused.kind(), Kind::Cancelled, "{refused}");
    hm.close();
}

fn create_and_wait(hm: &Hypeman, level: u32) {
    let compression = CompressionConfig::with("zstd", Some(level.into()));
    let made =
        hm.instances().snapshots().create(VM_ID, &standby(Some(compression)), Call::default()).unwrap();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", made.id).unwrap();
    hm.snapshots().wait(&made.id, Call::default()).unwrap();
}

/// A host that creates a snapshot in `data`.
pub fn host(data: &Path, level: u32) -> Child {
    host_that(data, &level.to_string())
}

fn host_that(data: &Path, part: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .env(ROLE, format!("{}|{part}", data.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

pub fn a_host_killed_in_the_pause_is_made_good() {
    let mut scene = Scene::new();
    let data = scene.hm.data_dir().to_owned();
    scene.hm.close();

    // The freeze makes sure that the VMM cannot finish before the kill: at the first try, but on a very busy machine.
    let killed_in_the_pause = (0..5).any(|_| {
        let mut host = host(&data, 1);
        scene.vm.control().wait_for_event("STOP");
        scene.vm.signal(Signal::SIGSTOP);
        host.kill().unwrap();
        host.wait().unwrap();
        scene.vm.signal(Signal::SIGCONT);
        scene.vm.status() != "running"
    });
    assert!(killed_in_the_pause, "no host could be killed while its VM was paused");
    let before = scene.vm.last_tick();

    let reader = Hypeman::open_with(&data, Options { read_only: true, ..Options::default() }).unwrap();
    assert_ne!(scene.vm.status(), "running", "a reader changes nothing");
    reader.close();

    scene.hm = Hypeman::open(&data).unwrap();
    scene.vm.wait_until("the next opener has resumed the VM", |vm| vm.status() == "running");
    assert_eq!(scene.vm.tick_after(before.ticks).wrong, 0);
    scene.assert_as_before();
    scene.capture(None);
}

pub fn a_host_that_cancels_and_ends_leaves_a_vm_that_runs() {
    let mut scene = Scene::new();
    let data = scene.hm.data_dir().to_owned();
    scene.hm.close();
    scene.vm.control().take_events();
    assert!(host_that(&data, CANCELS).wait().unwrap().success());
    // No one has opened the directory since.
    assert_eq!(scene.vm.status(), "running");
    assert!(scene.vm.control().take_events().contains(&"STOP".to_owned()), "it was paused");
    assert_nothing_left(&data);
    scene.hm = Hypeman::open(&data).unwrap();
    scene.assert_as_before();
}

pub fn a_host_killed_in_the_capture_of_a_paused_vm_leaves_it_paused() {
    let mut scene = Scene::new();
    let data = scene.hm.data_dir().to_owned();
    scene.hm.close();
    scene.vm.pause();
    let intents = data.join("snapshots/.libhypeman/intents");
    let has_intent = || fs::read_dir(&intents).unwrap().next().is_some();

    let killed_in_the_capture = (0..5).any(|_| {
        let mut host = host(&data, 1);
        scene.vm.wait_until("the host has noted what it is about to do", |_| has_intent());
        scene.vm.signal(Signal::SIGSTOP);
        host.kill().unwrap();
        host.wait().unwrap();
        scene.vm.signal(Signal::SIGCONT);
        has_intent()
    });
    assert!(killed_in_the_capture, "no host could be killed while it captured its VM");
    scene.vm.control().take_events();

    scene.hm = Hypeman::open(&data).unwrap();
    assert_nothing_left(&data);
    assert_ne!(scene.vm.status(), "running");
    assert!(!scene.vm.control().take_events().contains(&"RESUME".to_owned()), "not even for a moment");
    let before = scene.vm.last_tick();
    scene.vm.resume();
    assert_eq!(scene.vm.tick_after(before.ticks).wrong, 0);
    scene.assert_as_before();
}

pub fn a_killed_compression_is_finished() {
    let root = directory();
    let (data, vm) = (root.path().join("data"), root.path().join("vm"));
    let memory: Vec<u8> = (0..1_u64 << 20).flat_map(|n| (n.wrapping_mul(n) >> 5).to_le_bytes()).collect();
    fs::create_dir_all(vm.join("snapshots/snapshot-latest")).unwrap();
    fs::write(vm.join("snapshots/snapshot-latest/memory"), &memory).unwrap();
    let hm = Hypeman::open(&data).unwrap();
    hm.instances()
        .register(&RegisterInstance {
            id: Some(VM_ID.into()),
            directory: Some(vm),
            ..RegisterInstance::new("standby", "qemu")
        })
        .unwrap();
    hm.close();

    let mut host = host(&data, 19);
    let mut id = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut id).unwrap();
    let id = id.trim();
    host.kill().unwrap();
    host.wait().unwrap();

    let state = |hm: &Hypeman| hm.snapshots().get(id).unwrap().compression_state;
    let reader = Hypeman::open_with(&data, Options { read_only: true, ..Options::default() }).unwrap();
    assert_eq!(state(&reader), Some(CompressionState::Compressing), "the host was killed in the middle");
    let hm = Hypeman::open(&data).unwrap();
    let done = hm.snapshots().wait(id, Call::default()).unwrap();
    assert_eq!(done.compression_state, Some(CompressionState::Compressed), "{:?}", done.compression_error);
    assert_eq!(done.uncompressed_size_bytes, Some(memory.len() as u64));
    let guest = data.join("snapshots").join(id).join("guest");
    assert!(!guest.join("snapshots/snapshot-latest/memory").exists(), "the raw file made way");
    assert!(raw_memory(&guest) == memory);
    assert_nothing_left(&data);
}
