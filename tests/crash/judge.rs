//! The oracle: whether what a crash left keeps every promise that was made before it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hypeman_core::{Call, CompressionState, CreateSnapshot, Hypeman, Snapshot, SnapshotFilter, SnapshotKind};

use crate::scene::{IS_LIVE, MEMORY, Mark, VM, extra, files, kind, open, path, settle};

/// What must hold, after some marks.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// By id: the content, and whether it was settled, and then whether its memory is compressed.
    snapshots: BTreeMap<String, (u8, Option<bool>)>,
    /// What may have become a snapshot, without anyone having been told.
    creating: Option<(u8, Option<String>)>,
    names: BTreeSet<String>,
    deleting: Option<String>,
    deleted: BTreeSet<String>,
    /// What the instance may hold.
    contents: BTreeSet<u8>,
    /// Which of that is a copy of a snapshot's memory.
    counted: Option<u8>,
    registered: BTreeMap<String, Option<bool>>,
    /// How far a fork is, if one was begun.
    fork: Option<Fork>,
}

/// A fork under way, done, or no instance any more, while its files stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fork {
    Begun,
    Acknowledged,
    Parted,
}

impl Promises {
    pub fn of<'m>(marks: impl Iterator<Item = &'m Mark>) -> Self {
        let mut promises = Self::default();
        marks.for_each(|mark| promises.add(mark));
        promises
    }

    fn add(&mut self, mark: &Mark) {
        match mark.clone() {
            Mark::Creating { content, name } => {
                self.names.extend(name.clone());
                self.creating = Some((content, name));
            }
            Mark::Created { id } => {
                let (content, _) = self.creating.take().expect("it was being created");
                self.snapshots.insert(id, (content, None));
            }
            Mark::Settled { id, compressed } => {
                self.snapshots.get_mut(&id).expect("it was created").1 = Some(compressed);
            }
            Mark::Compressing { id } => self.snapshots.get_mut(&id).expect("it was created").1 = None,
            Mark::Deleting { id } => self.deleting = Some(id),
            Mark::Deleted { id } => {
                self.deleting = None;
                self.snapshots.remove(&id);
                self.deleted.insert(id);
            }
            Mark::Counting { content } => self.counted = Some(content),
            Mark::Placing { content } => {
                self.contents.insert(content);
            }
            Mark::Replacing => {
                self.contents.clear();
                self.fork = None;
            }
            Mark::Placed { content } => self.contents = BTreeSet::from([content]),
            Mark::Registering { name } | Mark::Unregistering { name } => {
                self.registered.insert(name, None);
            }
            Mark::Registered { name } => {
                self.registered.insert(name, Some(true));
            }
            Mark::Unregistered { name } => {
                self.registered.insert(name, Some(false));
            }
            Mark::Forking => self.fork = Some(Fork::Begun),
            Mark::Forked => self.fork = Some(Fork::Acknowledged),
            Mark::Parted => self.fork = Some(Fork::Parted),
            Mark::Recovering => {}
        }
    }

    /// Opens what the working directory holds, as the next host would, and compares. Says the first thing that is wrong.
    pub fn judge(&self) -> Result<(), String> {
        raw_memory_outlives_its_compression()?;
        let hm = open().map_err(|e| format!("it cannot be opened: {e}"))?;
        settle();
        let found = self.snapshots_are_whole(&hm)?;
        self.instances_are_there(&hm)?;
        self.instance_is_old_or_new(&hm, &found)?;
        self.fork_is_whole_or_not_there(&hm, &found)?;
        nothing_is_left_over(&found)?;
        self.names_are_free_or_owned(&hm, &found)?;
        hm.close();
        Ok(())
    }

    fn snapshots_are_whole(&self, hm: &Hypeman) -> Result<Vec<Arc<Snapshot>>, String> {
        let found = hm.snapshots().list(&SnapshotFilter::default()).map_err(|e| format!("list: {e}"))?;
        for id in self.snapshots.keys().filter(|id| self.deleting.as_ref() != Some(*id)) {
            if !found.iter().any(|snapshot| snapshot.id == *id) {
                return Err(format!("snapshot {id} was acknowledged and is lost"));
            }
        }
        for snapshot in &found {
            let id = &snapshot.id;
            if self.deleted.contains(id) {
                return Err(format!("snapshot {id} was deleted and is back"));
            }
            let (content, settled) = match (self.snapshots.get(id), &self.creating) {
                (Some(known), _) => *known,
                (None, Some((content, name))) if *name == snapshot.name => (*content, None),
                _ => return Err(format!("snapshot {id} was never made")),
            };
            is_whole(hm, snapshot, content, settled).map_err(|why| format!("snapshot {id}: {why}"))?;
        }
        let listed: BTreeSet<OsString> = found.iter().map(|snapshot| snapshot.id.clone().into()).collect();
        let there = names(&path("data/snapshots")).into_iter().filter(|name| name != ".libhypeman");
        if let Some(hidden) = there.into_iter().find(|name| !listed.contains(name)) {
            return Err(format!("{} is there and not listed", hidden.display()));
        }
        Ok(found)
    }

    fn instances_are_there(&self, hm: &Hypeman) -> Result<(), String> {
        let found = hm.instances().list().map_err(|e| format!("instances: {e}"))?;
        for (name, expected) in &self.registered {
            let is_there = found.iter().any(|instance| instance.name == *name);
            if expected.is_some_and(|expected| expected != is_there) {
                return Err(format!("instance {name:?} is {}", if is_there { "back" } else { "lost" }));
            }
        }
        Ok(())
    }

    /// The directory and the disk hold one content, and all of it.
    fn instance_is_old_or_new(&self, hm: &Hypeman, found: &[Arc<Snapshot>]) -> Result<(), String> {
        let is_live = path(IS_LIVE).exists();
        let has_memory = !is_live && found.iter().any(|snapshot| snapshot.kind == SnapshotKind::Standby);
        let holds = |content: &u8| {
            let all = files(*content, has_memory);
            let is_there = |(name, bytes): &(&str, Vec<u8>)| {
                fs::read(path("vms/a").join(name)).is_ok_and(|found| found == *bytes)
            };
            all.iter().all(is_there)
                && fs::read(path("disks/extra.raw")).is_ok_and(|disk| disk == extra(*content))
        };
        let Some(held) = self.contents.iter().find(|content| holds(content)) else {
            if self.contents.is_empty() {
                return Ok(());
            }
            return Err(format!("the instance holds none of the contents {:?}", self.contents));
        };
        for snapshot in found.iter().filter(|_| self.counted == Some(*held)) {
            let inspected = hm.snapshots().inspect(&snapshot.id).map_err(|e| format!("inspect: {e}"))?;
            if inspected.generation == 0 {
                return Err(format!(
                    "the instance has memory of snapshot {}, and no one counted it",
                    snapshot.id
                ));
            }
        }
        Ok(())
    }

    /// The fork has all its files and the copy of memory is counted, or nothing of it is there.
    fn fork_is_whole_or_not_there(&self, hm: &Hypeman, found: &[Arc<Snapshot>]) -> Result<(), String> {
        let Some(fork) = self.fork else { return Ok(()) };
        let known = hm.instances().list().map_err(|e| format!("instances: {e}"))?;
        let is_known = known.iter().any(|instance| instance.name == "f");
        let (directory, disk) = (path("vms/f"), path("disks/f.raw"));
        if !is_known && fork == Fork::Begun {
            let is_left = directory.exists() || disk.exists();
            return if is_left { Err("files of a fork are left that is none".to_owned()) } else { Ok(()) };
        }
        let is_there =
            |(name, bytes): (&str, Vec<u8>)| fs::read(directory.join(name)).is_ok_and(|found| found == bytes);
        if !files(1, true).into_iter().all(is_there) || !fs::read(disk).is_ok_and(|disk| disk == extra(1)) {
            return Err("the fork is there, and not all of its files".to_owned());
        }
        // Until its end is acknowledged, there is either.
        if is_known && fork == Fork::Parted {
            return Err("the fork was unregistered and is back".to_owned());
        }
        let inspect = |snapshot: &Arc<Snapshot>| hm.snapshots().inspect(&snapshot.id);
        match found.first().map(inspect) {
            Some(Ok(inspected)) if inspected.generation > 0 => Ok(()),
            other => Err(format!("the fork has a copy of memory that no one counted: {other:?}")),
        }
    }

    fn names_are_free_or_owned(&self, hm: &Hypeman, found: &[Arc<Snapshot>]) -> Result<(), String> {
        if self.registered.get("a") != Some(&Some(true)) {
            return Ok(());
        }
        for name in &self.names {
            let owners = found.iter().filter(|snapshot| snapshot.name.as_ref() == Some(name)).count();
            let is_live = path(IS_LIVE).exists();
            // Of a VM whose VMM has gone with its power, no one can make another.
            if is_live && UnixStream::connect(path("api.sock")).is_err() && owners == 0 {
                continue;
            }
            let has_memory = path("vms/a").join(MEMORY).exists() || is_live;
            let request =
                CreateSnapshot { name: Some(name.clone()), ..CreateSnapshot::new(kind(has_memory)) };
            let again = hm.instances().snapshots().create(VM, &request, Call::default());
            match (owners, again) {
                (0, Ok(_)) => {}
                (1, Err(error)) if error.kind() == hypeman_core::Kind::Conflict => {}
                (owners, again) => {
                    return Err(format!(
                        "the name {name:?} has {owners} owners, and taking it gives {:?}",
                        again.map(|snapshot| snapshot.id).map_err(|e| e.to_string())
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Every byte of `snapshot` is what the instance held.
fn is_whole(hm: &Hypeman, snapshot: &Snapshot, content: u8, settled: Option<bool>) -> Result<(), String> {
    let fail = |what: &str, e: hypeman_core::Error| format!("{what}: {e}");
    hm.snapshots().get(&snapshot.id).map_err(|e| fail("get", e))?;
    let report = hm.snapshots().verify(&snapshot.id, Call::default()).map_err(|e| fail("verify", e))?;
    if !report.defects.is_empty() {
        return Err(format!("verify found {:?}", report.defects));
    }
    let has_memory = snapshot.kind == SnapshotKind::Standby;
    let guest = path("data/snapshots").join(&snapshot.id).join("guest");
    let mut expected: BTreeSet<PathBuf> = BTreeSet::new();
    // What a VMM writes beside memory.
    let beside = ["config.json", "state.json"].map(|name| Path::new(MEMORY).with_file_name(name));
    expected.extend(beside.into_iter().filter(|name| guest.join(name).exists()));
    let mut is_compressed = false;
    for (name, bytes) in files(content, has_memory) {
        if name == MEMORY {
            let memory = hm.snapshots().memory(&snapshot.id).map_err(|e| fail("memory", e))?;
            let mut read = vec![0; bytes.len() + 1];
            let count = memory.read_at(0, &mut read).map_err(|e| fail("memory", e))?;
            read.truncate(count);
            if read != bytes {
                return Err("its memory is not what it was".to_owned());
            }
            is_compressed = memory.path().extension().is_some();
            expected.insert(memory.path().strip_prefix(&guest).unwrap_or(memory.path()).to_owned());
        } else if fs::read(guest.join(name)).ok().as_ref() != Some(&bytes) {
            return Err(format!("{name} is not what it was"));
        } else {
            expected.insert(name.into());
        }
    }
    let all = tree(&guest);
    let more: Vec<_> = all.difference(&expected).collect();
    match more.as_slice() {
        [disk] if fs::read(guest.join(disk)).is_ok_and(|disk| disk == extra(content)) => {}
        _ => return Err(format!("its payload holds {more:?} beside the instance's files")),
    }
    let state = snapshot.compression_state.clone();
    if state == Some(CompressionState::Compressing) || matches!(state, Some(CompressionState::Error)) {
        return Err(format!("its compression is {state:?}: {:?}", snapshot.compression_error));
    }
    let compressed = state == Some(CompressionState::Compressed);
    if has_memory && compressed != is_compressed {
        return Err(format!("its compression is {state:?}, and its memory is of the other form"));
    }
    if let Some(compressed) = settled {
        if compressed != (state == Some(CompressionState::Compressed)) {
            return Err(format!("its compression is {state:?} after it had ended"));
        }
        let is_unchecked =
            |file: &hypeman_core::VerifiedFile| file.status == hypeman_core::FileStatus::Unchecked;
        if report.files.iter().any(is_unchecked) {
            return Err("its checksums were made and are lost".to_owned());
        }
    }
    Ok(())
}

/// Where a record still says `compressing`, raw memory is there: readers without our notes could not make it good.
fn raw_memory_outlives_its_compression() -> Result<(), String> {
    for id in names(&path("data/snapshots")) {
        let directory = path("data/snapshots").join(&id);
        let Ok(text) = fs::read(directory.join("snapshot.json")) else { continue };
        let Ok(record) = serde_json::from_slice::<serde_json::Value>(&text) else { continue };
        let memory = directory.join("guest").join(MEMORY);
        if record["snapshot"]["compression_state"] == "compressing" && !memory.exists() {
            return Err(format!("snapshot {} is compressing, and its raw memory is gone", id.display()));
        }
    }
    Ok(())
}

/// What a snapshot consists of; the last one is there once its memory was handed out.
const OF_A_SNAPSHOT: [&str; 4] = ["guest", "snapshot.json", "libhypeman.json", "libhypeman.generation"];

/// No stage, no trash, no note, no sibling, no scratch file: neither of the dead nor of the opener.
fn nothing_is_left_over(found: &[Arc<Snapshot>]) -> Result<(), String> {
    for directory in ["staging", "trash", "jobs", "intents", "journals"] {
        let left = names(&path("data/snapshots/.libhypeman").join(directory));
        if !left.is_empty() {
            return Err(format!("{directory} still holds {left:?}"));
        }
    }
    let is_hidden = |name: &OsString| name.to_string_lossy().starts_with('.');
    for directory in
        ["data/snapshots/.libhypeman/instances", "data/snapshots/.libhypeman/placed", "vms", "disks"]
    {
        if let Some(left) = names(&path(directory)).into_iter().find(is_hidden) {
            return Err(format!("{directory} still holds {}", left.display()));
        }
    }
    for snapshot in found {
        let there = names(&path("data/snapshots").join(&snapshot.id));
        if let Some(more) =
            there.iter().find(|name| !OF_A_SNAPSHOT.iter().any(|known| name.as_os_str() == *known))
        {
            return Err(format!("snapshot {} holds {}", snapshot.id, more.display()));
        }
    }
    Ok(())
}

fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// The files beneath `directory`, by path.
fn tree(directory: &Path) -> BTreeSet<PathBuf> {
    fn walk(root: &Path, at: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(path.strip_prefix(root).expect("it lies beneath").to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(directory, directory, &mut found);
    found
}
