//! The driver against a real cloud-hypervisor with our guest, which counts, and checks its memory.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::error::Kind;
use crate::hypervisor::{RunState, testing};

/// Where the guest counts, and where its pattern begins (tests/guest/guest.S); one range of memory starts at zero.
const STATE_AT: usize = 0x20_0000;
const PATTERN_AT: usize = 0x100_0000;

const MEMORY_BYTES: u64 = 128 << 20;

/// Generous: a nested guest on a busy machine, not a claim of speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A cloud-hypervisor process without a VM. It ends with this value.
struct RealCh {
    process: Child,
    root: PathBuf,
}

impl RealCh {
    fn start(program: &Path, root: PathBuf) -> Self {
        fs::create_dir(&root).unwrap();
        let mut process = Command::new(program)
            .arg("--api-socket")
            .arg(root.join("api.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(root.join("vmm.log")).unwrap())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while CloudHypervisor::connect(&root.join("api.sock"), &Limit::default()).is_err() {
            assert_eq!(process.try_wait().unwrap(), None, "cloud-hypervisor ended before it listened");
            assert!(began.elapsed() < PATIENCE, "cloud-hypervisor does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Self { process, root }
    }

    fn connect(&self) -> CloudHypervisor {
        CloudHypervisor::connect(&self.root.join("api.sock"), &Limit::default()).unwrap()
    }

    /// The ticks and the wrong dwords of the last whole line that the guest printed.
    fn last_tick(&self) -> Option<(u32, u32)> {
        let serial = fs::read_to_string(self.root.join("serial.log")).unwrap_or_default();
        let whole = &serial[..serial.rfind('\n')?];
        let (ticks, wrong) = whole.lines().next_back()?.trim_end().strip_prefix("T=")?.split_once(" V=")?;
        Some((u32::from_str_radix(ticks, 16).ok()?, u32::from_str_radix(wrong, 16).ok()?))
    }

    /// Waits until the guest has counted beyond `ticks`.
    fn tick_after(&self, ticks: u32) -> (u32, u32) {
        let began = Instant::now();
        loop {
            if let Some(tick) = self.last_tick().filter(|tick| tick.0 > ticks) {
                return tick;
            }
            assert!(began.elapsed() < PATIENCE, "the guest does not count");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for RealCh {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A real VM that counts, and where others may be made.
struct Scene {
    ch: RealCh,
    program: PathBuf,
    root: TempDir,
}

impl Scene {
    /// Boots the guest with a disk, and memory of its own or shared. `None` where no VM can be had.
    fn boot(test: &str, shared: bool, memory_bytes: u64) -> Option<Self> {
        let program = testing::real("cloud-hypervisor", "HYPEMAN_TEST_CLOUD_HYPERVISOR", test)?;
        let root = tempfile::tempdir().unwrap();
        let ch = RealCh::start(&program, root.path().join("a"));
        fs::write(ch.root.join("disk.raw"), vec![0xd1; 1 << 20]).unwrap();
        let config = json!({
            "payload": { "kernel": testing::guest(root.path()) },
            "memory": { "size": memory_bytes, "shared": shared },
            "cpus": { "boot_vcpus": 1, "max_vcpus": 1 },
            "disks": [{ "path": ch.root.join("disk.raw"), "image_type": "Raw" }],
            "serial": { "mode": "File", "file": ch.root.join("serial.log") },
            "console": { "mode": "Off" },
        });
        let vm = ch.connect();
        vm.api.act("vm.create", Some(&config), &Limit::default()).unwrap();
        vm.api.act("vm.boot", None, &Limit::default()).unwrap();
        ch.tick_after(0);
        Some(Self { ch, program, root })
    }

    fn out(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// A VMM in the directory `name` that has the disk, but no VM.
    fn second(&self, name: &str) -> RealCh {
        let ch = RealCh::start(&self.program, self.root.path().join(name));
        fs::copy(self.ch.root.join("disk.raw"), ch.root.join("disk.raw")).unwrap();
        ch
    }
}

fn ticks_of(memory: &[u8]) -> u32 {
    assert_eq!(&memory[STATE_AT..STATE_AT + 8], b"HYPEGST1");
    u32::from_le_bytes(memory[STATE_AT + 8..STATE_AT + 12].try_into().unwrap())
}

fn assert_pattern(memory: &[u8]) {
    for (dword, address) in
        memory[PATTERN_AT..PATTERN_AT + (1 << 20)].chunks(4).zip((PATTERN_AT as u32..).step_by(4))
    {
        let expected = address.wrapping_mul(0x9e37_79b1) ^ 0x5a5a_1234;
        assert_eq!(dword, expected.to_le_bytes(), "at {address:x}");
    }
}

#[test]
fn a_guest_counts_on_where_it_was_captured_and_where_it_is_loaded() {
    for shared in [false, true] {
        let test = "a_guest_counts_on";
        let Some(scene) = Scene::boot(test, shared, MEMORY_BYTES) else { return };
        let limit = Limit::default();
        let mut vm = scene.ch.connect();
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);
        let before = scene.ch.last_tick().unwrap();
        let snapshot = scene.out("snapshot");
        let captured = walk(&mut vm, &snapshot, &limit).unwrap();
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: false });
        vm.resume().unwrap();
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);
        assert_eq!(captured.memory_file, Some("memory-ranges"));
        let metadata = snapshot.join("memory-ranges").metadata().unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o777), (MEMORY_BYTES, 0o600));
        let memory = fs::read(snapshot.join("memory-ranges")).unwrap();
        let ticks = ticks_of(&memory);
        assert!(ticks >= before.0);
        assert_pattern(&memory);
        assert_eq!(scene.ch.tick_after(ticks + 8).1, 0, "the source goes on");

        for (name, how) in [("copied", MemoryBackend::File), ("on demand", MemoryBackend::OnDemand)] {
            let second = scene.second(name);
            let mut vm = second.connect();
            assert_eq!(vm.run_state(&limit).unwrap(), RunState::NotStarted);
            let opened = File::open(&snapshot).unwrap();
            let stay = source(&snapshot, &opened, how);
            let error = load(&mut vm, &stay).unwrap_err();
            assert_eq!(error.kind(), Kind::Busy, "the source has the disk: {error}");
            let moved = [(scene.ch.root.clone(), second.root.clone())];
            load(&mut vm, &LoadSource { moved: &moved, ..stay }).unwrap();
            assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: false });
            assert_eq!(second.last_tick(), None);
            vm.resume().unwrap();
            let went_on = second.tick_after(0);
            assert!((ticks..ticks + 400).contains(&went_on.0), "{went_on:?} after {ticks}");
            assert_eq!(second.tick_after(went_on.0 + 256).1, 0, "the guest found its memory as it was");
        }
        assert_eq!(fs::read_dir(scene.root.path()).unwrap().filter(is_staging).count(), 0);
        assert!(
            fs::read(snapshot.join("memory-ranges")).unwrap() == memory,
            "a load leaves its source alone"
        );
    }
}

