//! The driver against a real QEMU under TCG; its firmware is guest enough here.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use super::*;
use crate::error::Kind;
use crate::hypervisor::RunState;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A QEMU process with two QMP sockets. It ends with this value.
struct RealQemu {
    process: Child,
    root: TempDir,
}

impl RealQemu {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args([
            "-machine",
            "q35,accel=tcg",
            "-m",
            "64M",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ]);
        for name in ["ours", "other"] {
            let path = root.path().join(name);
            command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", path.display()));
        }
        let process = command.args(arguments).stderr(Stdio::null()).spawn().unwrap();
        let mut made = Self { process, root };
        while Qemu::connect(&made.socket("ours"), &Limit::default()).is_err() {
            assert_eq!(made.process.try_wait().unwrap(), None, "QEMU ended before it listened");
            thread::sleep(Duration::from_millis(20));
        }
        made
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn connect(&self, name: &str) -> Qemu {
        Qemu::connect(&self.socket(name), &Limit::default()).unwrap()
    }

    fn out(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for RealQemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs `test` with each QEMU that there is: Debian's, and the one that HYPEMAN_TEST_QEMU names.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
fn with_each_qemu(name: &str, test: impl Fn(&Path)) {
    let found = env::var_os("PATH").and_then(|all| {
        env::split_paths(&all).map(|one| one.join("qemu-system-x86_64")).find(|one| one.is_file())
    });
    let named = env::var_os("HYPEMAN_TEST_QEMU").map(PathBuf::from);
    if found.is_none() && named.is_none() {
        let required = env::var("HYPEMAN_REQUIRE").is_ok_and(|all| all.contains("qemu"));
        assert!(!required, "{name} needs qemu-system-x86_64: install the package qemu-system-x86");
        println!("SKIP {name}: there is no qemu-system-x86_64");
        return;
    }
    for program in found.iter().chain(&named) {
        test(program);
    }
}

fn ask(vm: &mut Qemu, command: &str, arguments: Value) -> Value {
    vm.qmp.ask(command, arguments, &Limit::default()).unwrap()
}

/// The settings of migrations that this driver touches.
fn settings(vm: &mut Qemu) -> (Value, Value) {
    let capabilities = ask(vm, "query-migrate-capabilities", json!({}));
    let parameters = ask(vm, "query-migrate-parameters", json!({}));
    (capabilities, parameters["max-bandwidth"].clone())
}

#[test]
fn a_running_vm_is_captured_and_runs_on_with_its_settings_as_they_were() {
    with_each_qemu("a_running_vm_is_captured", |program| {
        let qemu = RealQemu::start(program, &[]);
        let limit = Limit::default();
        let mut other = qemu.connect("other");
        let mut vm = qemu.connect("ours");
        assert_eq!(vm.peer().pid, i32::try_from(qemu.process.id()).unwrap());
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);
        let before = settings(&mut other);
        let has_mapped_ram = before.0.to_string().contains("mapped-ram");

        for (vendor_forms_only, name) in [(true, "vendor"), (false, "any"), (false, "again")] {
            vm.prepare(&limit).unwrap();
            vm.pause(&limit).unwrap();
            assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: false });
            let out = qemu.out(name);
            let (captured, progress) = capture(&mut vm, &out, vendor_forms_only).unwrap();
            assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: true });
            vm.resume().unwrap();
            assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);

            let mapped = has_mapped_ram && !vendor_forms_only;
            assert_eq!(captured.memory_format, if mapped { "qemu-mapped-ram" } else { "qemu-stream" });
            let memory = fs::read(out.join("memory")).unwrap();
            assert!(memory.starts_with(b"QEVM"), "{:?}", &memory[..16]);
            assert!(!mapped || memory.len() > 64 << 20, "each page has its place: {}", memory.len());
            assert!(progress.0 == progress.1 && progress.1 >= 64 << 20, "{progress:?}");
            assert_eq!(settings(&mut other), before);
            assert_eq!(ask(&mut other, "query-fdsets", json!({})), json!([]));
            load(program, &out.join("memory"), mapped);
        }
    });
}

/// Loads `memory` into a second QEMU and lets it run.
fn load(program: &Path, memory: &Path, mapped: bool) {
    let qemu = RealQemu::start(program, &["-incoming", "defer"]);
    let mut vm = qemu.connect("ours");
    let mut uri = format!("exec:cat '{}'", memory.display());
    if mapped {
        let capability = json!([{ "capability": "mapped-ram", "state": true }]);
        ask(&mut vm, "migrate-set-capabilities", json!({ "capabilities": capability }));
        uri = format!("file:{}", memory.display());
    }
    ask(&mut vm, "migrate-incoming", json!({ "uri": uri }));
    // A memory that cannot be loaded ends this QEMU, and with it the conversation.
    while ask(&mut vm, "query-migrate", json!({}))["status"] != "completed" {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Paused { after_capture: false });
    vm.resume().unwrap();
}

