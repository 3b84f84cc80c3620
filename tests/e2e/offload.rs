//! Guest memory by descriptor: out of a real cloud-hypervisor into the compressed image, and back, without a raw file.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CompressionState, Hypeman, InstanceState, Kind, Options, Pager, Phase,
    RegisterInstance, RestoreSnapshot, ServeMemory, Snapshot,
};
use hypeman_tests::cloud_hypervisor::{self, Vm};
use hypeman_tests::guest::{self, PATTERN_PAGES};

use crate::scene::{VM_ID, assert_nothing_left, directory, raw_memory, standby};

const FULL_CHECK: u32 = PATTERN_PAGES as u32;

/// Far less than the guest's memory, and far more than all else that its VMM writes.
const NO_MEMORY_BYTES: u64 = 4 << 20;

fn open(root: &Path, vm: &Vm, offload_memory: bool) -> Hypeman {
    let options = Options { offload_memory, ..Options::default() };
    let hm = Hypeman::open_with(root.join("data"), options).unwrap();
    register(&hm, vm);
    hm
}

fn register(hm: &Hypeman, vm: &Vm) {
    let instance = RegisterInstance {
        id: Some(VM_ID.into()),
        api_socket: Some(vm.api_socket()),
        directory: Some(vm.directory().into()),
        ..RegisterInstance::new("counting", "cloud-hypervisor")
    };
    if hm.instances().get(VM_ID).is_err() {
        hm.instances().register(&instance).unwrap();
    }
}

/// Every file of raw guest memory beneath `directory`.
pub fn raw_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(raw_files(&path));
        } else if path.file_name().is_some_and(|name| name == "memory-ranges") {
            found.push(path);
        }
    }
    found
}

pub fn memory_is_captured_and_restored_by_descriptor_and_never_written_raw() {
    for algorithm in ["zstd", "lz4"] {
        let root = directory();
        let program = cloud_hypervisor::program().expect("asked for before");
        let mut vm = Vm::boot_unfiltered(&program, &root.path().join("first"), 64);
        let hm = open(root.path(), &vm, true);
        let before = vm.last_tick();
        // What would write the memory of this guest into a file is refused by the system.
        vm.limit_files(NO_MEMORY_BYTES);

        let mut phases = Vec::new();
        let data = hm.data_dir().to_owned();
        let watched = Call::default().progress(|progress| {
            phases.push(progress.phase);
            assert_eq!(raw_files(&data), [] as [PathBuf; 0], "in {:?}", progress.phase);
            ControlFlow::Continue(())
        });
        let request = standby(Some(CompressionConfig::with(algorithm, Some(1))));
        let made = hm.instances().snapshots().create(VM_ID, &request, watched).unwrap();

        assert_eq!(vm.state(), "Running");
        assert!(phases.contains(&Phase::SavingMemory) && phases.contains(&Phase::Compressing), "{phases:?}");
        assert_eq!(made.compression_state, Some(CompressionState::Compressed), "at once");
        assert_eq!(made.uncompressed_size_bytes, Some(64 << 20));
        let after = vm.tick_after(vm.last_tick().ticks);
        let payload = hm.data_dir().join("snapshots").join(&made.id).join("guest");
        let extension = if algorithm == "zstd" { "zst" } else { "lz4" };
        let image = payload.join("snapshots/snapshot-latest").join(format!("memory-ranges.{extension}"));
        assert_eq!(made.compressed_size_bytes, Some(image.metadata().unwrap().len()));
        let captured = guest::examine(&raw_memory(&payload)).unwrap();
        assert!((u64::from(before.ticks)..=u64::from(after.ticks)).contains(&captured.ticks), "{captured:?}");
        let made = hm.snapshots().wait(&made.id, Call::default()).unwrap();
        assert!(hm.snapshots().verify(&made.id, Call::default()).unwrap().defects.is_empty());

        let captured = u32::try_from(captured.ticks).unwrap();
        vm.tick_after(captured + 16);
        vm.kill();
        fs::write(vm.directory().join("disk.raw"), "ruined").unwrap();
        let waiting = Vm::start(&program, &root.path().join("second"));
        let request =
            RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() };
        let place = vm.directory().to_owned();
        let watched = Call::default().progress(|progress| {
            assert_eq!(raw_files(&place), [] as [PathBuf; 0], "in {:?}", progress.phase);
            ControlFlow::Continue(())
        });
        let restored = hm.instances().snapshots().restore(&made.id, VM_ID, &request, watched).unwrap();
        assert_eq!(restored.state, InstanceState::Running);
        // Its serial log is where the captured configuration has it.
        let went_on = vm.tick_after(captured);
        assert!(went_on.ticks <= captured + 16, "captured at {captured}: {went_on:?}");
        assert_eq!(vm.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
        assert_eq!(waiting.state(), "Running");

        // What was restored so is captured as any other, here into a file.
        let out = root.path().join("again");
        fs::create_dir(&out).unwrap();
        waiting.pause();
        waiting.snapshot(&out);
        let again = guest::examine(&fs::read(out.join("memory-ranges")).unwrap()).unwrap();
        assert!(again.ticks > u64::from(captured) && again.wrong == 0, "{again:?}");
        assert_nothing_left(hm.data_dir());
    }
}

