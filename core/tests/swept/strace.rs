//! Faults at chosen system calls. strace counts them by name and thread, so they are recorded first.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use crate::place::{Operation, PART, Place};

/// Every call that changes something, or makes a change last.
const CALLS: &str = "write,pwrite64,ftruncate,copy_file_range,fsync,fdatasync,mkdirat,symlinkat,linkat,renameat,renameat2,unlinkat,fchmod,fchown";

/// What is done to a call, in place of it.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Kill,
    NoSpace,
    Io,
}

/// A call, by its name and its number among those of its thread.
#[derive(Clone, Debug)]
pub struct Step {
    name: String,
    number: usize,
}

/// Every step of `operation`; `None`, and a line that says so, where strace is not there and need not be.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
pub fn record(place: &Place, operation: Operation) -> Option<Vec<Step>> {
    let works =
        Command::new("strace").args(["-qq", "true"]).output().is_ok_and(|output| output.status.success());
    if !works {
        let required =
            std::env::var("HYPEMAN_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == "strace"));
        assert!(!required, "HYPEMAN_REQUIRE names strace, but it cannot be used");
        println!("SKIP {operation:?} swept: strace cannot be used here");
        return None;
    }
    let log = place.temp().join("trace");
    let said = host(place, operation, &["-o", &log.display().to_string(), "-e", &format!("trace={CALLS}")]);
    assert!(said.starts_with("ok"), "without a fault: {said}");
    assert!(place.examine(operation, &said, "no fault").is_new);
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for line in fs::read_to_string(&log).unwrap().lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if !CALLS.split(',').any(|known| known == name) {
            continue;
        }
        let count = counts.entry((thread.to_owned(), name.to_owned())).or_default();
        *count += 1;
        let most = most.entry(name.to_owned()).or_default();
        *most = (*most).max(*count);
    }
    let steps = most
        .into_iter()
        .flat_map(|(name, most)| (1..=most).map(move |number| Step { name: name.clone(), number }));
    Some(steps.collect())
}

/// Plays the host with `fault` at `step`, and returns what it said.
pub fn run(place: &Place, operation: Operation, step: &Step, fault: Fault) -> String {
    let what = match fault {
        Fault::Kill => "signal=KILL",
        Fault::NoSpace => "error=ENOSPC",
        Fault::Io => "error=EIO",
    };
    let Step { name, number } = step;
    let inject = format!("inject={name}:{what}:when={number}");
    host(place, operation, &["-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject])
}

fn host(place: &Place, operation: Operation, strace: &[&str]) -> String {
    let output = Command::new("strace")
        .args(["-f", "-qq"])
        .args(strace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "without_a_fault_both_are_done", "--nocapture", "--test-threads=1"])
        .env(PART, place.part(operation))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| Some(line.split_once("HOST ")?.1.to_owned()));
    line.unwrap_or_default()
}
