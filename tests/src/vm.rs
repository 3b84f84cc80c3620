//! A real VM: our guest under QEMU, with a monitor for the library and one for the test.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::guest;
use crate::qmp::Qmp;

/// Guest memory of each VM, in MiB.
pub const MEMORY_MIB: u32 = 64;

// Generous: emulation on a busy machine, not a claim of speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The QEMU to test with: `$HYPEMAN_TEST_QEMU`, else `qemu-system-x86_64`; `None` where there is none.
pub fn qemu() -> Option<OsString> {
    let qemu = std::env::var_os("HYPEMAN_TEST_QEMU").unwrap_or_else(|| "qemu-system-x86_64".into());
    let runs = Command::new(&qemu).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    runs.is_ok_and(|status| status.success()).then_some(qemu)
}

/// Whether that QEMU writes memory page by page to fixed places (mapped-ram), as those from 9.0 on do.
pub fn writes_mapped_ram() -> bool {
    let said = qemu().and_then(|qemu| Command::new(qemu).arg("--version").output().ok());
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major =
        said.split("version ").nth(1).and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major >= 9)
}

/// A line that the guest prints as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick {
    /// Ticks since boot.
    pub ticks: u32,
    /// Dwords of its pattern that the guest found wrong.
    pub wrong: u32,
}

/// The machine that a QEMU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Devices on a PCI bus.
    Pc,
    /// Devices at fixed addresses, and no firmware to speak of.
    Microvm,
}

impl Machine {
    fn name(self) -> &'static str {
        match self {
            Self::Pc => "pc",
            Self::Microvm => "microvm",
        }
    }

    fn disk(self) -> &'static str {
        match self {
            Self::Pc => "virtio-blk-pci,drive=disk",
            Self::Microvm => "virtio-blk-device,drive=disk",
        }
    }
}

/// A QEMU process with our guest in it. Killed when dropped.
#[derive(Debug)]
pub struct Vm {
    machine: Machine,
    process: Child,
    directory: PathBuf,
    control: Qmp,
}

impl Vm {
    /// Boots the guest, with `directory` (made here) for its sockets, its serial log and its disk, and waits until
    /// it counts.
    pub fn boot(qemu: &OsStr, directory: &Path) -> Self {
        Self::boot_on(qemu, Machine::Pc, directory)
    }

    /// As [`Vm::boot`], on such a machine.
    pub fn boot_on(qemu: &OsStr, machine: Machine, directory: &Path) -> Self {
        let vm = Self::start(qemu, machine, directory, &[]);
        vm.tick_after(0);
        vm
    }

    /// Starts a second QEMU of the same shape and loads `memory`, a QEMU image in either form, into it; the guest waits for
    /// [`Vm::resume`].
    pub fn load(qemu: &OsStr, machine: Machine, directory: &Path, memory: &Path) -> Self {
        let mut vm = Self::start(qemu, machine, directory, &["-incoming", "defer"]);
        assert!(!memory.to_str().expect("a test's path is text").contains(['\'', ',']));
        let mut uri = format!("exec:cat '{}'", memory.display());
        // A capability that the image was written with is named at its beginning.
        let mut head = [0; 128];
        fs::File::open(memory).unwrap().read_exact(&mut head).unwrap();
        if memmem::find(&head, b"mapped-ram").is_some() {
            let capability = json!([{"capability": "mapped-ram", "state": true}]);
            vm.control.run("migrate-set-capabilities", json!({"capabilities": capability}));
            uri = format!("file:{}", memory.display());
        }
        vm.control.run("migrate-incoming", json!({"uri": uri}));
        vm.wait_until("the captured memory is loaded", |vm| vm.control.status() != "inmigrate");
        vm
    }

    /// Starts a QEMU of the same shape that waits for an image.
    pub fn wait(qemu: &OsStr, directory: &Path) -> Self {
        Self::start(qemu, Machine::Pc, directory, &["-incoming", "defer"])
    }

