//! Hosts that are killed at every system call that changes something, or that speaks to a VMM. The next opener makes
//! good what they left, and lets their VM run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use hypeman_tests::report::{Report, is_long, seed};

use crate::disk::Random;
use crate::in_role;
use crate::judge::Promises;
use crate::peer::Peer;
use crate::record::{copy, prepare, scratch, strace};
use crate::scene::{LIVE, Mark, copied};

/// Calls after which something is different.
pub const CALLS: &str = "openat,openat2,mkdirat,mkdir,unlinkat,renameat,renameat2,linkat,write,pwrite64,sendto,sendmsg,\
    ftruncate,copy_file_range,fsync,fdatasync,close,connect";
/// In the long run, every call is one to be killed at.
const ALL_CALLS: &str = "all";

pub fn no_killed_host_leaves_anything_behind() {
    let seed = seed(1);
    let most = if is_long() { usize::MAX } else { 60 };
    let mut report = Report::new("crash-kill", seed);
    report.at_least("hosts killed", if is_long() { 5_000 } else { 500 });
    let mut random = Random(seed);
    for scene in copied().chain([&LIVE]) {
        let place = scratch();
        let before = place.path().join("before");
        let marks = prepare(scene.name, &before);
        let points = points(scene.name, &before, place.path());
        let step = points.len().div_ceil(most).max(1);
        for (call, time) in points.iter().skip(random.below(step)).step_by(step) {
            let root = place.path().join("scene");
            copy(&before, &root);
            let peer = peer_of(scene.name, &root);
            let inject = format!("inject={call}:signal=KILL:when={time}");
            let verdict = run(scene.name, &root, &["-e", &format!("trace={call}"), "-e", &inject], &marks);
            report.tried("hosts killed", 1);
            let is_paused = peer.as_ref().is_some_and(|peer| !peer.is_running());
            let verdict =
                verdict.and(if is_paused { Err("its VM is still paused".to_owned()) } else { Ok(()) });
            drop(peer);
            if let Err(why) = verdict {
                report.failure(format!("{}, killed at {call} number {time}: {why}", scene.name));
            }
            fs::remove_dir_all(&root).unwrap();
        }
    }
    controls(&mut report);
    report.finish();
}

/// The VMM of the scene `name`, if it has one.
fn peer_of(name: &str, root: &Path) -> Option<Peer> {
    (name == LIVE.name).then(|| Peer::start(&root.join("api.sock")))
}

/// What no opener can make good is noticed.
fn controls(report: &mut Report) {
    let place = scratch();
    let root = place.path().join("scene");
    let marks = prepare(LIVE.name, &root);
    let peer = Peer::start(&root.join("api.sock"));
    peer.pause();
    report.control("a VM that no one resumes", judged(&root, &marks).is_ok() && !peer.is_running());
    fs::write(root.join("data/snapshots/foreign"), "").unwrap();
    report.control("something that no one clears", judged(&root, &marks).is_err());
    fs::remove_file(root.join("data/snapshots/foreign")).unwrap();
    let lost = [Mark::Creating { content: 1, name: None }, Mark::Created { id: "lost".to_owned() }];
    let marks: Vec<_> = marks.into_iter().chain(lost).collect();
    report.control("a snapshot that is lost", judged(&root, &marks).is_err());
}

/// Runs the scene in `root` under strace with `options`, which may kill it, and judges what it leaves.
pub fn run(name: &str, root: &Path, options: &[&str], before: &[Mark]) -> Result<(), String> {
    let marks = said(name, root, options, before);
    judged(root, &marks)
}

/// Runs the scene, and returns what it promised until its end.
pub fn said(name: &str, root: &Path, options: &[&str], before: &[Mark]) -> Vec<Mark> {
    let options: Vec<_> = ["-o", "/dev/null"].iter().chain(options).copied().collect();
    let output = strace(&format!("play|{name}|act"), &options)
        .current_dir(root)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let new = lines.lines().map(|line| serde_json::from_str(line).expect("programs print marks only"));
    before.iter().cloned().chain(new).collect()
}

/// What the oracle says of `root`, after `marks`.
pub fn judged(root: &Path, marks: &[Mark]) -> Result<(), String> {
    let file = root.with_extension("marks");
    fs::write(&file, serde_json::to_string(marks).expect("marks are JSON")).unwrap();
    let output = in_role(&format!("judge|{}", file.display())).current_dir(root).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match (output.status.success(), said.as_str()) {
        (true, "") => Ok(()),
        (true, why) => Err(why.to_owned()),
        (false, _) => Err(format!("the judge died: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// A role: judges the working directory, and prints what is wrong with it.
#[allow(clippy::print_stdout, reason = "the answer of a judge")]
pub fn judge(marks: &str) {
    let marks: Vec<Mark> = serde_json::from_str(&fs::read_to_string(marks).unwrap()).expect("marks are JSON");
    if let Err(why) = Promises::of(marks.iter()).judge() {
        println!("{why}");
    }
}

/// Each call of the scene and how often it is made. strace counts by call and thread.
pub fn points(name: &str, before: &Path, place: &Path) -> Vec<(String, u32)> {
    let root = place.join("counted");
    copy(before, &root);
    let peer = peer_of(name, &root);
    let trace = place.join("calls");
    let calls = format!("trace={}", if is_long() { ALL_CALLS } else { CALLS });
    let options = ["-o", trace.to_str().expect("paths are text"), "-e", &calls];
    let status: std::process::ExitStatus = Command::status(
        strace(&format!("play|{name}|act"), &options).current_dir(&root).stdout(Stdio::null()),
    )
    .unwrap();
    assert!(status.success(), "{name} failed under strace");
    drop(peer);
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    for line in fs::read_to_string(&trace).unwrap().lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((call, _)) = call.trim_start().split_once('(') else { continue };
        if call.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            *counts.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, u32> = BTreeMap::new();
    for ((call, _), count) in counts {
        let known = most.entry(call).or_default();
        *known = count.max(*known);
    }
    fs::remove_dir_all(&root).unwrap();
    most.into_iter().flat_map(|(call, count)| (1..=count).map(move |time| (call.clone(), time))).collect()
}
