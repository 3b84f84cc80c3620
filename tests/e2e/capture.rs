//! A capture of a VM that runs: what it holds, and what the VM notices.

use std::fs;
use std::thread;

use hypeman_core::{Call, CompressionConfig, CompressionState, InstanceState};
use hypeman_tests::guest::{self, PATTERN_PAGES};

use crate::scene::{Scene, VM_ID, assert_nothing_left, standby};

/// Ticks within which the guest has checked each page of its pattern once.
const FULL_CHECK: u32 = PATTERN_PAGES as u32;

pub fn a_running_vm_is_captured_and_runs_on() {
    let mut scene = Scene::new();
    let instance = scene.hm.instances().get(VM_ID).unwrap();
    assert_eq!(instance.state, InstanceState::Running);
    let before = scene.vm.last_tick();
    assert_eq!(scene.vm.status(), "running");
    scene.vm.control().take_events();

    let made = scene.capture(None);

    assert_eq!(scene.vm.status(), "running");
    let mut events = scene.vm.control().take_events();
    events.retain(|event| ["STOP", "RESUME", "RESET", "SHUTDOWN"].contains(&event.as_str()));
    assert_eq!(events, ["STOP", "RESUME"], "paused once, resumed once, and nothing else");
    let after = scene.vm.tick_after(scene.vm.last_tick().ticks);
    assert_eq!(after.wrong, 0);

    let captured = guest::examine(&scene.memory(&made.id)).unwrap();
    assert!((u64::from(before.ticks)..=u64::from(after.ticks)).contains(&captured.ticks), "{captured:?}");
    assert_eq!(captured.wrong, 0);
    let disk = |guest: std::path::PathBuf| fs::read(guest.join("disk.raw")).unwrap();
    assert!(
        disk(scene.payload(&made.id)) == disk(scene.vm.directory().into()),
        "the disk was captured as it was"
    );

    let inspection = scene.hm.snapshots().inspect(&made.id).unwrap();
    assert_eq!(inspection.files.iter().map(|file| file.size_bytes).sum::<u64>(), made.size_bytes);
    let capture = inspection.capture.unwrap();
    assert_eq!(capture.source_state, "Running");
    assert!(capture.paused_ms.is_some_and(|ms| ms > 0.0), "{capture:?}");
    assert!(capture.saving_memory_ms <= capture.paused_ms, "{capture:?}");
    assert_nothing_left(scene.hm.data_dir());
}

pub fn a_snapshot_counts_on_in_a_second_vm() {
    counts_on_in_a_second_vm(Scene::new(), None);
}

pub fn a_zstd_snapshot_counts_on_in_a_second_vm() {
    counts_on_in_a_second_vm(Scene::new(), Some(CompressionConfig::with("zstd", Some(3))));
}

pub fn an_lz4_snapshot_counts_on_in_a_second_vm() {
    counts_on_in_a_second_vm(Scene::new(), Some(CompressionConfig::with("lz4", None)));
}

pub fn a_microvm_snapshot_counts_on_in_a_second_microvm() {
    counts_on_in_a_second_vm(Scene::with_microvm(), Some(CompressionConfig::with("zstd", Some(1))));
}

fn counts_on_in_a_second_vm(mut scene: Scene, compression: Option<CompressionConfig>) {
    let made = scene.capture(compression.clone());
    let state = if compression.is_some() { CompressionState::Compressed } else { CompressionState::None };
    assert_eq!(
        (&made.compression_state, &made.compression),
        (&Some(state), &compression_that_ran(compression))
    );
    let memory = scene.memory(&made.id);
    if let Some(bytes) = made.uncompressed_size_bytes {
        assert_eq!(bytes, memory.len() as u64);
    }
    let captured = u32::try_from(guest::examine(&memory).unwrap().ticks).unwrap();

    let mut second = scene.load(&made.id, &memory);
    assert_eq!(second.ticks(), [], "it does not run before it is told to");
    second.resume();
    let first_line = second.tick_after(0);
    // A line comes each 8 ticks, and the first one may have been cut in two by the capture.
    assert!(
        (captured..=captured + 16).contains(&first_line.ticks),
        "captured at {captured}, went on at {first_line:?}"
    );
    let checked = second.tick_after(first_line.ticks + FULL_CHECK);
    assert_eq!(checked.wrong, 0, "the second guest found its memory as it was");

    assert_eq!(scene.vm.status(), "running");
    let ticks = scene.vm.ticks();
    assert!(ticks.is_sorted_by(|a, b| a.ticks < b.ticks), "the first guest never went back");
    assert!(scene.vm.last_tick().ticks > captured && scene.vm.last_tick().wrong == 0);
}

