//! The driver against the Firecracker that `HYPEMAN_TEST_FIRECRACKER` or the PATH names, with our own guest in it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::state_file::{self, tests::sealed};
use super::*;
use crate::error::Kind;
use crate::hypervisor::{RunState, testing};

/// Between two looks at what a process is expected to do.
const LOOK: Duration = Duration::from_millis(10);

/// A real Firecracker, ended with this value.
struct RealFirecracker {
    process: Child,
    root: TempDir,
}

impl RealFirecracker {
    fn start(program: &Path) -> Self {
        let root = tempfile::tempdir().unwrap();
        let process = Command::new(program)
            .arg("--api-sock")
            .arg(root.path().join("api"))
            .stdin(Stdio::null())
            .stdout(File::create(root.path().join("serial")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut made = Self { process, root };
        while Firecracker::connect(&made.socket(), &Limit::default()).is_err() {
            assert_eq!(made.process.try_wait().unwrap(), None, "firecracker ended before it listened");
            thread::sleep(LOOK);
        }
        made
    }

    /// Boots our guest and waits until it counts.
    fn boot(program: &Path, memory_mib: u64) -> Self {
        let made = Self::start(program);
        let vm = made.connect();
        put(&vm, "/boot-source", &json!({ "kernel_image_path": build_guest(made.root.path()) }));
        put(&vm, "/machine-config", &json!({ "vcpu_count": 1, "mem_size_mib": memory_mib }));
        put(&vm, "/actions", &json!({ "action_type": "InstanceStart" }));
        made.tick_after(0);
        made
    }

    fn socket(&self) -> PathBuf {
        self.root.path().join("api")
    }

    fn connect(&self) -> Firecracker {
        Firecracker::connect(&self.socket(), &Limit::default()).unwrap()
    }

    fn out(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// What the guest has printed: its ticks, and how much of its memory it found wrong by then.
    fn ticks(&self) -> Vec<(u64, u64)> {
        let serial = fs::read_to_string(self.root.path().join("serial")).unwrap_or_default();
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8);
        serial
            .lines()
            .filter_map(|line| line.strip_prefix("T=")?.split_once(" V="))
            .filter_map(|(ticks, wrong)| Some((number(ticks)?, number(wrong)?)))
            .collect()
    }

    /// Waits until the guest has counted beyond `ticks`.
    fn tick_after(&self, ticks: u64) -> (u64, u64) {
        loop {
            if let Some(&found) = self.ticks().iter().find(|found| found.0 > ticks) {
                return found;
            }
            thread::sleep(LOOK);
        }
    }

    fn last_tick(&self) -> u64 {
        self.ticks().last().map_or(0, |last| last.0)
    }
}

impl Drop for RealFirecracker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn put(vm: &Firecracker, target: &str, body: &Value) {
    vm.put(target, body, &Limit::default()).unwrap();
}

fn build_guest(directory: &Path) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guest");
    let elf = directory.join("guest.elf");
    let built = Command::new("gcc")
        .args(["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"])
        .args(["-Wl,-z,max-page-size=4096", "-Wl,-n", "-T"])
        .args([sources.join("guest.ld"), sources.join("guest.S")])
        .arg("-o")
        .arg(&elf)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    elf
}

/// The ticks that a memory file holds.
fn captured_ticks(memory: &Path) -> u64 {
    let memory = fs::read(memory).unwrap();
    let at = memory.windows(8).position(|window| window == b"HYPEGST1").unwrap();
    u64::from_le_bytes(memory[at + 8..at + 16].try_into().unwrap())
}

fn with_firecracker(name: &str, test: impl Fn(&Path)) {
    if let Some(program) = testing::real("firecracker", "HYPEMAN_TEST_FIRECRACKER", name) {
        test(&program);
    }
}

#[test]
fn a_running_vm_is_captured_runs_on_and_goes_on_in_a_second_firecracker() {
    with_firecracker("a_running_vm_is_captured", |program| {
        let limit = Limit::default();
        let first = RealFirecracker::boot(program, 64);
        let mut vm = first.connect();
        assert_eq!(vm.peer().pid, i32::try_from(first.process.id()).unwrap());
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);
        let before = first.last_tick();
        let out = first.out("image");
        let captured = walk(&mut vm, &out, &limit).unwrap();
        assert_eq!((captured.memory_file, captured.memory_format), (Some("memory"), "raw"));
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: false });
        vm.resume().unwrap();
        let captured = captured_ticks(&out.join("memory"));
        assert!(captured >= before && first.tick_after(captured).1 == 0, "the source runs on");
        assert_eq!(fs::metadata(out.join("memory")).unwrap().len(), 64 << 20);
        let head = state_file::examine(&fs::read(out.join("state")).unwrap()).unwrap();
        assert_eq!(head.arch, env::consts::ARCH);
        assert!(head.format.is_some());
        walk(&mut vm, &first.out("again"), &limit).unwrap();
        vm.resume().unwrap();

