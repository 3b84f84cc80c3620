//! Ten forks of one snapshot that run at once out of one pager: each counts on for itself, on files of its own, and what is
//! stored stays as it was.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, ForkSnapshot, Hypeman, Instance, InstanceState, Pager, RestoreSnapshot,
    ServeMemory, Snapshot,
};
use hypeman_tests::cloud_hypervisor::{self, Vm as CloudHypervisor};
use hypeman_tests::firecracker::Vm;
use hypeman_tests::vm::ticks_of;

use crate::firecracker::{Scene, program};
use crate::fork::{FULL_CHECK, captured_at, tick_after};
use crate::offload::{captured_and_gone, paged};
use crate::scene::{assert_nothing_left, directory, stored};

pub fn ten_forks_of_a_firecracker_run_at_once_beside_their_source_from_one_pager() {
    let scene = Scene::new(128);
    let made = scene.capture(Some(CompressionConfig::with("zstd", None)));
    let captured = captured_at(&scene.hm, &made);
    let before = stored(&scene.hm, &made.id);
    let pager = scene.hm.snapshots().serve_memory(&made.id, &ServeMemory::default()).unwrap();
    // The state of each names the disk of the source, which runs.
    let forks: Vec<_> = (0..10)
        .map(|number| {
            let fork = if number % 2 == 0 { fork_in_one_call } else { fork_in_two_steps };
            let (waiting, forked) = fork(&scene, &made, &pager, number);
            assert_eq!((forked.state, forked.generation), (InstanceState::Running, Some(number + 1)));
            (waiting, forked.directory.unwrap())
        })
        .collect();
    let logs: Vec<_> = forks.iter().map(|(waiting, _)| waiting.directory().join("serial.log")).collect();
    assert_all_count(&forks, &logs, captured, Vm::pause, Vm::resume);
    for (_, directory) in &forks {
        assert_eq!(processes_with(&directory.join("disk.raw")), 1, "it has a disk of its own");
        assert!(!directory.join("snapshots/snapshot-latest/memory").exists(), "the pager has the memory");
    }
    let metrics = pager.metrics().unwrap();
    assert_eq!((metrics.vms, metrics.vms_seen, metrics.errors), (10, 10, 0), "{metrics:?}");
    assert_eq!(processes_with(&scene.vm.directory().join("disk.raw")), 1, "that of the source is its own");
    assert_eq!(scene.vm.tick_after(scene.vm.last_tick().ticks + FULL_CHECK).wrong, 0);
    assert_stored(&scene.hm, &made, &before);
}

/// Its firecracker sees the directory that the fork will be in, under the name of the source, around the source.
fn fork_in_one_call(scene: &Scene, made: &Snapshot, pager: &Pager, number: u64) -> (Vm, Instance) {
    let source = scene.vm.directory();
    let around = scene.root.path().join(format!("fork{number}"));
    fs::create_dir(&around).unwrap();
    let waiting = start_seeing(scene.root.path(), number, &around, source.parent().unwrap());
    let request = ForkSnapshot {
        directory: Some(around.join(source.file_name().unwrap())),
        restore: RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..served_by(pager) },
        ..ForkSnapshot::new(format!("fork{number}"))
    };
    let forked = scene.hm.snapshots().fork(&made.id, &request, Call::default()).unwrap();
    (waiting, forked)
}

/// Its firecracker is started when the fork is there, and sees that in the place of the source.
fn fork_in_two_steps(scene: &Scene, made: &Snapshot, pager: &Pager, number: u64) -> (Vm, Instance) {
    let place = scene.root.path().join(format!("fork{number}"));
    let request = ForkSnapshot {
        directory: Some(place.clone()),
        restore: RestoreSnapshot { target_state: Some(InstanceState::Standby), ..served_by(pager) },
        ..ForkSnapshot::new(format!("fork{number}"))
    };
    let forked = scene.hm.snapshots().fork(&made.id, &request, Call::default()).unwrap();
    assert_eq!(forked.state, InstanceState::Standby);
    let waiting = start_seeing(scene.root.path(), number, &place, scene.vm.directory());
    let request = RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..served_by(pager) };
    let snapshots = scene.hm.instances().snapshots();
    let restored = snapshots.restore(&made.id, &forked.id, &request, Call::default()).unwrap();
    (waiting, restored)
}

fn served_by(pager: &Pager) -> RestoreSnapshot {
    RestoreSnapshot { uffd_socket: Some(pager.socket().into()), ..RestoreSnapshot::default() }
}

