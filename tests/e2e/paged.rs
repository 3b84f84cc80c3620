//! A real Firecracker whose memory comes from a pager.

use std::fs;
use std::time::Duration;

use hypeman_core::{Call, CompressionConfig, InstanceState, Kind, Pager, RestoreSnapshot, ServeMemory};
use hypeman_tests::firecracker::{self, Vm};

use crate::firecracker::{FULL_CHECK, Scene, captured_and_gone};
use crate::scene::VM_ID;

/// A Firecracker that waits for a VM, and the request that has `pager` give it its memory.
fn second(scene: &Scene, pager: &Pager) -> (Vm, RestoreSnapshot) {
    let program = firecracker::program().expect("asked for before");
    let waiting = Vm::start(&program, &scene.root.path().join("second"));
    let request = RestoreSnapshot {
        api_socket: Some(waiting.api_socket()),
        uffd_socket: Some(pager.socket().into()),
        ..RestoreSnapshot::default()
    };
    (waiting, request)
}

pub fn a_firecracker_runs_on_while_a_pager_gives_it_its_memory() {
    for algorithm in ["zstd", "lz4"] {
        let mut scene = Scene::new(256);
        let (made, captured) = captured_and_gone(&mut scene, Some(CompressionConfig::with(algorithm, None)));
        let pager = scene.hm.snapshots().serve_memory(&made.id, &ServeMemory::default()).unwrap();
        let (waiting, request) = second(&scene, &pager);
        let snapshots = scene.hm.instances().snapshots();
        let restored = snapshots.restore(&made.id, VM_ID, &request, Call::default()).unwrap();
        assert_eq!(restored.state, InstanceState::Running);
        let went_on = waiting.tick_after(0);
        assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
        assert_eq!(waiting.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
        let metrics = pager.metrics().unwrap();
        assert!(metrics.faults > 0 && metrics.errors == 0 && metrics.vms == 1, "{metrics:?}");
        assert!(metrics.copied_bytes + metrics.zero_bytes < 256 << 20, "not all was needed: {metrics:?}");
        assert_eq!(scene.hm.snapshots().delete(&made.id).unwrap_err().kind(), Kind::Busy);
        drop(waiting);
        pager.wait(Call::default().timeout(Duration::from_secs(60))).unwrap();
        pager.stop().unwrap();
    }
}

pub fn a_firecracker_with_all_of_its_memory_outlives_its_pager() {
    let mut scene = Scene::new(128);
    let (made, captured) = captured_and_gone(&mut scene, Some(CompressionConfig::with("zstd", None)));
    let fill = ServeMemory { fill: true, ..ServeMemory::default() };
    let pager = scene.hm.snapshots().serve_memory(&made.id, &fill).unwrap();
    let (waiting, request) = second(&scene, &pager);
    scene.hm.instances().snapshots().restore(&made.id, VM_ID, &request, Call::default()).unwrap();
    pager.wait(Call::default().timeout(Duration::from_secs(60))).unwrap();
    let metrics = pager.metrics().unwrap();
    assert_eq!((metrics.vms_whole, metrics.errors), (1, 0), "{metrics:?}");
    drop(pager);
    scene.hm.close();
    let went_on = waiting.tick_after(captured);
    assert_eq!(waiting.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
}

pub fn a_firecracker_ends_when_its_guest_touches_a_damaged_page() {
    let mut scene = Scene::new(64);
    let (made, _) = captured_and_gone(&mut scene, Some(CompressionConfig::with("zstd", None)));
    let memory = scene.payload(&made.id).join("snapshots/snapshot-latest/memory.zst");
    let mut bytes = fs::read(&memory).unwrap();
    // All but the head and the index: whatever the guest touches is damaged.
    let end = bytes.len() * 9 / 10;
    bytes[64..end].iter_mut().step_by(97).for_each(|byte| *byte ^= 0x10);
    fs::write(&memory, bytes).unwrap();
    let pager = scene.hm.snapshots().serve_memory(&made.id, &ServeMemory::default()).unwrap();
    let (mut waiting, request) = second(&scene, &pager);
    // It may die while it loads, or right after.
    let _ = scene.hm.instances().snapshots().restore(
        &made.id,
        VM_ID,
        &request,
        Call::default().timeout(Duration::from_secs(30)),
    );
    waiting.assert_ends();
    assert!(waiting.ticks().iter().all(|tick| tick.wrong == 0), "it never counted on wrong memory");
    let metrics = pager.metrics().unwrap();
    assert!(metrics.last_error.is_some_and(|why| why.contains("damaged")));
}