        let second = RealFirecracker::start(program);
        let mut loaded = second.connect();
        load(&mut loaded, &out, &Wanted::default()).unwrap();
        assert_eq!(loaded.run_state(&limit).unwrap(), RunState::Paused { after_capture: false });
        assert_eq!(second.ticks(), [], "it does not run before it is told to");
        loaded.resume().unwrap();
        let went_on = second.tick_after(0).0;
        assert!(
            (captured..=captured + 16).contains(&went_on),
            "captured at {captured}, went on at {went_on}"
        );
        // By then it has looked at each page of its pattern.
        assert_eq!(second.tick_after(went_on + 256).1, 0);
        assert_eq!(load(&mut loaded, &out, &Wanted::default()).unwrap_err().kind(), Kind::InvalidState);
    });
}

#[test]
fn a_refused_load_leaves_a_firecracker_that_can_load() {
    with_firecracker("a_refused_load", |program| {
        let first = RealFirecracker::boot(program, 64);
        let mut vm = first.connect();
        let out = first.out("image");
        walk(&mut vm, &out, &Limit::default()).unwrap();
        let (state, memory) = (fs::read(out.join("state")).unwrap(), out.join("memory"));

        let second = RealFirecracker::start(program);
        let mut loaded = second.connect();
        let mut flipped = state.clone();
        flipped[5000] ^= 1;
        fs::write(out.join("state"), flipped).unwrap();
        assert_eq!(load(&mut loaded, &out, &Wanted::default()).unwrap_err().kind(), Kind::Corrupt);
        fs::write(out.join("state"), &state).unwrap();
        fs::rename(&memory, out.join("away")).unwrap();
        assert_eq!(load(&mut loaded, &out, &Wanted::default()).unwrap_err().kind(), Kind::Corrupt);
        fs::rename(out.join("away"), &memory).unwrap();
        load(&mut loaded, &out, &Wanted::default()).unwrap();
    });
}

#[test]
fn a_state_of_another_version_ends_firecracker_and_is_incompatible() {
    with_firecracker("a_state_of_another_version", |program| {
        let mut firecracker = RealFirecracker::start(program);
        let out = firecracker.out("image");
        fs::write(out.join("state"), sealed(b"not as this version has it")).unwrap();
        File::create(out.join("memory")).unwrap().set_len(64 << 20).unwrap();
        let error = load(&mut firecracker.connect(), &out, &Wanted::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Incompatible, "{error}");
        assert!(error.message().contains("Load snapshot error"), "{error}");
        assert!(!firecracker.process.wait().unwrap().success(), "as our words said");
    });
}

#[test]
fn a_paused_vm_is_captured_and_stays_paused() {
    with_firecracker("a_paused_vm_is_captured", |program| {
        let limit = Limit::default();
        let firecracker = RealFirecracker::boot(program, 64);
        let mut vm = firecracker.connect();
        vm.pause(&limit).unwrap();
        walk(&mut vm, &firecracker.out("image"), &limit).unwrap();
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: false });
        walk(&mut vm, &firecracker.out("again"), &limit).unwrap();
        let stood_at = firecracker.last_tick();
        vm.resume().unwrap();
        firecracker.tick_after(stood_at);
    });
}

#[test]
fn a_cancelled_capture_returns_at_once_and_the_guest_runs_when_it_is_settled() {
    with_firecracker("a_cancelled_capture", |program| {
        let firecracker = RealFirecracker::boot(program, 512);
        let mut vm = firecracker.connect();
        vm.prepare(&Limit::default()).unwrap();
        vm.pause(&Limit::default()).unwrap();
        let cancel = Cancel::new();
        let call = Call::default().cancel(&cancel);
        let out = firecracker.out("cancelled");
        let mut seen = 0;
        let outcome = with_target(&out, |target| {
            vm.capture(target, call.limit(), &mut |done, total| {
                assert_eq!(total, 512 << 20);
                seen = done;
                if done > 0 {
                    cancel.cancel();
                }
                call.check()
            })
        });
        assert_eq!(outcome.unwrap_err().kind(), Kind::Cancelled);
        assert!(seen < 512 << 20, "it was not done");
        vm.settle().unwrap();
        assert_eq!(fs::metadata(out.join("memory")).unwrap().len(), 512 << 20, "firecracker went on writing");
        vm.resume().unwrap();
        let stood_at = firecracker.last_tick();
        firecracker.tick_after(stood_at);
        walk(&mut vm, &firecracker.out("next"), &Limit::default()).unwrap();
        vm.resume().unwrap();
    });
}

#[test]
fn a_firecracker_that_was_never_started_has_nothing_to_capture() {
    with_firecracker("a_firecracker_that_was_never_started", |program| {
        let firecracker = RealFirecracker::start(program);
        let mut vm = firecracker.connect();
        assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::NotStarted);
        assert_eq!(vm.prepare(&Limit::default()).unwrap_err().kind(), Kind::InvalidState);
        let error = vm.pause(&Limit::default()).unwrap_err();
        assert!(error.message().contains("not supported before starting the microVM"), "{error}");
    });
}

#[test]
fn another_firecracker_at_the_same_socket_is_not_the_one_that_was_paused() {
    with_firecracker("another_firecracker_at_the_same_socket", |program| {
        let first = RealFirecracker::start(program);
        let second = RealFirecracker::start(program);
        let mut vm = first.connect();
        fs::rename(second.socket(), first.socket()).unwrap();
        assert_eq!(vm.resume().unwrap_err().kind(), Kind::InvalidState);
    });
}
