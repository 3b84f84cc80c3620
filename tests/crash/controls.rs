//! Deliberate defects: a flush that is not made, a step that comes too early. Each must be seen in some crash state of some
//! scene.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::disk::{Chance, Disk, Op};
use crate::replay::{Found, Share, begin, explore, judge};
use crate::scene::{Before, scene};

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

/// Flushes that are not there for a power cut, by the start of their names.
const NEEDLESS: [&str; 2] = [
    // The host's own, of what it writes itself.
    "Replacing",
    // So that the pause need not wait for it.
    "Creating: flush /disks/extra.raw",
];

/// What every opener flushes, whoever was killed before it. All other flushes of a recovery are of what it recovers.
const OPENING: [&str; 4] = ["flush , 1", "flush , 2", "flush /data, 1", "flush /data/snapshots, 1"];

/// A defect of a recording.
pub enum Control {
    /// Without this flush.
    Without(usize),
    /// The first step of that name comes right before the first of the other.
    Before(&'static str, &'static str),
}

/// The defects of what the scene `name` did, by their names.
pub fn of(disk: &Disk, name: &str) -> Vec<(String, Control)> {
    let mut found = Vec::new();
    let mut times: BTreeMap<&str, u32> = BTreeMap::new();
    let flushes = (begin(disk)..disk.ops.len()).filter(|at| matches!(disk.ops[*at], Op::Flush { .. }));
    for at in flushes {
        let times = times.entry(&disk.names[at]).or_default();
        *times += 1;
        let step = format!("{}, {times}", disk.names[at]);
        if !NEEDLESS.iter().any(|needless| step.starts_with(needless)) {
            found.push((format!("without {}", of_whom(step, name)), Control::Without(at)));
        }
    }
    let orders = ORDERS.iter().filter(|order| order.0 == name);
    found.extend(
        orders.map(|(_, what, before)| (format!("{what} before {before}"), Control::Before(what, before))),
    );
    found
}

/// The flush `step` of the scene `name`; what a recovery flushes is named by what it recovers from, too.
fn of_whom(step: String, name: &str) -> String {
    match (scene(name).before, step.strip_prefix("Recovering: ")) {
        (Before::Left(killed), Some(flush)) if !OPENING.contains(&flush) => {
            format!("Recovering from {}: {flush}", killed.host)
        }
        _ => step,
    }
}

impl Control {
    /// Tells whether anything goes wrong with it.
    pub fn is_missed(&self, disk: &Disk, place: &Path) -> bool {
        match self {
            Self::Without(at) => is_missed(disk, *at, place),
            Self::Before(what, before) => is_order_missed(disk, what, before, place),
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
