//! A VM does not stay paused, whatever becomes of the one who paused it.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hypeman_core::{Call, Hypeman, Kind, Phase, RegisterInstance};
use scripted::CloudHypervisor;
use world::{World, standby};

#[allow(dead_code, reason = "other programs ask for more of it")]
#[path = "../../tests/src/scripted.rs"]
mod scripted;
mod world;

const VM: &str = "running-vm";

/// A VMM of paper whose VM runs, and its registration.
fn running(world: &World, hm: &Hypeman) -> (CloudHypervisor, PathBuf) {
    let directory = world.temp.path().join("web");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("overlay.raw"), "disk").unwrap();
    let socket = world.temp.path().join("ch.sock");
    let vmm = CloudHypervisor::listen(&socket, &directory.join("overlay.raw"));
    let vm = RegisterInstance {
        id: Some(VM.to_owned()),
        api_socket: Some(socket.clone()),
        directory: Some(directory),
        ..RegisterInstance::new("web", "cloud-hypervisor")
    };
    hm.instances().register(&vm).unwrap();
    (vmm, socket)
}

/// Waits until the VM runs.
fn assert_runs(vmm: &CloudHypervisor) {
    let began = Instant::now();
    while vmm.state() != "Running" {
        assert!(began.elapsed() < Duration::from_secs(60), "the VM is {}", vmm.state());
        thread::sleep(Duration::from_millis(5));
    }
}

/// The note of a VM of ours that someone paused for a snapshot and died.
fn dead_owners_note(world: &World, socket: &std::path::Path) -> PathBuf {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let start: u64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let note = serde_json::json!({
        "snapshot_id": "deadsnapshot",
        "instance_id": VM,
        "hypervisor": "cloud-hypervisor",
        "api_socket": socket,
        "was_running": true,
        "boot_id": fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim_end(),
        "peer": { "pid": std::process::id(), "uid": nix::unistd::geteuid().as_raw(), "start_ticks": start },
    });
    let path = world.data().join("snapshots/.libhypeman/intents/deadsnapshot.json");
    fs::write(&path, note.to_string()).unwrap();
    path
}

#[test]
fn a_callback_that_panics_in_the_pause_leaves_the_vm_running() {
    let world = World::new();
    let hm = world.open();
    let (vmm, _) = running(&world, &hm);
    let call = Call::default().progress(|progress| {
        assert!(progress.phase != Phase::SavingMemory, "a defect of the host's own");
        std::ops::ControlFlow::Continue(())
    });
    let refused = hm.instances().snapshots().create(VM, &standby(), call).unwrap_err();
    assert_eq!(refused.kind(), Kind::Internal, "{refused}");
    assert_eq!(vmm.state(), "Running");
    hm.instances().snapshots().create(VM, &standby(), Call::default()).unwrap();
}

#[test]
fn a_vm_whose_owner_died_runs_again_once_its_vmm_has_done_what_it_was_told() {
    let world = World::new();
    let hm = world.open();
    let (vmm, socket) = running(&world, &hm);
    hm.close();
    vmm.pause();
    let note = dead_owners_note(&world, &socket);
    let busy = vmm.clone();
    let (ready, is_silent) = std::sync::mpsc::channel();
    let saving = thread::spawn(move || {
        let _silent = busy.keep_silent();
        ready.send(()).unwrap();
        thread::sleep(Duration::from_secs(8));
    });
    is_silent.recv().unwrap();
    let next = world.open();
    saving.join().unwrap();
    assert_runs(&vmm);
    let began = Instant::now();
    while note.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "the note stays");
        thread::sleep(Duration::from_millis(5));
    }
    next.instances().snapshots().create(VM, &standby(), Call::default()).unwrap();
}

#[test]
fn a_handle_that_waits_for_a_silent_vmm_closes_and_leaves_it_to_the_next_opener() {
    let world = World::new();
    let hm = world.open();
    let (vmm, socket) = running(&world, &hm);
    hm.close();
    vmm.pause();
    let note = dead_owners_note(&world, &socket);
    let silent = vmm.keep_silent();
    let next = world.open();
    let began = Instant::now();
    next.close();
    assert!(began.elapsed() < Duration::from_secs(9), "closing took {:?}", began.elapsed());
    assert!(note.exists());
    drop(silent);
    world.open();
    assert_runs(&vmm);
}
