//! What owners that died left to be finished: the scenes in which an opening is swept.
//!
//! Restores and forks are really killed, before the sweep: this program, run once more under `shim.c`, plays their
//! owner at each place where one may die, until there is one scene of every kind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::operations::{DISK, FORK_DISK, Scene, copy, fork, restore};
use super::sweep::tell;
use crate::scene::{close_to_others, files, inodes, open, open_to_others};

const ROLE: &str = "HYPEMAN_HOSTILE_VICTIM";

pub const CREATE: &str = "open after a create that died";
pub const COMPRESSION: &str = "open after a compression that died";

/// What an opener makes of it, whatever fault meets the one before: once there is no way back, there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing was done: the instance is as it was before; there is no fork.
    Undone,
    /// All was done.
    Done,
    Either,
}

/// Where a restore or a fork died, by the name of the opening after it.
pub const DEATHS: &[(&str, End)] = &[
    ("open after a restore that was building", End::Undone),
    ("open after a restore that was about to exchange", End::Either),
    ("open after a restore between two exchanges", End::Either),
    ("open after a restore that had exchanged all", End::Done),
    ("open after a restore that was removing the old files", End::Done),
    ("open after a restore that was taking back", End::Undone),
    ("open after a restore that was removing what it took back", End::Undone),
    ("open after a fork that was building", End::Undone),
    ("open after a fork that was about to come into place", End::Undone),
    ("open after a fork half of which was in place", End::Undone),
    ("open after a fork that was not registered", End::Undone),
    ("open after a fork that was registered", End::Done),
    ("open after a fork that was being removed", End::Undone),
];

/// The owners that are killed at each of their calls. One whose rename fails takes all back: that rename is the one at
/// which an owner before it left what is named here.
const OWNERS: [(&str, Option<&str>); 4] = [
    ("restore", None),
    ("restore", Some("open after a restore between two exchanges")),
    ("fork", None),
    ("fork", Some("open after a fork that was not registered")),
];

/// One owner that will die.
#[derive(Debug, Serialize, Deserialize)]
struct Victim {
    root: PathBuf,
    operation: String,
    /// The rename that is answered with an error.
    fails: Option<u32>,
    /// The call that it does not outlive.
    call: String,
    at: u32,
}

/// Is an owner that dies, if that is what this process is for.
pub fn plays_a_part() -> bool {
    let Ok(victim) = std::env::var(ROLE) else { return false };
    let Victim { root, operation, fails, call, at } = serde_json::from_str(&victim).unwrap();
    // What it makes is its alone all the same, whatever it had in hand when it died.
    umask(Mode::empty());
    let scene = Scene::find(&root);
    let hm = open(&scene.data()).unwrap();
    tell(&format!("kill/{call}/{at}"));
    tell(&format!("arm/rename/{}/{}/0", fails.unwrap_or(u32::MAX >> 1), nix::libc::EIO));
    let act = if operation == "fork" { fork } else { restore };
    let _ = act(&hm, &scene, &scene.raw);
    true
}

/// Makes the scene of every death in `root`, where all is as it was before.
pub fn prepare(root: &Path, shim: &Path) -> Result<(), String> {
    let scene = Scene::of(root);
    // What there is a scene of, and the rename that was not made there.
    let mut kept = BTreeMap::new();
    for (operation, at_rename) in OWNERS {
        let fails = at_rename.and_then(|name| kept.get(name).copied().flatten());
        for call in ["rename", "fsync", "unlink"] {
            for at in 1.. {
                let (operation, call) = (operation.to_owned(), call.to_owned());
                let victim = Victim { root: root.to_owned(), operation, fails, call, at };
                if !dies(&scene, &victim, shim)? {
                    break;
                }
                let Some(death) = death(&scene).filter(|death| !kept.contains_key(death)) else { continue };
                kept.insert(death, (victim.call == "rename").then_some(at));
                // As it is: the journal tells what was built by its inode.
                fs::rename(scene.run(), scene.kept(death)).unwrap();
                fs::create_dir(scene.run()).unwrap();
            }
        }
    }
    match DEATHS.iter().find(|(name, _)| !kept.contains_key(name)) {
        Some((name, _)) => Err(format!("no kill leaves this: {name}")),
        None => Ok(()),
    }
}

/// Has the victim play, and tells whether it came so far as to be killed.
fn dies(scene: &Scene, victim: &Victim, shim: &Path) -> Result<bool, String> {
    scene.reset();
    // Else a restored file would be as open as the one whose place it takes.
    close_to_others(&scene.run());
    let theirs = inodes(&scene.run());
    let status = Command::new(std::env::current_exe().unwrap())
        .env(ROLE, serde_json::to_string(victim).unwrap())
        .env("LD_PRELOAD", shim)
        .stdin(Stdio::null())
        .status()
        .map_err(|e| e.to_string())?;
    if let Some(path) = open_to_others(&scene.run(), &theirs).first() {
        return Err(format!("{victim:?} left {} open to others", path.display()));
    }
    match status.signal() {
        Some(signal) if signal == Signal::SIGKILL as i32 => Ok(true),
        None if status.success() => Ok(false),
        _ => Err(format!("{victim:?} ended with {status}")),
    }
}

