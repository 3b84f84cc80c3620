//! Crash states without a file system: recorded operations, replayed with what a power cut may take.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hypeman_tests::report::{Report, is_long, seed};
use serde::{Deserialize, Serialize};

use crate::disk::{Chance, Disk, Ino, Node, Op, ROOT, Random, State};
use crate::in_role;
use crate::judge::Promises;
use crate::record::{Recording, load, scratch};
use crate::scene::SCENES;
use crate::trace::{INODE_TOKEN, with_inodes};

/// What one worker found.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Found {
    replayed: u64,
    judged: u64,
    failures: Vec<String>,
    failure_count: u64,
    controls: BTreeMap<String, bool>,
}

/// A worker's share of the states of one recording.
#[derive(Clone, Copy)]
struct Share {
    number: u64,
    of: u64,
    states: u64,
    seed: u64,
}

/// Steps that must not change places, by scene: the first, and what it must not come before.
const ORDERS: [(&str, &str, &str); 9] = [
    ("create-stopped", "rename /staging/* to /data/snapshots/*", "flush /staging/*/snapshot.json"),
    ("create-zstd", "rename /staging/* to /data/snapshots/*", "make /jobs/*"),
    ("create-zstd", "remove /data/snapshots/*/guest/snapshots/snapshot-latest/memory", "link"),
    ("create-zstd", "rename /staging/*.json to /data/snapshots/*/snapshot.json", "link"),
    ("restore", "exchange", "rename /journals/.vm-a to /journals/vm-a.json"),
    ("restore", "exchange", "flush /vms"),
    ("restore", "remove /journals/vm-a.json", "exchange"),
    ("fork", "rename /instances/.scratch to /instances/*.json", "rename /vms/"),
    ("fork", "remove /journals/*.json", "rename /instances/.scratch to /instances/*.json"),
];

/// Flushes that no crash state shows to be needed, by the start of their names.
const NEEDLESS: [&str; 7] = [
    // The host's own, of the instance that it replaces.
    "Replacing",
    // So that the pause need not wait for it.
    "Creating: flush /disks/extra.raw",
    // Every opener makes them; `first-open` shows what for.
    "Recovering: flush /data",
    "Recovering: flush ,",
    // It notes what the dead host had noted.
    "Recovering: flush /journals, 1",
    // What goes forward is carried on from its journal, as long as that is there: old files are never needed again.
    "Recovering: flush /vms, 1",
    "Recovering: flush /disks, 1",
];

pub fn no_power_cut_loses_what_was_acknowledged() {
    let states = if is_long() { 1_000_000 } else { 100_000 };
    let seed = seed(1);
    let mut report = Report::new("crash-replay", seed);
    report.at_least("crash states replayed", states);
    let each = states.div_ceil(SCENES.len() as u64);
    // A step is caught where any scene needs it: in the others there may be nothing yet for it to make sure.
    let mut controls: BTreeMap<String, bool> = BTreeMap::new();
    let only = std::env::var("HYPEMAN_CRASH_SCENE").ok();
    for scene in SCENES.iter().filter(|scene| only.as_deref().is_none_or(|only| only == scene.name)) {
        let found = replay(scene.name, each, seed);
        report.tried("crash states replayed", found.replayed);
        report.tried("distinct states opened and judged", found.judged);
        for failure in &found.failures {
            report.failure(format!("{}: {failure}", scene.name));
        }
        for (control, caught) in found.controls {
            *controls.entry(control).or_default() |= caught;
        }
    }
    for (control, caught) in controls {
        report.control(&control, caught);
    }
    let vendor = replay("vendor", 500, seed);
    report.control("the vendor's order: write, rename, unlink, and no flush", vendor.failure_count > 0);
    report.finish();
}

/// Records the scene `name` and replays states of it, on all processors.
fn replay(name: &str, states: u64, seed: u64) -> Found {
    let recording = Recording::make(name);
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let path = recording.path().display();
    let children: Vec<_> = (0..workers)
        .map(|number| {
            let role = format!("replay|{name}|{path}|{number}|{workers}|{states}|{seed}");
            in_role(&role).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut all = Found::default();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let found: Found = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("a worker of {name} said no JSON: {e}"));
        all.replayed += found.replayed;
        all.judged += found.judged;
        all.failures.extend(found.failures);
        all.failure_count += found.failure_count;
        all.controls.extend(found.controls);
    }
    all
}