/// A VM of `memory_mib` that was captured, compressed, and ended; and how far its guest had counted.
pub fn captured_and_gone(
    root: &Path,
    memory_mib: u64,
    is_shared: bool,
    compression: CompressionConfig,
) -> (Vm, Hypeman, Snapshot, u32) {
    let program = cloud_hypervisor::program().expect("asked for before");
    let mut vm = Vm::boot(&program, &root.join("first"), memory_mib, is_shared);
    let hm = open(root, &vm, false);
    let made =
        hm.instances().snapshots().create(VM_ID, &standby(Some(compression)), Call::default()).unwrap();
    let made = hm.snapshots().wait(&made.id, Call::default()).unwrap();
    let payload = hm.data_dir().join("snapshots").join(&made.id).join("guest");
    let captured = guest::examine(&raw_memory(&payload)).unwrap().ticks;
    vm.tick_after(u32::try_from(captured).unwrap());
    vm.kill();
    (vm, hm, made, u32::try_from(captured).unwrap())
}

pub fn paged(waiting: &Vm, pager: &Pager) -> RestoreSnapshot {
    RestoreSnapshot {
        api_socket: Some(waiting.api_socket()),
        uffd_socket: Some(pager.socket().into()),
        ..RestoreSnapshot::default()
    }
}

pub fn a_cloud_hypervisor_asks_a_pager_for_its_memory() {
    for algorithm in ["zstd", "lz4"] {
        let root = directory();
        let compression = CompressionConfig::with(algorithm, None);
        let (vm, hm, made, captured) = captured_and_gone(root.path(), 256, true, compression);
        fs::write(vm.directory().join("disk.raw"), "ruined").unwrap();
        let pager = hm.snapshots().serve_memory(&made.id, &ServeMemory::default()).unwrap();
        let program = cloud_hypervisor::program().expect("asked for before");
        let waiting = Vm::start(&program, &root.path().join("second"));
        let place = vm.directory().to_owned();
        let watched = Call::default().progress(|progress| {
            assert_eq!(raw_files(&place), [] as [PathBuf; 0], "in {:?}", progress.phase);
            ControlFlow::Continue(())
        });
        let request = paged(&waiting, &pager);
        let restored = hm.instances().snapshots().restore(&made.id, VM_ID, &request, watched).unwrap();
        assert_eq!(restored.state, InstanceState::Running);
        let went_on = vm.tick_after(captured);
        assert!(went_on.ticks <= captured + 16, "captured at {captured}: {went_on:?}");
        assert_eq!(vm.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
        // It asks for all of its memory, and then no more.
        pager.wait(Call::default().timeout(Duration::from_secs(120))).unwrap();
        let metrics = pager.metrics().unwrap();
        assert_eq!((metrics.vms_seen, metrics.vms_whole, metrics.errors), (1, 1, 0), "{metrics:?}");
        assert_eq!(metrics.copied_bytes + metrics.zero_bytes, 256 << 20, "{metrics:?}");
        pager.stop().unwrap();
        assert_eq!(vm.tick_after(vm.last_tick().ticks + FULL_CHECK).wrong, 0, "it needs the pager no more");
        assert_eq!(waiting.state(), "Running");

        // What this guest wanted first, the next one has before it asks.
        drop(waiting);
        let pager = hm.snapshots().serve_memory(&made.id, &ServeMemory::default()).unwrap();
        let waiting = Vm::start(&program, &root.path().join("third"));
        let request = paged(&waiting, &pager);
        hm.instances().snapshots().restore(&made.id, VM_ID, &request, Call::default()).unwrap();
        pager.wait(Call::default().timeout(Duration::from_secs(120))).unwrap();
        let metrics = pager.metrics().unwrap();
        assert!(metrics.prefetched_bytes > 0 && metrics.vms_whole == 1, "{metrics:?}");
        assert_eq!(metrics.copied_bytes + metrics.zero_bytes, 256 << 20, "{metrics:?}");
        pager.stop().unwrap();
        assert_nothing_left(hm.data_dir());
    }
}

pub fn a_cloud_hypervisor_ends_when_its_guest_needs_a_damaged_page() {
    let root = directory();
    let compression = CompressionConfig::with("zstd", None);
    let (vm, hm, made, _) = captured_and_gone(root.path(), 64, true, compression);
    let payload = hm.data_dir().join("snapshots").join(&made.id).join("guest");
    let image = payload.join("snapshots/snapshot-latest/memory-ranges.zst");
    let mut bytes = fs::read(&image).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&image, bytes).unwrap();
    let pager = hm.snapshots().serve_memory(&made.id, &ServeMemory::default()).unwrap();
    let program = cloud_hypervisor::program().expect("asked for before");
    let mut waiting = Vm::start(&program, &root.path().join("second"));
    // It may end while it loads, or right after.
    let call = Call::default().timeout(Duration::from_secs(60));
    let _ = hm.instances().snapshots().restore(&made.id, VM_ID, &paged(&waiting, &pager), call);
    waiting.assert_ends();
    assert!(vm.ticks().iter().all(|tick| tick.wrong == 0), "it never counted on wrong memory");
    assert!(pager.metrics().unwrap().last_error.is_some_and(|why| why.contains("damaged")));
}

