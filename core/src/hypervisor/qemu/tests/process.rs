//! Real QEMUs under TCG, with two QMP sockets each.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// A QEMU process with two QMP sockets. It ends with this value.
pub(super) struct RealQemu {
    pub(super) process: Child,
    pub(super) root: TempDir,
}

impl RealQemu {
    pub(super) fn start(program: &Path, arguments: &[&str]) -> Self {
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

    pub(super) fn socket(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn connect(&self, name: &str) -> Qemu {
        Qemu::connect(&self.socket(name), &Limit::default()).unwrap()
    }

    pub(super) fn out(&self, name: &str) -> PathBuf {
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
pub(super) fn with_each_qemu(name: &str, test: impl Fn(&Path)) {
    let found = env::var_os("PATH").and_then(|all| {
        env::split_paths(&all).map(|one| one.join("qemu-system-x86_64")).find(|one| one.is_file())
    });
    let named = env::var_os("HYPEMAN_TEST_QEMU").map(PathBuf::from);
    if found.is_none() && named.is_none() {
        let required =
            env::var("HYPEMAN_REQUIRE").is_ok_and(|all| all.split(',').any(|one| one.trim() == "qemu"));
        assert!(!required, "{name} needs qemu-system-x86_64: install the package qemu-system-x86");
        println!("SKIP {name}: there is no qemu-system-x86_64");
        return;
    }
    for program in found.iter().chain(&named) {
        test(program);
    }
}

pub(super) fn ask(vm: &mut Qemu, command: &str, arguments: Value) -> Value {
    vm.qmp.ask(command, arguments, &Limit::default()).unwrap()
}