    fn start(qemu: &OsStr, machine: Machine, directory: &Path, more: &[&str]) -> Self {
        fs::create_dir_all(directory).unwrap();
        let disk = directory.join("disk.raw");
        if !disk.exists() {
            fs::write(&disk, [0xd1; 8192]).unwrap();
            fs::File::options().write(true).open(&disk).unwrap().set_len(8 << 20).unwrap();
        }
        let elf = guest::build(directory.parent().expect("a VM's directory has a parent"));
        let monitor = |name: &str| format!("unix:{},server=on,wait=off", directory.join(name).display());
        let process = Command::new(qemu)
            .args([
                "-accel",
                "tcg",
                "-machine",
                machine.name(),
                "-cpu",
                "qemu64",
                "-m",
                &MEMORY_MIB.to_string(),
            ])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-qmp", &monitor("qmp.sock"), "-qmp", &monitor("control.sock")])
            .args(["-chardev", &format!("file,id=serial,path={}", directory.join("serial.log").display())])
            .args(["-serial", "chardev:serial"])
            .args(["-blockdev", &format!("driver=file,node-name=disk,filename={}", disk.display())])
            .args(["-device", machine.disk()])
            .arg("-kernel")
            .arg(elf)
            .args(more)
            .stdin(Stdio::null())
            .stderr(fs::File::create(directory.join("qemu.log")).unwrap())
            .spawn()
            .unwrap();
        let control = directory.join("control.sock");
        let began = Instant::now();
        let control = loop {
            match Qmp::connect(&control) {
                Ok(control) => break control,
                Err(e) => assert!(began.elapsed() < PATIENCE, "QEMU: {e}: {}", log_of(directory)),
            }
            thread::sleep(Duration::from_millis(5));
        };
        Self { machine, process, directory: directory.to_owned(), control }
    }

    /// The machine that it is.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The directory of this VM: `disk.raw`, `serial.log` and the sockets.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The monitor that is left to the library.
    pub fn api_socket(&self) -> PathBuf {
        self.directory.join("qmp.sock")
    }

    /// The monitor of the test.
    pub fn control(&mut self) -> &mut Qmp {
        &mut self.control
    }

    /// What QEMU says the VM does: `running`, `paused`, ...
    pub fn status(&mut self) -> String {
        self.control.status()
    }

    /// Lets the guest run.
    pub fn resume(&mut self) {
        self.control.run("cont", json!({}));
    }

    /// Pauses the guest.
    pub fn pause(&mut self) {
        self.control.run("stop", json!({}));
    }

    /// Sends a signal to the QEMU process itself.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("a pid is an i32");
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Ends the QEMU process with SIGKILL, even where it is stopped.
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
        let began = Instant::now();
        loop {
            if let Some(tick) = self.ticks().into_iter().find(|tick| tick.ticks > ticks) {
                return tick;
            }
            assert!(began.elapsed() < PATIENCE, "the guest does not count: {}", log_of(&self.directory));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until `condition` holds.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !condition(self) {
            assert!(began.elapsed() < PATIENCE, "waited in vain until {what}: {}", log_of(&self.directory));
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The ticks in a serial log, as far as its lines are whole.
pub fn ticks_of(serial: &Path) -> Vec<Tick> {
    let serial = fs::read_to_string(serial).unwrap_or_default();
    let whole = serial.rfind('\n').map_or("", |end| &serial[..end]);
    whole.lines().filter_map(tick_of).collect()
}

fn tick_of(line: &str) -> Option<Tick> {
    let (ticks, wrong) = line.strip_prefix("T=")?.split_once(" V=")?;
    if ticks.len() != 8 || wrong.len() != 8 {
        return None;
    }
    Some(Tick { ticks: u32::from_str_radix(ticks, 16).ok()?, wrong: u32::from_str_radix(wrong, 16).ok()? })
}

fn log_of(directory: &Path) -> String {
    fs::read_to_string(directory.join("qemu.log")).unwrap_or_default()
}
