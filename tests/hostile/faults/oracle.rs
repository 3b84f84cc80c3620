//! What must hold after any fault, seen by an opener that meets none.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use hypeman_core::{Call, CreateSnapshot, Hypeman, Kind, SnapshotFilter, SnapshotKind};
use hypeman_tests::scripted::memory;

use super::leftovers::{End, end_of};
use super::operations::{DISK, FORK, FORK_DISK, Outcome, Scene, contents, settle};
use crate::scene::{files, open};

/// What an operation may say, by the fault that it met.
pub fn code_fits(kind: Kind, operation: &str, call: &str, how: &str) -> bool {
    let of_errno: &[Kind] = match how.parse().unwrap_or(0) {
        nix::libc::ENOSPC | nix::libc::EDQUOT => &[Kind::NoSpace],
        nix::libc::EROFS => &[Kind::Permission],
        nix::libc::EIO | nix::libc::EMFILE | nix::libc::EINTR => &[Kind::Io],
        // Half an answer, or bytes that never came: what is seen is damage.
        _ => &[Kind::Io, Kind::Corrupt, Kind::Internal],
    };
    // A conversation that breaks is the VMM's fault as far as anyone can tell.
    let of_call: &[Kind] = match call {
        "socket" | "connect" | "recv" | "send" | "poll" => &[Kind::Hypervisor, Kind::Timeout, Kind::Io],
        // The standard library asks what is in the way of a directory and tells of that.
        "stat" => &[Kind::Io],
        _ => &[],
    };
    // That a VM could not be resumed at once comes before the reason.
    let is_of_vm = operation.contains("live") && kind == Kind::Hypervisor;
    of_errno.contains(&kind) || of_call.contains(&kind) || is_of_vm
}

/// Opens the directory afresh and looks at everything.
pub fn check(scene: &Scene, operation: &str, outcome: &Outcome) -> Result<(), String> {
    let data = scene.data();
    let hm = open(&data).map_err(|e| format!("the next open: {e}"))?;
    settle(&hm)?;
    let say = |what: &str, error: hypeman_core::Error| format!("{what}: {error}");

    let mut ids: Vec<_> = hm
        .snapshots()
        .list(&SnapshotFilter::default())
        .map_err(|e| say("list", e))?
        .into_iter()
        .map(|found| found.id.clone())
        .collect();
    for (id, may_go) in [(&scene.raw, operation == "delete"), (&scene.packed, false)] {
        let is_there = ids.iter().position(|found| found == id).map(|at| ids.remove(at)).is_some();
        let is_deleted = outcome.as_ref().is_ok_and(|done| done.deleted) && may_go;
        match is_there {
            true if is_deleted => return Err(format!("{id} was deleted and is there")),
            false if !may_go => return Err(format!("{id} is lost")),
            true => whole(&hm, id, &memory())?,
            false => {}
        }
    }
    let made = outcome.as_ref().ok().and_then(|done| done.made.clone());
    match (made, ids.as_slice()) {
        (Some(made), [found]) if *found == made => whole(&hm, &made, &memory())?,
        (Some(made), _) => return Err(format!("{made} was acknowledged and is lost")),
        (None, []) => {}
        // Not acknowledged, but whole all the same.
        (None, [found]) if operation.starts_with("create") => whole(&hm, found, &memory())?,
        (None, strangers) => return Err(format!("{strangers:?} came from nowhere")),
    }
    instance(scene, end(operation, "restore", outcome.is_ok()))?;
    fork(&hm, scene, end(operation, "fork", outcome.is_ok()))?;
    nothing_beside(scene)?;
    let own = scene.own();
    for place in ["staging", "trash", "intents", "journals"] {
        let left = fs::read_dir(own.join(place)).map_err(|e| e.to_string())?;
        if let Some(entry) = left.map(Result::unwrap).find(|entry| {
            entry.path().is_dir()
                || place != "journals"
                || !entry.file_name().to_string_lossy().starts_with('.')
        }) {
            return Err(format!("{:?} is left in {place}", entry.file_name()));
        }
    }
    if !ask_state(&scene.socket()).contains("Running") {
        ask(&scene.socket(), "vm.resume");
        return Err("the VM is left paused".to_owned());
    }
    if operation.starts_with("create") {
        name_is_free_or_owned(&hm, operation, !ids.is_empty())?;
    }
    hm.close();
    Ok(())
}

