//! A VM under QEMU in a directory of its own. It ends with its [`Vm`], however the demo ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::qmp::{Monitor, quoted};
use super::serial::Serial;
use crate::Result;
use crate::program::program;

/// Guest memory, in MiB.
pub const MEMORY_MIB: u32 = 256;

const DISK_BYTES: u64 = 16 << 20;

/// What a VM boots.
pub struct Boot {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its root file system.
    pub initramfs: PathBuf,
}

/// A QEMU process.
pub struct Vm {
    process: Child,
    directory: PathBuf,
}

impl Vm {
    /// Boots a VM with an empty disk in `directory`.
    pub fn boot(directory: &Path, boot: &Boot) -> Result<Self> {
        fs::create_dir_all(directory.join("logs"))?;
        fs::File::create(disk(directory))?.set_len(DISK_BYTES)?;
        Self::start(directory, qemu(directory, boot))
    }

    /// Starts a VM that has nothing to boot: its firmware looks for a disk to start from, and that is a running guest.
    pub fn boot_nothing(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory.join("logs"))?;
        fs::File::create(disk(directory))?.set_len(DISK_BYTES)?;
        Self::start(directory, machine(directory))
    }

    /// Starts the same machine with a copy of `captured_disk`, and has it wait for an incoming image.
    pub fn boot_incoming(directory: &Path, boot: &Boot, captured_disk: &Path) -> Result<Self> {
        fs::create_dir_all(directory.join("logs"))?;
        fs::copy(captured_disk, disk(directory))?;
        let mut command = qemu(directory, boot);
        command.args(["-incoming", "defer"]);
        Self::start(directory, command)
    }

    fn start(directory: &Path, mut command: Command) -> Result<Self> {
        let errors = fs::File::create(directory.join("logs/qemu.log"))?;
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn()?;
        Ok(Self { process, directory: directory.to_path_buf() })
    }

    /// The instance directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The QMP socket that is left to the library.
    pub fn api_socket(&self) -> PathBuf {
        self.directory.join("qmp.sock")
    }

    /// What the guest says.
    pub fn serial(&self) -> Serial {
        Serial::at(&serial_log(&self.directory))
    }

    /// A second monitor, for ourselves: a QMP socket serves one client.
    pub fn monitor(&self) -> Result<Monitor> {
        Monitor::connect(&self.directory.join("demo.sock"))
    }

    /// Loads `memory`, a decompressed image of `format`, and lets the guest go on.
    pub fn load(&self, memory: &Path, format: &str) -> Result<()> {
        let mut monitor = self.monitor()?;
        let path = memory.display().to_string();
        let uri = match format {
            "qemu-stream" => format!("exec:cat '{path}'"),
            "qemu-mapped-ram" => {
                let capability = r#"{"capabilities": [{"capability": "mapped-ram", "state": true}]}"#;
                monitor.execute("migrate-set-capabilities", capability)?;
                format!("file:{path}")
            }
            other => return Err(format!("the demo cannot load a memory image of format {other}").into()),
        };
        monitor.execute("migrate-incoming", &format!("{{\"uri\": {}}}", quoted(&uri)))?;
        let start = Instant::now();
        while !monitor.execute("query-migrate", "{}")?.contains("\"status\": \"completed\"") {
            if start.elapsed() > Duration::from_secs(60) {
                return Err("QEMU did not finish loading the image within a minute".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        monitor.execute("cont", "{}")?;
        Ok(())
    }

    /// Tells whether the process is still there.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill, and still something to reap.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn disk(directory: &Path) -> PathBuf {
    directory.join("disk.raw")
}

fn serial_log(directory: &Path) -> PathBuf {
    directory.join("logs/serial.log")
}

/// The machine with its kernel. A restored VM needs exactly the same one.
fn qemu(directory: &Path, boot: &Boot) -> Command {
    let mut command = machine(directory);
    command.arg("-kernel").arg(&boot.kernel).arg("-initrd").arg(&boot.initramfs);
    command.args(["-append", "console=ttyS0 rdinit=/init quiet loglevel=1 panic=-1"]);
    command
}

fn machine(directory: &Path) -> Command {
    let mut command = program("qemu-system-x86_64");
    // Emulated, so that it shows the same on every machine: not every host, and few CI runners, can run KVM guests.
    command.args(["-accel", "tcg", "-machine", "q35", "-cpu", "max", "-smp", "1", "-m"]);
    command.arg(format!("{MEMORY_MIB}M"));
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    for socket in ["qmp.sock", "demo.sock"] {
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", directory.join(socket).display()));
    }
    command.arg("-serial").arg(format!("file:{}", serial_log(directory).display()));
    let drive =
        format!("driver=raw,node-name=disk0,file.driver=file,file.filename={}", disk(directory).display());
    command.arg("-blockdev").arg(drive);
    command.args(["-device", "virtio-blk-pci,drive=disk0,id=vda"]);
    command
}
