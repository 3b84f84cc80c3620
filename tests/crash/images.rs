//! Crash states of real file systems: power cuts of ext4 and xfs by their shutdown call, and every state that a disk
//! may be left in between two of its own flushes, out of a log of what ext4, xfs and btrfs wrote to it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::disk::Random;
use crate::in_role;
use crate::kill::{judged, points, said};
use crate::record::{copy, prepare, scratch};
use crate::scene::{Mark, SCENES, copied};
use hypeman_tests::report::{Report, is_long, seed};

const IMAGES: &str = "crash images mounted and judged";
const IMAGE_BYTES: u64 = 320 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
/// Flags of the log's entries.
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
const LOG_MAGIC: u64 = 0x6a_7366_7773_6872;
const LOG_SECTOR: u64 = 4096;

pub fn no_real_file_system_loses_what_was_acknowledged() {
    let seed = seed(1);
    let mut report = Report::new("crash-images", seed);
    report.at_least(IMAGES, if is_long() { 10_000 } else { 500 });
    let mut random = Random(seed);
    let (cuts, states) = if is_long() { (2_000, 120) } else { (60, 6) };
    for fs in ["ext4", "xfs"] {
        cut_power(fs, cuts, &mut random, &mut report);
    }
    for fs in ["ext4", "xfs", "btrfs"] {
        for scene in &SCENES {
            let failures = replay_log(fs, scene.name, states, &mut random, &mut report);
            failures.into_iter().for_each(|why| report.failure(why));
        }
    }
    let lost = replay_log("ext4", "vendor", 20, &mut random, &mut report);
    report.control("the vendor's order on ext4: write, rename, unlink, and no flush", !lost.is_empty());
    report.finish();
}

/// Kills hosts at random calls, each time with the power of their disk.
fn cut_power(fs: &str, cuts: usize, random: &mut Random, report: &mut Report) {
    let place = scratch();
    let image = format(fs, place.path());
    let mut prepared = Vec::new();
    for scene in copied() {
        let directory = place.path().join(scene.name);
        fs::create_dir(&directory).unwrap();
        let marks = prepare(scene.name, &directory.join("before"));
        let points = points(scene.name, &directory.join("before"), &directory);
        prepared.push((scene.name, directory.join("before"), marks, points));
    }
    let cut = |name: &str, before: &Path, marks: &[Mark], options: &[&str], is_flushed: bool| {
        let mounted = Mounted::new(&image, &place.path().join("mnt"));
        let root = mounted.path.join("scene");
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        copy(before, &root);
        run(Command::new("sync").arg("-f").arg(&root));
        let marks = said(name, &root, options, marks);
        let flag = if is_flushed { "shutdown -f" } else { "shutdown" };
        run(Command::new("xfs_io").args(["-x", "-c", flag]).arg(&mounted.path));
        drop(mounted);
        let mounted = Mounted::new(&image, &place.path().join("mnt"));
        let verdict = judged(&root, &marks);
        drop(mounted);
        verdict
    };
    for number in 0..cuts {
        let (name, before, marks, points) = &prepared[number % prepared.len()];
        let (call, time) = &points[random.below(points.len())];
        let inject = format!("inject={call}:signal=KILL:when={time}");
        let is_flushed = random.below(2) == 0;
        let trace = format!("trace={call}");
        let options = ["-e", &trace, "-e", &inject];
        let verdict = cut(name, before, marks, &options, is_flushed);
        report.tried(IMAGES, 1);
        report.tried(&format!("power cuts of {fs}"), 1);
        if let Err(why) = verdict {
            report.failure(format!("{fs}: {name}, cut at {call} number {time}, {is_flushed}: {why}"));
        }
    }
    // At the end of each scene, with everything acknowledged; and once more with flushes that only say that they are.
    for (name, before, marks, _) in &prepared {
        for is_flushed in [false, true] {
            report.tried(IMAGES, 1);
            if let Err(why) = cut(name, before, marks, &["-e", "trace=fsync"], is_flushed) {
                report.failure(format!("{fs}: {name}, cut at its end, {is_flushed}: {why}"));
            }
        }
    }
    let lie = ["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:retval=0"];
    let (name, before, marks, _) = &prepared[1];
    report
        .control(&format!("flushes of {fs} that do nothing"), cut(name, before, marks, &lie, false).is_err());
}

/// An entry of the log: what was written where, and at which moment.
struct Entry {
    offset: u64,
    data: Vec<u8>,
    flags: u64,
}