/// A role: the worker `number` of some.
pub fn work(parts: &[&str]) {
    let [name, directory, number, of, states, seed] = parts else { panic!("a worker has six words") };
    let parse = |word: &str| word.parse().expect("a number");
    let share = Share { number: parse(number), of: parse(of), states: parse(states), seed: parse(seed) };
    let disk = load(Path::new(directory));
    let place = scratch();
    let mut found = Found::default();
    explore(&disk, share, place.path(), &mut found);
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    let flushes = (0..disk.ops.len()).filter(|at| matches!(disk.ops[*at], Op::Flush { .. }));
    for (count, at) in flushes.enumerate() {
        let times = names.entry(&disk.names[at]).or_default();
        *times += 1;
        let name = format!("{}, {times}", disk.names[at]);
        let is_needless = NEEDLESS.iter().any(|needless| name.starts_with(needless));
        if count as u64 % share.of == share.number && !is_needless {
            found.controls.insert(format!("without {name}"), is_missed(&disk, at, place.path()));
        }
    }
    let orders = ORDERS.iter().filter(|order| order.0 == *name);
    for (count, (_, what, before)) in orders.enumerate() {
        if count as u64 % share.of == share.number {
            let name = format!("{what} before {before}");
            found.controls.insert(name, is_order_missed(&disk, what, before, place.path()));
        }
    }
    println_json(&found);
}

#[allow(clippy::print_stdout, reason = "the answer of a worker")]
fn println_json(found: &Found) {
    println!("{}", serde_json::to_string(found).expect("what was found is JSON"));
}

/// Replays states: at each moment all that was done, only what is sure, and between these whatever chance leaves.
fn explore(disk: &Disk, share: Share, place: &Path, found: &mut Found) {
    let sure = disk.sure_from();
    let mut seen = HashSet::new();
    // Before that are only the marks of what was there before.
    let first = disk.names.iter().take_while(|name| name.starts_with("before")).count();
    let moments = disk.ops.len() + 1 - first;
    for number in (share.number..share.states).step_by(usize::try_from(share.of).expect("a few")) {
        // Its own, so that a worker knows a state without those before it.
        let mut random = Random(share.seed.wrapping_add(number << 20));
        let number = usize::try_from(number).expect("states fit");
        let end = first + number % moments;
        let chance = match number / moments {
            0 => Chance { names: 256, data: 256, seed: 0 },
            1 => Chance { names: 0, data: 0, seed: 0 },
            2 => Chance { names: 256, data: 0, seed: 0 },
            _ => Chance {
                names: [64, 128, 192, 240, 256][random.below(5)],
                data: [0, 64, 128, 240, 256][random.below(5)],
                seed: random.next(),
            },
        };
        let state = disk.crash(&sure, end, chance, None);
        found.replayed += 1;
        let marks = disk.ops[..end].iter().filter(|op| matches!(op, Op::Mark(_))).count();
        if !seen.insert((state.hash, marks)) {
            continue;
        }
        found.judged += 1;
        if let Err(why) = judge(disk, end, &state, place) {
            found.failure_count += 1;
            if found.failures.len() < 5 {
                let last = end.checked_sub(1).map_or("the start", |last| disk.names[last].as_str());
                found.failures.push(format!("after {end} operations ({last}), {chance:?}: {why}"));
            }
        }
    }
}