#[test]
fn a_vm_that_stands_after_its_capture_is_not_captured_again_from_there() {
    with_each_qemu("a_vm_that_stands_after_its_capture", |program| {
        let qemu = RealQemu::start(program, &[]);
        let limit = Limit::default();
        let mut vm = qemu.connect("ours");
        vm.pause(&limit).unwrap();
        capture(&mut vm, &qemu.out("first"), true).unwrap();
        assert_eq!(vm.prepare(&limit).unwrap_err().kind(), Kind::InvalidState);
        vm.resume().unwrap();
        vm.prepare(&limit).unwrap();
    });
}

#[test]
fn what_qemu_cannot_save_is_refused_before_the_pause_in_its_own_words() {
    with_each_qemu("what_qemu_cannot_save", |program| {
        let disk = "driver=null-co,node-name=n,read-zeroes=on";
        let qemu = RealQemu::start(program, &["-blockdev", disk, "-device", "nvme,serial=s,drive=n"]);
        let mut vm = qemu.connect("ours");
        let error = vm.prepare(&Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::NotSupported);
        assert!(error.message().contains("nvme"), "{error}");
        assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Running);
    });
}

#[test]
fn a_vm_that_was_never_started_says_so() {
    with_each_qemu("a_vm_that_was_never_started", |program| {
        let qemu = RealQemu::start(program, &["-S"]);
        assert_eq!(qemu.connect("ours").run_state(&Limit::default()).unwrap(), RunState::NotStarted);
        let qemu = RealQemu::start(program, &["-incoming", "defer"]);
        assert_eq!(qemu.connect("ours").run_state(&Limit::default()).unwrap(), RunState::NotStarted);
    });
}

#[test]
fn a_migration_of_someone_else_is_left_alone_until_settling_cancels_it() {
    with_each_qemu("a_migration_of_someone_else", |program| {
        let qemu = RealQemu::start(program, &[]);
        let limit = Limit::default();
        let mut other = qemu.connect("other");
        let mut vm = qemu.connect("ours");
        ask(&mut other, "migrate-set-parameters", json!({ "max-bandwidth": 1 }));
        ask(&mut other, "migrate", json!({ "uri": "exec:cat > /dev/null" }));
        assert_eq!(vm.prepare(&limit).unwrap_err().kind(), Kind::Busy);
        vm.settle().unwrap();
        assert_eq!(ask(&mut other, "query-migrate", json!({}))["status"], "cancelled");
        vm.prepare(&limit).unwrap();
        assert_eq!(vm.run_state(&limit).unwrap(), RunState::Running);
    });
}

#[test]
fn a_cancelled_capture_returns_at_once_and_its_migration_is_ended_by_the_resume() {
    with_each_qemu("a_cancelled_capture", |program| {
        let qemu = RealQemu::start(program, &[]);
        let mut vm = qemu.connect("ours");
        let before = settings(&mut vm);
        vm.pause(&Limit::default()).unwrap();
        let cancel = Cancel::new();
        let call = Call::default().cancel(&cancel);
        let out = qemu.out("cancelled");
        let directory_fd = File::open(&out).unwrap();
        let target = CaptureTarget { directory: &out, directory_fd: &directory_fd, vendor_forms_only: true };
        let outcome = vm.capture(&target, call.limit(), &mut |_, _| {
            cancel.cancel();
            call.check()
        });
        assert_eq!(outcome.unwrap_err().kind(), Kind::Cancelled);
        vm.resume().unwrap();
        assert_eq!(vm.run_state(&Limit::default()).unwrap(), RunState::Running);
        assert_eq!(settings(&mut vm), before);
        vm.pause(&Limit::default()).unwrap();
        capture(&mut vm, &qemu.out("next"), true).unwrap();
        vm.resume().unwrap();
    });
}

#[test]
fn settings_of_a_capture_whose_process_was_killed_are_undone_by_settling() {
    with_each_qemu("settings_of_a_capture_whose_process_was_killed", |program| {
        let qemu = RealQemu::start(program, &[]);
        let mut vm = qemu.connect("ours");
        let before = settings(&mut vm);
        let plan = vm.plan(&Limit::default()).unwrap();
        vm.borrow_settings(&plan, crate::hypervisor::qemu::settings::Form::MappedRam, &Limit::default())
            .unwrap();
        let file =
            crate::sys::disk::create_for_writing(&File::open(qemu.root.path()).unwrap(), "memory").unwrap();
        vm.lend(&file, &plan, &Limit::default()).unwrap();
        assert_ne!(settings(&mut vm), before);
        let mut other = qemu.connect("other");
        drop(vm);
        let mut vm = qemu.connect("ours");
        vm.settle().unwrap();
        assert_eq!(settings(&mut vm), before);
        assert_eq!(ask(&mut other, "query-fdsets", json!({})), json!([]));
    });
}
