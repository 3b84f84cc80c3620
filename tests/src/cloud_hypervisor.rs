//! A real VM: our guest in a cloud-hypervisor that serves the library and the test over one API socket.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::jail::{give_to_owner, jailed, share_with_owner};
use crate::vm::{Tick, ticks_of};
use crate::{api, guest};

// Generous: a busy machine, not a claim of speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The cloud-hypervisor to test with: `$HYPEMAN_TEST_CLOUD_HYPERVISOR`, else `cloud-hypervisor`; `None` where there is
/// none, or no usable /dev/kvm.
pub fn program() -> Option<PathBuf> {
    let program =
        std::env::var_os("HYPEMAN_TEST_CLOUD_HYPERVISOR").unwrap_or_else(|| "cloud-hypervisor".into());
    let runs = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has_kvm = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    (has_kvm && runs.is_ok_and(|status| status.success())).then(|| program.into())
}

/// A cloud-hypervisor process. Killed when dropped.
#[derive(Debug)]
pub struct Vm {
    process: Child,
    directory: PathBuf,
    is_jailed: bool,
}

impl Vm {
    /// Boots the guest with `memory_mib`, in `directory` (made here), which has its socket, its serial log and its disk,
    /// and waits until it counts. Guest memory is anonymous, or a memfd where it `is_shared`.
    pub fn boot(program: &Path, directory: &Path, memory_mib: u64, is_shared: bool) -> Self {
        Self::start(program, directory).with_guest(memory_mib, is_shared)
    }

    /// As [`Vm::boot`] with shared memory, in a process without a filter of system calls: with one, those that have the C
    /// library of GNU may die when they migrate.
    pub fn boot_unfiltered(program: &Path, directory: &Path, memory_mib: u64) -> Self {
        Self::start_with(program, directory, &["--seccomp", "false"]).with_guest(memory_mib, true)
    }

    /// Boots the guest in a cloud-hypervisor that waits for a VM.
    pub fn with_guest(self, memory_mib: u64, is_shared: bool) -> Self {
        let (vm, directory) = (&self, &self.directory);
        let disk = directory.join("disk.raw");
        fs::write(&disk, [0xd1; 8192]).unwrap();
        File::options().write(true).open(&disk).unwrap().set_len(8 << 20).unwrap();
        let kernel = guest::build(directory);
        let serial = directory.join("serial.log");
        File::create(&serial).unwrap();
        if self.is_jailed {
            give_to_owner(directory);
        }
        let config = json!({
            "payload": { "kernel": kernel },
            "memory": { "size": memory_mib << 20, "shared": is_shared },
            "cpus": { "boot_vcpus": 1, "max_vcpus": 1 },
            "disks": [{ "path": disk, "image_type": "Raw" }],
            "serial": { "mode": "File", "file": serial },
            "console": { "mode": "Off" },
        });
        vm.put("vm.create", Some(&config));
        vm.put("vm.boot", None);
        vm.tick_after(0);
        self
    }

    /// Starts a cloud-hypervisor that waits for a VM.
    pub fn start(program: &Path, directory: &Path) -> Self {
        Self::start_with(program, directory, &[])
    }

    /// Starts one of user `uid`, in a mount namespace in which `staging` lies at `seen_as`, both directories. What lies in its
    /// directory, which is made, is `owner`'s. Only root can.
    pub fn start_jailed(
        program: &Path,
        directory: &Path,
        (uid, owner): (u32, u32),
        staging: &Path,
        seen_as: &Path,
    ) -> Self {
        share_with_owner(directory, uid, owner);
        let mut vm = Self::start_by(jailed(program, uid, staging, seen_as), directory, &[]);
        vm.is_jailed = true;
        give_to_owner(directory);
        vm
    }

    fn start_with(program: &Path, directory: &Path, more: &[&str]) -> Self {
        Self::start_by(Command::new(program), directory, more)
    }

    fn start_by(mut program: Command, directory: &Path, more: &[&str]) -> Self {
        fs::create_dir_all(directory).unwrap();
        let process = program
            .arg("--api-socket")
            .arg(directory.join("api.sock"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("vmm.log")).unwrap())
            .spawn()
            .unwrap();
        let vm = Self { process, directory: directory.to_owned(), is_jailed: false };
        vm.wait_until("cloud-hypervisor listens", |vm| UnixStream::connect(vm.api_socket()).is_ok());
        vm
    }

    /// Loads what was captured into `image` (raw), whose paths are to be found; the guest waits for [`Vm::resume`].
    pub fn load(&self, image: &Path) {
        let source = format!("file://{}", image.display());
        self.put("vm.restore", Some(&json!({ "source_url": source })));
    }

    /// Has it write the paused VM into `directory`.
    pub fn snapshot(&self, directory: &Path) {
        let destination = format!("file://{}", directory.display());
        self.put("vm.snapshot", Some(&json!({ "destination_url": destination })));
    }

    /// The directory of this VM: `disk.raw`, `serial.log` and the socket.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The socket of its API.
    pub fn api_socket(&self) -> PathBuf {
        self.directory.join("api.sock")
    }

    /// What cloud-hypervisor says the VM does: `Running`, `Paused`, ...
    pub fn state(&self) -> String {
        let info = api::ask(&self.api_socket(), "GET", "/api/v1/vm.info", None);
        info["state"].as_str().expect("a state is text").to_owned()
    }

    /// Lets the guest run.
    pub fn resume(&self) {
        self.put("vm.resume", None);
    }

    /// Pauses the guest.
    pub fn pause(&self) {
        self.put("vm.pause", None);
    }

    /// From now on, no file that the process writes becomes longer than `bytes`.
    pub fn limit_files(&self, bytes: u64) {
        let status = Command::new("prlimit")
            .args(["--pid", &self.process.id().to_string(), &format!("--fsize={bytes}")])
            .status();
        assert!(status.expect("prlimit is needed: apt-get install util-linux").success());
    }

    /// Sends a signal to the process itself.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("a pid is an i32");
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Ends the process with SIGKILL, even where it is stopped. Its socket file stays.
    pub fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Everything that the guest has counted so far, as far as its lines are whole.
    pub fn ticks(&self) -> Vec<Tick> {
        ticks_of(&self.directory.join("serial.log"))
    }

    /// The last tick that the guest has printed; zero before the first one.
    pub fn last_tick(&self) -> Tick {
        self.ticks().last().copied().unwrap_or(Tick { ticks: 0, wrong: 0 })
    }

    /// Waits until the guest has counted beyond `ticks`, and returns its first such line.
    pub fn tick_after(&self, ticks: u32) -> Tick {
        self.wait_until("the guest counts", |vm| vm.last_tick().ticks > ticks);
        self.ticks().into_iter().find(|tick| tick.ticks > ticks).expect("there was one")
    }

    /// The same of a fork, whose serial log is in `directory`.
    pub fn tick_in(&self, directory: &Path, ticks: u32) -> Tick {
        let beyond = || ticks_of(&directory.join("serial.log")).into_iter().find(|tick| tick.ticks > ticks);
        self.wait_until("the fork counts", |_| beyond().is_some());
        beyond().expect("there was one")
    }

    /// Waits until the process ends by itself.
    pub fn assert_ends(&mut self) {
        let began = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until `condition` holds.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !condition(self) {
            let log = fs::read_to_string(self.directory.join("vmm.log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "waited in vain until {what}: {log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn put(&self, action: &str, body: Option<&Value>) {
        api::ask(&self.api_socket(), "PUT", &format!("/api/v1/{action}"), body);
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}