/// Level and algorithm are written back as they ran.
fn compression_that_ran(asked: Option<CompressionConfig>) -> Option<CompressionConfig> {
    asked.map(|asked| CompressionConfig { level: asked.level.or(Some(0)), ..asked })
}

/// The positive control: a broken capture is caught, by the comparison and by the guest itself.
pub fn one_flipped_bit_is_noticed() {
    let scene = Scene::new();
    let made = scene.capture(None);
    let mut memory = scene.memory(&made.id);
    let pattern_at = guest::examine(&memory).unwrap().pattern_at;
    memory[pattern_at + 100] ^= 0x04;
    assert!(guest::examine(&memory).is_err());

    let mut second = scene.load(&made.id, &memory);
    second.resume();
    let begun = second.tick_after(0);
    assert!(second.tick_after(begun.ticks + FULL_CHECK).wrong > 0, "the guest found the flipped bit");
}

pub fn a_paused_vm_stays_paused() {
    let mut scene = Scene::new();
    scene.vm.pause();
    assert_eq!(scene.hm.instances().get(VM_ID).unwrap().state, InstanceState::Paused);
    let before = scene.vm.last_tick();

    let made = scene.capture(None);

    assert_ne!(scene.vm.status(), "running");
    assert!(!scene.vm.control().take_events().contains(&"RESUME".to_owned()));
    assert_eq!(scene.hm.instances().get(VM_ID).unwrap().state, InstanceState::Paused);
    assert!(guest::examine(&scene.memory(&made.id)).unwrap().ticks >= u64::from(before.ticks));
    // QEMU saves a VM that has not run since only once, so a second snapshot has the same image: expanded, and its own.
    let packed = CompressionConfig::with("zstd", None);
    scene.hm.snapshots().compress(&made.id, Some(&packed)).unwrap();
    scene.hm.snapshots().wait(&made.id, Call::default()).unwrap();
    let again = scene.capture(None);
    assert_eq!(scene.vm.status(), "postmigrate", "it stands as before");
    assert!(scene.memory(&again.id) == scene.memory(&made.id));
    let capture = scene.hm.snapshots().inspect(&again.id).unwrap().capture.unwrap();
    assert_eq!((capture.source_state.as_str(), capture.paused_ms), ("Paused", None));
    scene.hm.snapshots().delete(&again.id).unwrap();
    let capture = scene.hm.snapshots().inspect(&made.id).unwrap().capture.unwrap();
    assert_eq!((capture.source_state.as_str(), capture.paused_ms), ("Paused", None));
    scene.vm.resume();
    scene.vm.tick_after(before.ticks + 8);
    scene.vm.pause();
    let later = scene.capture(None);
    let ticks = |id: &str| guest::examine(&scene.memory(id)).unwrap().ticks;
    assert!(ticks(&later.id) > ticks(&made.id), "where it stood before is not where it stands");
    scene.vm.resume();
    scene.capture(None);
}

pub fn two_creates_at_once_take_turns() {
    let mut scene = Scene::new();
    let create = || scene.hm.instances().snapshots().create(VM_ID, &standby(None), Call::default()).unwrap();
    let (one, two) = thread::scope(|scope| {
        let other = scope.spawn(create);
        (create(), other.join().unwrap())
    });
    for made in [&one, &two] {
        guest::examine(&scene.memory(&made.id)).unwrap();
    }
    assert_eq!(scene.hm.snapshots().list(&Default::default()).unwrap().len(), 2);
    assert_eq!(scene.vm.status(), "running");
    let mut pauses = scene.vm.control().take_events();
    pauses.retain(|event| ["STOP", "RESUME"].contains(&event.as_str()));
    assert_eq!(pauses, ["STOP", "RESUME", "STOP", "RESUME"], "each has its own pause");
    scene.vm.tick_after(scene.vm.last_tick().ticks);
    assert_nothing_left(scene.hm.data_dir());
}
