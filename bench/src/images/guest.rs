//! The memory of a real Linux guest under QEMU, taken while the guest stands still.
//!
//! Its RAM is a file on tmpfs, so that a copy of that file, holes and all, is what a VMM writes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Content, payload, remove};
use crate::options::Options;
use crate::{Result, peer};

// Emulated, with other work on the machine.
const PATIENCE: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Boots a guest, waits until its memory is that of `content`, and copies it to `to`.
pub fn capture(options: &Options, content: Content, memory_mib: u64, to: &Path) -> Result<()> {
    println!("booting a guest of {memory_mib} MiB to take its memory ({})", content.as_str());
    let directory = options.target.join("bench/guest").join(content.as_str());
    fs::create_dir_all(&directory)?;
    let mut vm = Vm::boot(options, content, memory_mib, &directory)?;
    vm.wait_until_ready()?;
    vm.execute("stop")?;
    peer::run(Command::new("cp").args(["--reflink=never", "--sparse=auto"]).arg(&vm.memory).arg(to))?;
    Ok(())
}

/// A guest, which ends when it is dropped, and its memory with it.
struct Vm {
    process: Child,
    memory: PathBuf,
    directory: PathBuf,
}

impl Vm {
    fn boot(options: &Options, content: Content, memory_mib: u64, directory: &Path) -> Result<Self> {
        let (Some(kernel), Some(initramfs)) = (&options.kernel, &options.initramfs) else {
            return Err("a guest needs --kernel and --initramfs, which cargo xtask bench brings".into());
        };
        let disks = disks(directory, content)?;
        remove(&serial(directory))?;
        remove(&monitor(directory))?;
        let memory = PathBuf::from(format!("/dev/shm/hypeman-bench-{}", std::process::id()));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", &format!("{memory_mib}M")]);
        qemu.args(["-machine", "q35,memory-backend=ram", "-object"]);
        qemu.arg(format!(
            "memory-backend-file,id=ram,size={memory_mib}M,share=on,mem-path={}",
            memory.display()
        ));
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", monitor(directory).display()));
        qemu.arg("-serial").arg(format!("file:{}", serial(directory).display()));
        for disk in &disks {
            qemu.arg("-drive").arg(format!("if=virtio,format=raw,readonly=on,file={}", disk.display()));
        }
        qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs).arg("-append");
        qemu.arg(format!("console=ttyS0 rdinit=/init quiet panic=-1 bench={}", content.as_str()));
        let errors = File::create(directory.join("qemu.log"))?;
        let process = qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn()?;
        Ok(Self { process, memory, directory: directory.to_owned() })
    }

    /// Waits until the guest says that its memory may be taken.
    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let said =
                String::from_utf8_lossy(&fs::read(serial(&self.directory)).unwrap_or_default()).into_owned();
            if said.lines().any(|line| line.trim() == "READY") {
                return Ok(());
            }
            let ended = self.process.try_wait()?;
            if ended.is_some() || said.contains("Error") || start.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.directory.join("qemu.log")).unwrap_or_default();
                return Err(format!("the guest did not get ready ({ended:?}); it said:\n{said}{log}").into());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Runs a QMP command that takes no arguments.
    fn execute(&self, command: &str) -> Result<()> {
        let mut reader = BufReader::new(UnixStream::connect(monitor(&self.directory))?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        for command in ["qmp_capabilities", command] {
            writeln!(reader.get_mut(), "{{\"execute\": \"{command}\"}}")?;
            line.clear();
            while !line.starts_with("{\"return\"") {
                line.clear();
                if reader.read_line(&mut line)? == 0 || line.starts_with("{\"error\"") {
                    return Err(format!("QEMU refused {command}: {line}").into());
                }
            }
        }
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill, and still something to reap.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.memory);
    }
}

/// What the guest unpacks: Python, and Node too where it is to be busy.
fn disks(directory: &Path, content: Content) -> Result<Vec<PathBuf>> {
    let python = directory.join("python.tar");
    payload::python(&python)?;
    if content == Content::Idle {
        return Ok(vec![python]);
    }
    let node = directory.join("node.tar");
    payload::node(&node)?;
    Ok(vec![python, node])
}

fn monitor(directory: &Path) -> PathBuf {
    directory.join("qmp.sock")
}

fn serial(directory: &Path) -> PathBuf {
    directory.join("serial.log")
}