/// What the one that was killed left, if that is one of [`DEATHS`].
fn death(scene: &Scene) -> Option<&'static str> {
    let (_, journal) = journal(&scene.data())?;
    let exchanges = journal["exchanges"].as_array()?;
    let made = exchanges.iter().filter(|exchange| is_made(exchange)).count();
    let staged = path_of(&exchanges[0], "staged");
    let is_half = staged.is_dir() && files(&staged).len() < scene.captured.len() - 1;
    let is_fork = journal["purpose"] == "fork";
    let id = journal["instance_id"].as_str()?;
    let is_registered = scene.own().join(format!("instances/{id}.json")).exists();
    let name = match (is_fork, journal["step"].as_str()?, made, is_half) {
        (false, "building", ..) if staged.is_dir() => "a restore that was building",
        (false, "forward", 0, false) => "a restore that was about to exchange",
        (false, "forward", 1, false) => "a restore between two exchanges",
        (false, "forward", 2, false) if staged.is_dir() => "a restore that had exchanged all",
        (false, "forward", 2, true) => "a restore that was removing the old files",
        (false, "back", 1, _) => "a restore that was taking back",
        (false, "back", 0, true) => "a restore that was removing what it took back",
        (true, "building", ..) if staged.is_dir() => "a fork that was building",
        (true, "forward", 0, false) => "a fork that was about to come into place",
        (true, "forward", 1, false) if !staged.is_dir() => "a fork half of which was in place",
        (true, "forward", 2, _) if !is_registered => "a fork that was not registered",
        (true, "forward", 2, _) => "a fork that was registered",
        (true, "forward", 1, true) => "a fork that was being removed",
        _ => return None,
    };
    DEATHS.iter().map(|(known, _)| *known).find(|known| known.ends_with(name))
}

/// The journal that is there, and its path.
fn journal(data: &Path) -> Option<(PathBuf, Value)> {
    let entries = fs::read_dir(data.join("snapshots/.libhypeman/journals")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let path = paths.find(|path| path.extension().is_some_and(|extension| extension == "json"))?;
    let text = fs::read(&path).unwrap();
    Some((path, serde_json::from_slice(&text).unwrap()))
}

/// Where an exchange has its `staged` or its `target`.
fn path_of(exchange: &Value, which: &str) -> PathBuf {
    Path::new(exchange["parent"].as_str().unwrap()).join(exchange[which].as_str().unwrap())
}

/// Tells whether what was built is in its place.
fn is_made(exchange: &Value) -> bool {
    let target = fs::symlink_metadata(path_of(exchange, "target"));
    target.is_ok_and(|found| Some(found.ino()) == exchange["inode"].as_u64())
}

/// Puts into the scene what is to be there before the opening called `name`.
pub fn leave(scene: &Scene, name: &str) {
    match name {
        CREATE => {
            fs::create_dir_all(scene.own().join("staging/dead/guest")).unwrap();
            fs::write(scene.own().join("staging/dead/guest/memory"), "half").unwrap();
            fs::create_dir_all(scene.own().join("trash/dead/guest")).unwrap();
            fs::write(scene.own().join("trash/dead/snapshot.json"), "{}").unwrap();
        }
        COMPRESSION => {
            let path = scene.data().join("snapshots").join(&scene.raw).join("snapshot.json");
            let record = fs::read_to_string(&path).unwrap();
            let asks = "\"compression_state\": \"compressing\", \"compression\": {\"enabled\": true, \"algorithm\": \"zstd\", \"level\": 1}";
            let record = record.replace("\"compression_state\": \"none\"", asks);
            fs::write(&path, &record).unwrap();
            // As its writer would have it: no seal speaks of this record.
            let sidecar = path.with_file_name("libhypeman.json");
            fs::remove_file(sidecar).unwrap();
            fs::write(scene.own().join("jobs").join(&scene.raw), "").unwrap();
        }
        _ if end_of(name).is_some() => {
            let kept = scene.kept(name);
            fs::remove_dir_all(scene.run()).unwrap();
            copy(&kept, &scene.run());
            name_the_copies(scene, &kept);
        }
        _ => {}
    }
}

/// Has the journal name the inodes of the copies in the place of those that they are copies of.
fn name_the_copies(scene: &Scene, kept: &Path) {
    let (path, mut journal) = journal(&scene.data()).expect("each of the dead left a journal");
    for exchange in journal["exchanges"].as_array_mut().unwrap() {
        let was = exchange["inode"].as_u64();
        let now = ["staged", "target"].into_iter().map(|which| path_of(exchange, which)).find_map(|path| {
            let then = kept.join(path.strip_prefix(scene.run()).unwrap());
            let is_it = fs::symlink_metadata(then).is_ok_and(|found| Some(found.ino()) == was);
            is_it.then(|| fs::symlink_metadata(path).unwrap().ino())
        });
        if let Some(now) = now {
            exchange["inode"] = now.into();
        }
        if !exchange["parent_inode"].is_null() {
            let parent = exchange["parent"].as_str().expect("a path");
            exchange["parent_inode"] = fs::metadata(parent).unwrap().ino().into();
        }
    }
    fs::write(path, journal.to_string()).unwrap();
}

/// How the opening called `name` ends, if that is after one of [`DEATHS`].
pub fn end_of(name: &str) -> Option<End> {
    DEATHS.iter().find(|(known, _)| *known == name).map(|(_, end)| *end)
}

/// Removes the journal, as a recovery would have it that does not look for one.
pub fn forget(scene: &Scene) {
    let (path, _) = journal(&scene.data()).expect("each of the dead left a journal");
    fs::remove_file(path).unwrap();
}

/// Has the instance as it was before, or as it was captured.
pub fn make_instance(scene: &Scene, is_restored: bool) {
    for (path, bytes) in if is_restored { scene.captured.clone() } else { scene.before() } {
        let path =
            if path == Path::new(DISK) { scene.run().join(DISK) } else { scene.run().join("web").join(path) };
        fs::write(path, bytes).unwrap();
    }
}

/// Removes a fork but for its registration.
pub fn remove_files_of_fork(scene: &Scene) {
    fs::remove_dir_all(scene.data().join("guests")).unwrap();
    fs::remove_file(scene.run().join(FORK_DISK)).unwrap();
}