/// Logs what the file system writes while `scene` is played, and judges disks made of it: every prefix or some, and
/// as many with only some of the writes since the last flush.
fn replay_log(fs: &str, scene: &str, states: usize, random: &mut Random, report: &mut Report) -> Vec<String> {
    let place = scratch();
    let (entries, marks, first) = record_log(fs, scene, place.path());
    let flushes: Vec<_> = (0..entries.len()).filter(|at| entries[*at].flags & FLUSH != 0).collect();
    let mut failures = Vec::new();
    for number in 0..states {
        // From the moment on from which the scene ran; before it, its file system was being mounted.
        let end = first + random.below(entries.len() + 1 - first);
        let last_flush = flushes.iter().rev().find(|at| **at < end).copied().unwrap_or(0);
        let kept: Vec<_> =
            (0..end).filter(|at| number % 2 == 0 || *at <= last_flush || random.below(2) == 0).collect();
        let crash = place.path().join("crash.img");
        run(Command::new("cp").arg("--sparse=always").arg(place.path().join("init.img")).arg(&crash));
        let image = File::options().write(true).open(&crash).unwrap();
        for at in kept {
            image.write_all_at(&entries[at].data, entries[at].offset).unwrap();
        }
        drop(image);
        let promised: Vec<_> =
            marks.iter().filter(|(moment, _)| *moment <= end).map(|(_, mark)| mark.clone()).collect();
        let mounted = Mounted::new(&crash, &place.path().join("mnt"));
        report.tried(IMAGES, 1);
        report.tried(&format!("disks of {fs} out of its log"), 1);
        if let Err(why) = judged(&mounted.path.join("scene"), &promised) {
            failures.push(format!("{fs}: {scene}, {end} of {} writes: {why}", entries.len()));
        }
    }
    failures
}

/// Plays `scene` on a disk whose writes are logged. Returns them, the marks with how many writes were logged when each
/// was made, and how many were before the first.
fn record_log(fs: &str, scene: &str, place: &Path) -> (Vec<Entry>, Vec<(usize, Mark)>, usize) {
    let image = format(fs, place);
    let mounted = Mounted::new(&image, &place.join("mnt"));
    // There, and not in a copy: a restore or fork under way knows its directories by their inodes.
    let before = prepare(scene, &mounted.path.join("scene"));
    drop(mounted);
    run(Command::new("cp").arg("--sparse=always").arg(&image).arg(place.join("init.img")));

    let log = place.join("log.img");
    let exported = Exported::new(&image, &log, place);
    let mounted = Mounted::new(&exported.device, &place.join("mnt"));
    let count = || read_u64(&File::open(&log).unwrap(), 16);
    let first = usize::try_from(count()).expect("a count is a usize");
    let mut marks: Vec<_> = before.into_iter().map(|mark| (0, mark)).collect();
    let mut host = in_role(&format!("play|{scene}|step"))
        .current_dir(mounted.path.join("scene"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut go = host.stdin.take().expect("it was piped");
    for line in BufReader::new(host.stdout.take().expect("it was piped")).lines() {
        let mark = serde_json::from_str(&line.unwrap()).expect("programs print marks only");
        // The program waits: what it speaks of is in the log, and nothing that follows.
        marks.push((usize::try_from(count()).expect("a count is a usize"), mark));
        writeln!(go, "go").unwrap();
    }
    assert!(host.wait().unwrap().success(), "{scene} failed on {fs}");
    // Someone else flushes a file of theirs, which commits the file system's journal: what was not flushed before is in
    // it by then, in part.
    let other = File::create(mounted.path.join("other")).unwrap();
    other.sync_all().unwrap();
    drop(other);
    drop(mounted);
    drop(exported);
    (read_log(&log), marks, first)
}

fn read_log(path: &Path) -> Vec<Entry> {
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
fn format(fs: &str, place: &Path) -> PathBuf {
    let image = place.join("disk.img");
    File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    let force = if fs == "ext4" { "-F" } else { "-f" };
    run(Command::new(format!("mkfs.{fs}")).args(["-q", force]).arg(&image));
    image
}

/// A file system while it is mounted.
struct Mounted {
    path: PathBuf,
}

impl Mounted {
    fn new(image: &Path, path: &Path) -> Self {
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
        run(Command::new("umount").arg(&self.path));
    }
}

/// A disk whose writes are logged, as a block device.
struct Exported {
    daemon: Child,
    device: PathBuf,
}

impl Exported {
    fn new(image: &Path, log: &Path, place: &Path) -> Self {
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
        run(Command::new("losetup").arg("-d").arg(&self.device));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id()).expect("a pid is an i32"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.daemon.wait().unwrap();
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What this machine lacks for all this; `None` where it has it.
pub fn missing() -> Option<&'static str> {
    let has = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/sbin".into(), "/usr/sbin".into()])
            .any(|at| at.join(program).is_file())
    };
    if !["mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "xfs_io", "qemu-storage-daemon", "losetup"]
        .into_iter()
        .all(has)
    {
        return Some("it needs e2fsprogs, xfsprogs, btrfs-progs and qemu-system-common");
    }
    if File::options().read(true).write(true).open("/dev/fuse").is_err() {
        return Some("/dev/fuse cannot be opened (need root)");
    }
    let place = scratch();
    let image = format("ext4", place.path());
    let mnt = place.path().join("mnt");
    fs::create_dir(&mnt).unwrap();
    let mount = Command::new("mount").args(["-o", "loop"]).arg(image).arg(&mnt).output();
    match mount {
        Ok(output) if output.status.success() => {
            run(Command::new("umount").arg(&mnt));
            None
        }
        _ => Some("loop mounts are not permitted here (need root)"),
    }
}