pub fn a_cloud_hypervisor_without_shared_memory_takes_it_from_no_pager() {
    let root = directory();
    let compression = CompressionConfig::with("zstd", None);
    let (vm, hm, made, _) = captured_and_gone(root.path(), 64, false, compression);
    let pager = hm.snapshots().serve_memory(&made.id, &ServeMemory::default()).unwrap();
    let program = cloud_hypervisor::program().expect("asked for before");
    let waiting = Vm::start(&program, &root.path().join("second"));
    let before = fs::read(vm.directory().join("disk.raw")).unwrap();
    let request = paged(&waiting, &pager);
    let refused = hm.instances().snapshots().restore(&made.id, VM_ID, &request, Call::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::NotSupported, "{refused}");
    assert!(refused.message().contains("shared"), "{refused}");
    assert!(fs::read(vm.directory().join("disk.raw")).unwrap() == before, "nothing was touched");
}

pub fn a_cloud_hypervisor_that_would_die_of_a_migration_is_captured_through_a_file() {
    let root = directory();
    let program = cloud_hypervisor::program().expect("asked for before");
    let vm = Vm::boot(&program, &root.path().join("first"), 64, true);
    let hm = open(root.path(), &vm, true);
    let request = standby(Some(CompressionConfig::with("zstd", Some(1))));
    let made = hm.instances().snapshots().create(VM_ID, &request, Call::default()).unwrap();
    assert_eq!(vm.state(), "Running");
    vm.tick_after(vm.last_tick().ticks);
    let made = hm.snapshots().wait(&made.id, Call::default()).unwrap();
    assert_eq!(made.compression_state, Some(CompressionState::Compressed));
}

pub fn a_cancelled_offload_lets_the_vm_run_and_can_be_repeated() {
    let root = directory();
    let program = cloud_hypervisor::program().expect("asked for before");
    let vm = Vm::boot_unfiltered(&program, &root.path().join("first"), 64);
    let hm = open(root.path(), &vm, true);
    vm.limit_files(NO_MEMORY_BYTES);
    let request = standby(Some(CompressionConfig::with("zstd", Some(1))));
    for phase in [Phase::Preparing, Phase::SavingMemory, Phase::Compressing, Phase::Syncing] {
        let watched = Call::default().progress(|progress| {
            if progress.phase == phase { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let refused = hm.instances().snapshots().create(VM_ID, &request, watched).unwrap_err();
        assert_eq!(refused.kind(), Kind::Cancelled, "in {}", phase.as_str());
        vm.wait_until("the VM runs again", |vm| vm.state() == "Running");
        vm.tick_after(vm.last_tick().ticks);
    }
    hm.instances().snapshots().create(VM_ID, &request, Call::default()).unwrap();
    assert_eq!(hm.snapshots().list(&Default::default()).unwrap().len(), 1);
    assert_nothing_left(hm.data_dir());
    drop(hm);

    // The limit is a real one: a VMM that writes the memory into a file is ended by it.
    let through_a_file = open(root.path(), &vm, false);
    through_a_file.instances().snapshots().create(VM_ID, &request, Call::default()).unwrap_err();
    assert_eq!(through_a_file.snapshots().list(&Default::default()).unwrap().len(), 1);
}
