//! Disks in files: formatted, mounted, and exported by a daemon that logs every write. What hangs is ended, and it is told
//! where.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const IMAGE_BYTES: u64 = 320 << 20;
/// Nothing takes as long.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Flags of the log's entries.
pub const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
const LOG_MAGIC: u64 = 0x6a_7366_7773_6872;
const LOG_SECTOR: u64 = 4096;

/// An entry of the log: what was written where, and at which moment.
pub struct Entry {
    pub offset: u64,
    pub data: Vec<u8>,
    pub flags: u64,
}

/// How much was logged so far.
pub fn logged(log: &Path) -> usize {
    usize::try_from(read_u64(&File::open(log).unwrap(), 16)).expect("a count is a usize")
}

/// Everything that was logged, in its order.
pub fn read_log(path: &Path) -> Vec<Entry> {
    let log = File::open(path).unwrap();
    assert_eq!(read_u64(&log, 0), LOG_MAGIC, "the log is one");
    let count = read_u64(&log, 16);
    let mut at = LOG_SECTOR;
    let mut entries = Vec::new();
    for _ in 0..count {
        let [sector, sectors, flags] = [0, 8, 16].map(|field| read_u64(&log, at + field));
        at += LOG_SECTOR;
        let has_data = flags & DISCARD == 0;
        let mut data =
            vec![0; if has_data { usize::try_from(sectors * LOG_SECTOR).expect("fits") } else { 0 }];
        log.read_exact_at(&mut data, at).unwrap();
        at += data.len() as u64;
        entries.push(Entry { offset: sector * LOG_SECTOR, data, flags });
    }
    entries
}

fn read_u64(file: &File, at: u64) -> u64 {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at).unwrap();
    u64::from_le_bytes(bytes)
}

/// An empty file system in a file.
pub fn format(fs: &str, place: &Path) -> PathBuf {
    let image = place.join("disk.img");
    File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    let force = if fs == "ext4" { "-F" } else { "-f" };
    run(Command::new(format!("mkfs.{fs}")).args(["-q", force]).arg(&image));
    image
}

/// A file system while it is mounted.
pub struct Mounted {
    pub path: PathBuf,
}

impl Mounted {
    pub fn new(image: &Path, path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        let mut mount = Command::new("mount");
        if image.extension().is_some() {
            mount.args(["-o", "loop"]);
        }
        run(mount.arg(image).arg(path));
        Self { path: path.to_owned() }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        if thread::panicking() {
            let _ = ended(umount.arg("--lazy").arg(&self.path));
        } else {
            run(umount.arg(&self.path));
        }
    }
}

/// A disk whose writes are logged, as a block device.
pub struct Exported {
    pub daemon: Child,
    pub device: PathBuf,
}

impl Exported {
    pub fn new(image: &Path, log: &Path, place: &Path) -> Self {
        File::create(log).unwrap().set_len(4 << 30).unwrap();
        let export = place.join("export.img");
        File::create(&export).unwrap();
        let file = |node: &str, path: &Path| {
            format!("driver=file,node-name={node},filename={},discard=unmap", path.display())
        };
        let daemon = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &file("f", image), "--blockdev", "driver=raw,node-name=fr,file=f"])
            .args(["--blockdev", &file("lf", log), "--blockdev", "driver=raw,node-name=lr,file=lf"])
            .args(["--blockdev", "driver=blklogwrites,node-name=bl,file=fr,log=lr,log-sector-size=4096,log-super-update-interval=1"])
            .arg("--export")
            .arg(format!("type=fuse,id=e,node-name=bl,mountpoint={},writable=on", export.display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while fs::metadata(&export).unwrap().len() == 0 {
            assert!(began.elapsed() < PATIENCE, "qemu-storage-daemon does not export");
            thread::sleep(Duration::from_millis(5));
        }
        let output = Command::new("losetup").args(["-f", "--show"]).arg(&export).output().unwrap();
        assert!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        let device = String::from_utf8(output.stdout).expect("a device is text").trim().into();
        Self { daemon, device }
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        let mut losetup = Command::new("losetup");
        losetup.arg("-d").arg(&self.device);
        if thread::panicking() {
            let _ = self.daemon.kill();
            let _ = ended(&mut losetup);
            return;
        }
        run(&mut losetup);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id()).expect("a pid is an i32"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        if let Err(why) = end_of(&mut self.daemon) {
            panic!("qemu-storage-daemon {why}");
        }
    }
}

/// Runs `command`, which has to succeed.
pub fn run(command: &mut Command) {
    if let Err(why) = ended(command) {
        panic!("{command:?} {why}");
    }
}

/// Runs `command`, and tells how it failed, if it did.
fn ended(command: &mut Command) -> Result<(), String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let status = end_of(&mut child)?;
    let mut said = String::new();
    child.stderr.take().expect("it was piped").read_to_string(&mut said).map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("failed: {said}")) }
}

/// Waits for the end of `child`. One that hangs is killed, and it is told where.
fn end_of(child: &mut Child) -> Result<ExitStatus, String> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status);
        }
        if began.elapsed() > PATIENCE {
            let place = whereabouts(child.id());
            let _ = child.kill();
            return Err(format!("hangs in {place}"));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// In which calls of the kernel the threads of a process are.
pub fn whereabouts(pid: u32) -> String {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let places = threads.map(|thread| {
        let read = |file: &str| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        format!("{} {} [{}]", read("comm").trim(), read("syscall").trim(), read("stack").trim())
    });
    places.collect::<Vec<_>>().join("; ")
}
