//! Crash states without a file system: recorded operations, replayed with what a power cut may take.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hypeman_tests::report::{Report, is_long, seed};
use serde::{Deserialize, Serialize};

use crate::controls;
use crate::disk::{Chance, Disk, Ino, Node, Op, ROOT, Random, State};
use crate::in_role;
use crate::judge::Promises;
use crate::kill::points;
use crate::record::{Recording, load, prepare, scratch};
use crate::scene::{Before, Killed, Mark, RECOVER, SCENE, SCENES, Scene};
use crate::trace::{INODE_TOKEN, with_inodes};

/// What one worker found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Found {
    replayed: u64,
    judged: u64,
    failures: Vec<String>,
    pub failure_count: u64,
    controls: BTreeMap<String, bool>,
}

/// A worker's share of the states of one recording.
#[derive(Clone, Copy)]
pub struct Share {
    pub number: u64,
    pub of: u64,
    pub states: u64,
    pub seed: u64,
}

/// Beside a recording: the names of controls that other scenes have caught; none where no control is to be tried.
const CAUGHT: &str = "caught";

const RECOVERED: &str = "hosts killed anywhere and recovered from";

/// The calls that change something. How often a host makes others, such as to look whether its job has ended, differs.
const CHANGES: [&str; 9] = [
    "mkdirat",
    "unlinkat",
    "renameat",
    "renameat2",
    "linkat",
    "pwrite64",
    "copy_file_range",
    "fsync",
    "fdatasync",
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
        let found = replay(&Recording::make(scene.name), scene.name, each, seed, Some(&controls));
        found.tell(scene.name, &mut report);
        for (control, caught) in found.controls {
            *controls.entry(control).or_default() |= caught;
        }
    }
    for (control, caught) in controls {
        report.control(&control, caught);
    }
    if only.as_deref().is_none_or(|only| only == RECOVER.name) {
        recover_from_anything(&mut report, seed);
    }
    let vendor = replay(&Recording::make("vendor"), "vendor", 500, seed, None);
    report.control("the vendor's order: write, rename, unlink, and no flush", vendor.failure_count > 0);
    report.finish();
}

impl Found {
    fn tell(&self, scene: &str, report: &mut Report) {
        report.tried("crash states replayed", self.replayed);
        report.tried("distinct states opened and judged", self.judged);
        for failure in &self.failures {
            report.failure(format!("{scene}: {failure}"));
        }
    }
}

/// Replays states of the recovery from hosts that were killed: in the long run at each of their calls that changes
/// something, else at some that are chosen at random.
fn recover_from_anything(report: &mut Report, seed: u64) {
    // The socket of a VMM that was killed with its host is no part of what is replayed.
    let is_host = |scene: &&Scene| matches!(scene.before, Before::Made(_)) && scene.name != "create-live";
    let mut deaths = Vec::new();
    for host in SCENES.iter().filter(is_host).map(|scene| scene.name) {
        let place = scratch();
        prepare(host, &place.path().join("before"));
        let points = points(host, &place.path().join("before"), place.path());
        let changes = points.into_iter().filter(|(call, _)| CHANGES.contains(&call.as_str()));
        deaths.extend(changes.map(|(call, time)| (host, call, time)));
    }
    let wanted = if is_long() { deaths.len() as u64 } else { 12 };
    let mut random = Random(seed);
    while report.count(RECOVERED) < wanted && !deaths.is_empty() {
        let (host, call, time) = deaths.swap_remove(random.below(deaths.len()));
        // Which of its threads makes how many of them differs: one that was not killed is none to recover from.
        let Some(recording) = Recording::of(RECOVER.name, Some(Killed { host, call: &call, time })) else {
            continue;
        };
        let found = replay(&recording, RECOVER.name, 200, seed, None);
        found.tell(&format!("recovery from {host}, killed at {call} number {time}"), report);
        report.tried(RECOVERED, 1);
    }
    // Few of those that are numbered are not met again.
    report.at_least(RECOVERED, wanted - wanted / 10);
}