/// Every byte is right, and memory is what it was.
fn whole(hm: &Hypeman, id: &str, memory: &[u8]) -> Result<(), String> {
    let report = hm.snapshots().verify(id, Call::default()).map_err(|e| format!("verify {id}: {e}"))?;
    if !report.defects.is_empty() {
        return Err(format!("{id} is damaged: {:?}", report.defects));
    }
    let image = hm.snapshots().memory(id).map_err(|e| format!("memory of {id}: {e}"))?;
    let mut found = vec![0; image.size_bytes() as usize];
    image.read_at(0, &mut found).map_err(|e| format!("memory of {id}: {e}"))?;
    if found == memory { Ok(()) } else { Err(format!("the memory of {id} is wrong")) }
}

/// How a restore or a fork, which `what` says, has to end.
fn end(operation: &str, what: &str, is_acknowledged: bool) -> End {
    match end_of(operation) {
        Some(end) if operation.contains(what) => end,
        None if operation.starts_with(what) && is_acknowledged => End::Done,
        None if operation.starts_with(what) => End::Either,
        _ => End::Undone,
    }
}

/// The instance is as it was, or as it was captured.
fn instance(scene: &Scene, end: End) -> Result<(), String> {
    let now = contents(&scene.run());
    let (is_before, is_captured) = (now == scene.before(), now == scene.captured);
    match end {
        _ if !is_before && !is_captured => {
            Err("the instance is neither as it was nor as it was captured".to_owned())
        }
        End::Done if !is_captured => Err("a restore that was done is undone".to_owned()),
        End::Undone if !is_before => Err("a restore that was not done is done".to_owned()),
        _ => Ok(()),
    }
}

/// A fork is there with all of its files, or nothing of it is.
fn fork(hm: &Hypeman, scene: &Scene, end: End) -> Result<(), String> {
    let instances = hm.instances().list().map_err(|e| format!("instances: {e}"))?;
    let found = instances.into_iter().find(|instance| instance.name == FORK);
    let guests = fs::read_dir(scene.data().join("guests")).map_or(0, Iterator::count);
    let disks = usize::from(scene.run().join(FORK_DISK).exists());
    let there = usize::from(found.is_some());
    if (guests, disks) != (there, there) {
        return Err(format!("{there} forks, and files of {guests} and disks of {disks}"));
    }
    match (found, end) {
        (None, End::Done) => Err("a fork that was done is lost".to_owned()),
        (Some(_), End::Undone) => Err("a fork that was not done is there".to_owned()),
        (Some(fork), _) => {
            let mut now = files(&fork.directory.unwrap_or_default());
            now.push((DISK.into(), fs::read(scene.run().join(FORK_DISK)).map_err(|e| e.to_string())?));
            if now == scene.captured { Ok(()) } else { Err("the fork is not as it was captured".to_owned()) }
        }
        (None, _) => Ok(()),
    }
}

/// Nothing lies beside the instances: what was built and has no place is removed.
fn nothing_beside(scene: &Scene) -> Result<(), String> {
    let places = [scene.run(), scene.data().join("guests")];
    let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten();
    let known = ["data", "web", "live", DISK, FORK_DISK];
    for entry in entries.map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.')
            || (entry.path().parent() == Some(&scene.run()) && !known.contains(&name.as_str()))
        {
            return Err(format!("{name} is left beside the instance"));
        }
    }
    Ok(())
}

fn name_is_free_or_owned(hm: &Hypeman, operation: &str, is_owned: bool) -> Result<(), String> {
    let vm = if operation.contains("live") { "live" } else { "web" };
    let request = CreateSnapshot { name: Some("new".into()), ..CreateSnapshot::new(SnapshotKind::Standby) };
    match hm.instances().snapshots().create(vm, &request, Call::default()) {
        Ok(_) if !is_owned => Ok(()),
        Err(error) if is_owned && error.kind() == Kind::Conflict => Ok(()),
        Ok(_) => Err("a name was given twice".to_owned()),
        Err(error) => Err(format!("the name is neither free nor owned: {error}")),
    }
}

/// Asks the VMM for an action.
pub fn ask(socket: &Path, action: &str) {
    exchange(socket, "PUT", action);
}

fn ask_state(socket: &Path) -> String {
    exchange(socket, "GET", "vm.info")
}

fn exchange(socket: &Path, method: &str, action: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "{method} /api/v1/{action} HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
