//! The VM host of `examples/`, in C: it takes checkpoints of its VM, and the VM dies.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use hypeman_tests::guest;
use hypeman_tests::language::{Language, Runner};
use hypeman_tests::vm::{self, ticks_of};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::directory;

struct Host {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Host {
    /// The rest of its next line that begins with `word`.
    fn says(&mut self, word: &str) -> String {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.trim_end().strip_prefix(word) {
                return rest.trim().to_owned();
            }
            line.clear();
        }
        panic!("the host ended before it said {word:?}: {:?}", self.process.wait());
    }

    /// It ends its VM, too.
    fn end(&mut self) -> ExitStatus {
        kill(pid(&self.process.id().to_string()), Signal::SIGTERM).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap())
}

fn start(root: &Path, vm_directory: &Path, serial: &Path) -> Host {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/vmm-host.c");
    let program = Runner::named(Language::C, &source, root).unwrap();
    let disk = vm_directory.join("disk.raw");
    fs::write(&disk, [0xd1; 8192]).unwrap();
    fs::File::options().write(true).open(&disk).unwrap().set_len(8 << 20).unwrap();
    let mut command = program.command(None);
    command.arg(root.join("data")).arg(vm_directory).arg("1").arg(vm::qemu().expect("asked for before"));
    command.args(["-accel", "tcg", "-machine", "pc", "-cpu", "qemu64", "-m", &vm::MEMORY_MIB.to_string()]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    // Appended to: what the guest said before it died is still there.
    command.args(["-chardev", &format!("file,id=serial,append=on,path={}", serial.display())]);
    command.args(["-serial", "chardev:serial"]);
    command.args(["-blockdev", &format!("driver=file,node-name=disk,filename={}", disk.display())]);
    command.args(["-device", "virtio-blk-pci,drive=disk"]).arg("-kernel").arg(guest::build(root));
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(process.stdout.take().unwrap());
    Host { process, said }
}

pub fn a_host_in_c_brings_its_vm_back_from_the_newest_checkpoint() {
    let root = directory();
    let vm_directory = root.path().join("vm");
    let serial = vm_directory.join("logs/serial.log");
    fs::create_dir_all(vm_directory.join("logs")).unwrap();
    let mut host = start(root.path(), &vm_directory, &serial);
    let first = pid(&host.says("running"));
    let taken: Vec<_> = (0..4).map(|_| host.says("checkpoint")).collect();
    // So that there is something that the checkpoint does not have.
    let then = ticks_of(&serial).len();
    let began = Instant::now();
    while ticks_of(&serial).len() <= then + 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "the guest does not count");
        sleep(Duration::from_millis(5));
    }

    kill(first, Signal::SIGKILL).unwrap();
    let second = pid(&host.says("running"));
    assert_ne!(first, second);
    let restored = host.says("restored");
    let kept: Vec<_> = fs::read_dir(root.path().join("data/snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    // One more while the next is taken.
    assert!(kept.contains(&restored) && kept.len() <= 4 && !kept.contains(&taken[0]), "{kept:?}");

    // It goes on from the checkpoint: not from where it died, and not from its beginning.
    host.says("checkpoint");
    let ticks: Vec<_> = ticks_of(&serial).into_iter().map(|tick| tick.ticks).collect();
    let back = ticks.windows(2).find(|pair| pair[1] <= pair[0]).expect("the guest went back");
    assert!(back[1] > 1, "{back:?}");
    assert!(ticks_of(&serial).iter().all(|tick| tick.wrong == 0));

    assert!(host.end().success());
    assert!(kill(second, None).is_err(), "it ends its VM");
}