fn is_staging(entry: &std::io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.')
}

#[test]
fn a_client_that_gives_up_in_a_snapshot_has_the_guest_run_again_when_it_has_ended() {
    let Some(scene) = Scene::boot("a_client_that_gives_up", false, 1 << 30) else { return };
    let mut vm = scene.ch.connect();
    let cancel = Cancel::new();
    let call = Call::default().cancel(&cancel);
    vm.prepare(&Limit::default()).unwrap();
    vm.pause(&Limit::default()).unwrap();
    let out = scene.out("snapshot");
    let opened = File::open(&out).unwrap();
    let target = CaptureTarget {
        directory: &out,
        directory_fd: &opened,
        seen_as: &out,
        over_last: false,
        vendor_forms_only: true,
    };
    // At the first report of progress, with the snapshot under way.
    let outcome = vm.capture(&target, call.limit(), &mut |done, total| {
        assert!(done <= total);
        cancel.cancel();
        call.check()
    });
    assert_eq!(outcome.unwrap_err().kind(), Kind::Cancelled);
    vm.settle().unwrap();
    assert_eq!(out.join("memory-ranges").metadata().unwrap().len(), 1 << 30, "it went on to its end");
    assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Paused { after_capture: false });
    vm.resume().unwrap();
    scene.ch.tick_after(scene.ch.last_tick().unwrap().0 + 8);
}

#[test]
fn what_the_real_one_refuses_is_told_in_its_words() {
    let Some(scene) = Scene::boot("what_the_real_one_refuses", false, MEMORY_BYTES) else { return };
    let limit = Limit::default();
    let mut vm = scene.ch.connect();
    let error = vm.api.act("vm.resume", None, &limit).unwrap_err();
    assert!(error.message().contains("InvalidStateTransition(Running, Running)"), "{error}");
    let error = vm.api.act("vm.pause", Some(&json!({})), &limit).unwrap_err();
    assert!(error.message().ends_with("refused vm.pause: Bad Request"), "{error}");
    let out = scene.out("taken");
    fs::write(out.join("config.json"), "of someone else").unwrap();
    let error = walk(&mut vm, &out, &limit).unwrap_err();
    assert!(error.message().contains("File exists"), "{error}");
    vm.settle().unwrap();
    vm.resume().unwrap();
    assert_eq!(fs::read(out.join("config.json")).unwrap(), b"of someone else");

    // A VM that is still being restored on demand is refused before its pause.
    let snapshot = scene.out("snapshot");
    walk(&mut vm, &snapshot, &limit).unwrap();
    let second = scene.second("b");
    let mut vm = second.connect();
    let opened = File::open(&snapshot).unwrap();
    let moved = [(scene.ch.root.clone(), second.root.clone())];
    load(&mut vm, &LoadSource { moved: &moved, ..source(&snapshot, &opened, MemoryBackend::OnDemand) })
        .unwrap();
    vm.resume().unwrap();
    let began = Instant::now();
    while let Err(error) = vm.prepare(&limit) {
        assert_eq!(error.kind(), Kind::Busy, "{error}");
        assert!(error.message().contains("still in progress"), "{error}");
        assert!(began.elapsed() < PATIENCE, "{error}");
        thread::sleep(Duration::from_millis(10));
    }

    // A cut memory, which cloud-hypervisor itself would load with zeros, is not loaded.
    let memory = File::options().write(true).open(snapshot.join("memory-ranges")).unwrap();
    memory.set_len(MEMORY_BYTES / 8).unwrap();
    let third = scene.second("c");
    let error = load(&mut third.connect(), &source(&snapshot, &opened, MemoryBackend::File)).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert_eq!(third.connect().run_state(&limit).unwrap(), RunState::NotStarted);
}