/// Replays states of `recording`, of the scene `name`, on all processors. Of `controls`, those that were caught are not
/// tried again; without any, none is tried.
fn replay(
    recording: &Recording,
    name: &str,
    states: u64,
    seed: u64,
    controls: Option<&BTreeMap<String, bool>>,
) -> Found {
    let caught = controls
        .map(|all| all.iter().filter(|(_, caught)| **caught).map(|(name, _)| name).collect::<Vec<_>>());
    let caught = serde_json::to_string(&caught).expect("names are JSON");
    fs::write(recording.path().join(CAUGHT), caught).unwrap();
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
    let [scene_name, directory, number, of, states, seed] = parts else { panic!("a worker has six words") };
    let parse = |word: &str| word.parse().expect("a number");
    let share = Share { number: parse(number), of: parse(of), states: parse(states), seed: parse(seed) };
    let disk = load(Path::new(directory));
    let place = scratch();
    let mut found = Found::default();
    explore(&disk, share, place.path(), &mut found);
    let caught = fs::read_to_string(Path::new(directory).join(CAUGHT)).unwrap();
    let caught: Option<Vec<String>> = serde_json::from_str(&caught).expect("names are JSON");
    let controls = caught.map_or_else(Vec::new, |caught| {
        let mut controls = controls::of(&disk, scene_name);
        controls.retain(|(name, _)| !caught.contains(name));
        controls
    });
    for (count, (name, control)) in controls.into_iter().enumerate() {
        if count as u64 % share.of == share.number {
            found.controls.insert(name, control.is_missed(&disk, place.path()));
        }
    }
    println_json(&found);
}

#[allow(clippy::print_stdout, reason = "the answer of a worker")]
fn println_json(found: &Found) {
    println!("{}", serde_json::to_string(found).expect("what was found is JSON"));
}

/// The first operation of the scene itself: before it are the marks of what was there, and what a killed host did, which is
/// a scene of its own.
pub fn begin(disk: &Disk) -> usize {
    let is_recovering = |op: &Op| matches!(op, Op::Mark(Mark::Recovering));
    let before = || disk.names.iter().take_while(|name| name.starts_with("before")).count();
    disk.ops.iter().position(is_recovering).unwrap_or_else(before)
}

/// Replays states: at each moment all that was done, only what is sure, and between these whatever chance leaves.
pub fn explore(disk: &Disk, share: Share, place: &Path, found: &mut Found) {
    let sure = disk.sure_from();
    let mut seen = HashSet::new();
    let first = begin(disk);
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

/// Lays `state` out in `place`, and asks whether it keeps what was promised in the first `end` operations.
#[allow(clippy::disallowed_methods, reason = "this process is a worker, and its scene is where it works")]
pub fn judge(disk: &Disk, end: usize, state: &State, place: &Path) -> Result<(), String> {
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
            let real = |ino: Ino, before: &str| {
                let living = if numbers.contains_key(&ino) { Some(ino) } else { heir(state, ino, before) };
                living.and_then(|ino| numbers.get(&ino)).copied().unwrap_or(0)
            };
            fs::write(path, with_inodes(content, real)).unwrap();
        }
    }
}

/// Who has the number of the inode `ino`, which is no more: file systems give it to the next that is made, which may be
/// what lies in the target of a journal's exchange now. `before` is what the journal says before the number.
fn heir(state: &State, ino: Ino, before: &str) -> Option<Ino> {
    let last = |key: &str| before.rsplit_once(&format!("\"{key}\": \""))?.1.split('"').next();
    let directory = last("parent")?.strip_prefix(SCENE)?;
    let found = Disk::find(&state.nodes, ROOT, &format!("{directory}/{}", last("target")?));
    found.filter(|found| *found > ino)
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
