//! Crash states of real file systems: power cuts of ext4 and xfs by their shutdown call, and every state that a disk
//! may be left in between two of its own flushes, out of a log of what ext4, xfs and btrfs wrote to it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use crate::device::{Entry, Exported, FLUSH, Mounted, PATIENCE, format, logged, read_log, run, whereabouts};
use crate::disk::Random;
use crate::in_role;
use crate::kill::{judged, points, said};
use crate::record::{copy, prepare, scratch};
use crate::scene::{Mark, SCENES, copied};
use hypeman_tests::report::{Report, is_long, seed};

const IMAGES: &str = "crash images mounted and judged";
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
    let first = logged(&log);
    let mut marks: Vec<_> = before.into_iter().map(|mark| (0, mark)).collect();
    let mut host = in_role(&format!("play|{scene}|step"))
        .current_dir(mounted.path.join("scene"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut go = host.stdin.take().expect("it was piped");
    let (tell, told) = mpsc::channel();
    let lines = BufReader::new(host.stdout.take().expect("it was piped")).lines();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    loop {
        let line = match told.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let (host, daemon) = (whereabouts(host.id()), whereabouts(exported.daemon.id()));
                panic!("{scene} hangs on {fs}: the host is in {host}, its disk in {daemon}");
            }
        };
        let mark = serde_json::from_str(&line).expect("programs print marks only");
        // The program waits: what it speaks of is in the log, and nothing that follows.
        marks.push((logged(&log), mark));
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