/// Starts a firecracker that waits for a VM, in a mount namespace of its own that has `there` in the place of `here`.
fn start_seeing(root: &Path, number: u64, there: &Path, here: &Path) -> Vm {
    let script = root.join(format!("firecracker{number}"));
    let text = format!(
        "#!/bin/sh\nexec unshare --mount --propagation private sh -c \
         'mount --bind {} {} && exec {} \"$@\"' firecracker \"$@\"\n",
        there.display(),
        here.display(),
        program().display()
    );
    // By another process: a file that this one writes may be open in children of other stories, and would not start then.
    let write = "printf %s \"$1\" > \"$2\" && chmod +x \"$2\"";
    let written = Command::new("sh").args(["-c", write, "write", &text]).arg(&script).status().unwrap();
    assert!(written.success());
    Vm::start(&script, &root.join(format!("vmm{number}")))
}

/// How many processes have the file open.
fn processes_with(path: &Path) -> usize {
    let inode = |path: &Path| path.metadata().ok().map(|facts| (facts.dev(), facts.ino()));
    let wanted = inode(path).expect("it is there");
    let entries =
        |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let has_it = |process: &PathBuf| entries(process.join("fd")).any(|file| inode(&file) == Some(wanted));
    entries("/proc".into()).filter(has_it).count()
}

pub fn ten_forks_of_a_cloud_hypervisor_run_at_once_from_one_pager() {
    let root = directory();
    let compression = CompressionConfig::with("zstd", None);
    let (_vm, hm, made, captured) = captured_and_gone(root.path(), 64, true, compression);
    let before = stored(&hm, &made.id);
    let pager = hm.snapshots().serve_memory(&made.id, &ServeMemory::default()).unwrap();
    let program = cloud_hypervisor::program().expect("asked for before");
    let forks: Vec<_> = (0..10)
        .map(|number| {
            let waiting = CloudHypervisor::start(&program, &root.path().join(format!("vmm{number}")));
            let request = ForkSnapshot {
                directory: Some(root.path().join(format!("fork{number}"))),
                restore: paged(&waiting, &pager),
                ..ForkSnapshot::new(format!("fork{number}"))
            };
            let forked = hm.snapshots().fork(&made.id, &request, Call::default()).unwrap();
            assert_eq!((forked.state, forked.generation), (InstanceState::Running, Some(number + 1)));
            (waiting, forked.directory.unwrap())
        })
        .collect();
    let logs: Vec<_> = forks.iter().map(|(_, directory)| directory.join("serial.log")).collect();
    assert_all_count(&forks, &logs, captured, CloudHypervisor::pause, CloudHypervisor::resume);
    for (_, directory) in &forks {
        assert_eq!(processes_with(&directory.join("disk.raw")), 1, "it has a disk of its own");
    }
    pager.wait(Call::default().timeout(Duration::from_secs(120))).unwrap();
    let metrics = pager.metrics().unwrap();
    assert_eq!((metrics.vms_seen, metrics.vms_whole, metrics.errors), (10, 10, 0), "{metrics:?}");
    assert_stored(&hm, &made, &before);
}

/// Sees that each guest goes on from `captured` while all of them run, and finds its whole pattern.
fn assert_all_count<V>(
    forks: &[(V, PathBuf)],
    logs: &[PathBuf],
    captured: u32,
    pause: fn(&V),
    resume: fn(&V),
) {
    let last = |log: &PathBuf| ticks_of(log).last().expect("it has counted").ticks;
    for log in logs {
        let went_on = tick_after(log, 0);
        assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
    }
    let all_run = logs.iter().map(last).collect::<Vec<_>>();
    for (log, ticks) in logs.iter().zip(all_run) {
        assert_eq!(tick_after(log, ticks).wrong, 0);
    }
    // One after the other checks all of its pattern while the others stand: at once they take a small machine minutes.
    forks.iter().for_each(|(waiting, _)| pause(waiting));
    for ((waiting, _), log) in forks.iter().zip(logs) {
        resume(waiting);
        assert_eq!(tick_after(log, last(log) + FULL_CHECK).wrong, 0);
        pause(waiting);
    }
}

/// Forks have changed nothing of the snapshot, with all of its files where and as they were.
fn assert_stored(hm: &Hypeman, made: &Snapshot, before: &[(PathBuf, [i64; 3], Vec<u8>)]) {
    assert!(stored(hm, &made.id) == before, "what is stored was changed");
    assert_eq!(hm.snapshots().get(&made.id).unwrap(), *made);
    assert!(hm.snapshots().verify(&made.id, Call::default()).unwrap().is_good());
    assert_nothing_left(hm.data_dir());
}
