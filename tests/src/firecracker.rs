//! A real VM: our guest in a Firecracker that serves the library and the test over one API socket.

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

/// The Firecracker to test with: `$HYPEMAN_TEST_FIRECRACKER`, else `firecracker`; `None` where there is none, or no
/// usable /dev/kvm.
pub fn program() -> Option<PathBuf> {
    let program = std::env::var_os("HYPEMAN_TEST_FIRECRACKER").unwrap_or_else(|| "firecracker".into());
    let runs = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has_kvm = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    (has_kvm && runs.is_ok_and(|status| status.success())).then(|| program.into())
}

/// A Firecracker process. Killed when dropped.
#[derive(Debug)]
pub struct Vm {
    process: Child,
    directory: PathBuf,
}

impl Vm {
    /// Boots the guest with `memory_mib`, in `directory` (made here), which has its socket, its serial log and its disk,
    /// and waits until it counts.
    pub fn boot(program: &Path, directory: &Path, memory_mib: u32) -> Self {
        Self::start(program, directory).boot_guest(memory_mib, false)
    }

    /// Boots the guest in a Firecracker that waits for a VM, which keeps a log of dirty pages where it `tracks_changes`.
    pub fn boot_guest(self, memory_mib: u32, tracks_changes: bool) -> Self {
        let (vm, directory) = (&self, &self.directory);
        let disk = directory.join("disk.raw");
        fs::write(&disk, [0xd1; 8192]).unwrap();
        File::options().write(true).open(&disk).unwrap().set_len(8 << 20).unwrap();
        let elf = guest::build(directory);
        give_to_owner(&self.directory);
        vm.put("/boot-source", &json!({ "kernel_image_path": elf }));
        vm.put(
            "/machine-config",
            &json!({
                "vcpu_count": 1, "mem_size_mib": memory_mib, "track_dirty_pages": tracks_changes
            }),
        );
        let drive =
            json!({ "drive_id": "d", "path_on_host": disk, "is_root_device": false, "is_read_only": false });
        vm.put("/drives/d", &drive);
        vm.put("/actions", &json!({ "action_type": "InstanceStart" }));
        vm.tick_after(0);
        self
    }

    /// Starts a Firecracker that waits for a VM.
    pub fn start(program: &Path, directory: &Path) -> Self {
        Self::start_by(Command::new(program), directory)
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
        let vm = Self::start_by(jailed(program, uid, staging, seen_as), directory);
        give_to_owner(directory);
        vm
    }

    fn start_by(mut program: Command, directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let process = program
            .arg("--api-sock")
            .arg(directory.join("api.sock"))
            .stdin(Stdio::null())
            .stdout(File::create(directory.join("serial.log")).unwrap())
            .stderr(File::create(directory.join("firecracker.log")).unwrap())
            .spawn()
            .unwrap();
        let vm = Self { process, directory: directory.to_owned() };
        vm.wait_until("firecracker listens", |vm| UnixStream::connect(vm.api_socket()).is_ok());
        vm
    }

    /// Loads what was captured into `image` (raw); the guest waits for [`Vm::resume`].
    pub fn load(&self, image: &Path) {
        let memory = json!({ "backend_type": "File", "backend_path": image.join("memory") });
        self.put("/snapshot/load", &json!({ "snapshot_path": image.join("state"), "mem_backend": memory }));
    }

    /// Writes all of guest memory, which must be paused, into `image`, as any other client of the API can.
    pub fn save_by_hand(&self, image: &Path) -> Vec<u8> {
        let (state, memory) = (image.join("state"), image.join("memory"));
        let body = json!({ "snapshot_type": "Full", "snapshot_path": state, "mem_file_path": memory });
        self.put("/snapshot/create", &body);
        fs::read(memory).unwrap()
    }

    /// Waits until the process ends by itself.
    pub fn assert_ends(&mut self) {
        let began = Instant::now();
        while self.runs() {
            assert!(began.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the process has not ended.
    pub fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// The directory of this VM: `disk.raw`, `serial.log` and the socket.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The socket of its API.
    pub fn api_socket(&self) -> PathBuf {
        self.directory.join("api.sock")
    }

    /// What Firecracker says the VM does: `Running`, `Paused`, ...
    pub fn state(&self) -> String {
        self.ask("GET", "/", None)["state"].as_str().expect("a state is text").to_owned()
    }

    /// Lets the guest run.
    pub fn resume(&self) {
        self.ask("PATCH", "/vm", Some(&json!({ "state": "Resumed" })));
    }

    /// Pauses the guest.
    pub fn pause(&self) {
        self.ask("PATCH", "/vm", Some(&json!({ "state": "Paused" })));
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

    /// Waits until `condition` holds.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !condition(self) {
            let log = fs::read_to_string(self.directory.join("firecracker.log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "waited in vain until {what}: {log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn put(&self, target: &str, body: &Value) {
        self.ask("PUT", target, Some(body));
    }

    fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> Value {
        api::ask(&self.api_socket(), method, target, body)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}