/// Tells whether anything goes wrong when the flush `at` was never made: only what it alone made sure is lost then.
fn is_missed(disk: &Disk, at: usize, place: &Path) -> bool {
    let mut without = disk.clone();
    if let Op::Flush { covers, .. } = &mut without.ops[at] {
        *covers = 0;
    }
    let (before, after) = (disk.sure_from(), without.sure_from());
    let mut seen = HashSet::new();
    for end in at + 1..=disk.ops.len() {
        let at_risk: Vec<_> = (0..end).filter(|op| before[*op] <= end && after[*op] > end).collect();
        // All of it is lost, or its end, or its beginning.
        let part = |from: usize, to: usize| at_risk[from..to].to_vec();
        let halves = (0..=at_risk.len()).flat_map(|cut| [part(cut, at_risk.len()), part(0, cut)]);
        for lost in halves.filter(|lost| !lost.is_empty()) {
            let state = without.crash(&after, end, Chance { names: 256, data: 256, seed: 1 }, Some(&lost));
            let marks = disk.ops[..end].iter().filter(|op| matches!(op, Op::Mark(_))).count();
            if seen.insert((state.hash, marks)) && judge(disk, end, &state, place).is_err() {
                return true;
            }
        }
    }
    false
}

/// Tells whether anything goes wrong when the operation `what` comes right before the first `before`.
fn is_order_missed(disk: &Disk, what: &str, before: &str, place: &Path) -> bool {
    let find = |word: &str| disk.names.iter().position(|name| name.contains(word));
    let from = find(what).unwrap_or_else(|| panic!("there is no step {what} in {:#?}", disk.names));
    let to = find(before).unwrap_or_else(|| panic!("there is no step {before} in {:#?}", disk.names));
    assert!(to < from, "{what} comes before {before}");
    let mut moved = disk.clone();
    let op = moved.ops.remove(from);
    let name = moved.names.remove(from);
    moved.ops.insert(to, op);
    moved.names.insert(to, name);
    for op in &mut moved.ops {
        if let Op::Flush { covers, .. } = op
            && (to + 1..=from).contains(covers)
        {
            *covers += 1;
        }
    }
    let share = Share { number: 0, of: 1, states: 8 * moved.ops.len() as u64, seed: 1 };
    let mut found = Found::default();
    explore(&moved, share, place, &mut found);
    found.failure_count > 0
}

/// Lays `state` out in `place`, and asks whether it keeps what was promised in the first `end` operations.
#[allow(clippy::disallowed_methods, reason = "this process is a worker, and its scene is where it works")]
fn judge(disk: &Disk, end: usize, state: &State, place: &Path) -> Result<(), String> {
    let promises = Promises::of(disk.ops[..end].iter().filter_map(|op| match op {
        Op::Mark(mark) => Some(mark),
        _ => None,
    }));
    let root = place.join("state");
    lay_out(state, &root);
    std::env::set_current_dir(&root).unwrap();
    let verdict = std::panic::catch_unwind(|| promises.judge())
        .unwrap_or_else(|_| Err("it panicked, or a job did not come to its end".to_owned()));
    std::env::set_current_dir(place).unwrap();
    fs::remove_dir_all(&root).unwrap();
    verdict
}

fn lay_out(state: &State, root: &Path) {
    let mut numbers: BTreeMap<Ino, u64> = BTreeMap::new();
    let mut notes: Vec<(PathBuf, Ino)> = Vec::new();
    lay_out_one(state, ROOT, root, &mut numbers, &mut notes);
    for (path, ino) in notes {
        if let Node::File(content) = &state.nodes[ino] {
            let real = |ino: Ino| numbers.get(&ino).copied().unwrap_or(0);
            fs::write(path, with_inodes(content, real)).unwrap();
        }
    }
}

fn lay_out_one(
    state: &State,
    ino: Ino,
    path: &Path,
    numbers: &mut BTreeMap<Ino, u64>,
    notes: &mut Vec<(PathBuf, Ino)>,
) {
    use std::io::Write;
    match &state.nodes[ino] {
        Node::Directory(entries) => {
            fs::DirBuilder::new().mode(0o700).create(path).unwrap();
            for (name, ino) in entries {
                lay_out_one(state, *ino, &path.join(name), numbers, notes);
            }
        }
        Node::File(content) => {
            let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
            file.write_all(content).unwrap();
            let token = INODE_TOKEN.as_bytes();
            if content.len() < 1 << 16 && content.windows(token.len()).any(|part| part == token) {
                notes.push((path.to_owned(), ino));
            }
        }
        Node::Link(target) => std::os::unix::fs::symlink(target, path).unwrap(),
    }
    numbers.insert(ino, path.symlink_metadata().unwrap().ino());
}
