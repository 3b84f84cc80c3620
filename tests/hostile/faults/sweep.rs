//! The sweeper: this program under `shim.c`. It counts what calls an operation makes, then runs it once for each of
//! them and each fault.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use twox_hash::XxHash3_64;

use super::controls::{Control, controls};
use super::leftovers::leave;
use super::operations::{Operation, Outcome, Scene, operations};
use super::oracle::{check, code_fits};
use super::{Line, Orders, SWEEPERS};
use crate::scene::open;

/// Set by the panic hook: the library catches panics, so that no one else would know.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Error numbers, and what only calls that move bytes can do.
const ERRORS: [i32; 6] = [
    nix::libc::EIO,
    nix::libc::ENOSPC,
    nix::libc::EDQUOT,
    nix::libc::EINTR,
    nix::libc::EMFILE,
    nix::libc::EROFS,
];
const SHORT: [&str; 6] = ["read", "pread", "write", "pwrite", "copy_file_range", "recv"];
const LIES: [&str; 2] = ["write", "pwrite"];

struct Plan<'o> {
    operation: &'o Operation,
    call: String,
    at: u32,
    how: String,
    ever: bool,
}

impl Plan<'_> {
    fn shown(&self) -> String {
        let Self { operation, call, at, how, ever } = self;
        format!("{}: {call} {at}{} answered with {how}", operation.name, if *ever { "+" } else { "" })
    }
}

pub fn sweep(orders: &Orders) {
    std::panic::set_hook(Box::new(|info| {
        PANICKED.store(true, Ordering::Relaxed);
        let _ = writeln!(std::io::stderr(), "{info}");
    }));
    let scene = Scene::of(&orders.root);
    let operations = operations();
    let quiet = |operation| Plan { operation, call: "-".into(), at: 1, how: "5".into(), ever: false };
    if let Some(name) = &orders.control {
        let control = controls().into_iter().find(|control| control.name == *name).expect("one of ours");
        let operation = operations.iter().find(|one| one.name == control.operation).expect("one of ours");
        run(&scene, &quiet(operation), Some(&control));
        return;
    }
    let mut plans = Vec::new();
    for operation in operations.iter().filter(|one| orders.only.as_ref().is_none_or(|only| only == one.name))
    {
        let calls = run(&scene, &quiet(operation), None);
        for (call, count) in calls {
            for at in 1..=count {
                plans.extend(faults_of(&call).into_iter().flat_map(|how| {
                    // A call that is interrupted for ever is never made.
                    let evers: &[bool] =
                        if how == nix::libc::EINTR.to_string() { &[false] } else { &[false, true] };
                    let call = &call;
                    evers.iter().map(move |&ever| Plan {
                        operation,
                        call: call.clone(),
                        at,
                        how: how.clone(),
                        ever,
                    })
                }));
            }
        }
    }
    // By what each is, and not by its place among the others: how often an operation makes a call may differ a little
    // from run to run, and the same seed is to try the same.
    let place = |plan: &Plan<'_>| XxHash3_64::oneshot_with_seed(orders.seed, plan.shown().as_bytes());
    plans.retain(|plan| place(plan) % SWEEPERS == orders.share);
    plans.sort_by_cached_key(place);
    let most = orders.most.map_or(usize::MAX, |most| usize::try_from(most).expect("a count is a usize"));
    for plan in plans.iter().take(most) {
        run(&scene, plan, None);
    }
}

fn faults_of(call: &str) -> Vec<String> {
    let mut faults: Vec<_> = ERRORS.iter().map(i32::to_string).collect();
    faults.extend(SHORT.contains(&call).then(|| "short".to_owned()));
    faults.extend(LIES.contains(&call).then(|| "lie".to_owned()));
    faults
}

/// Runs one plan and tells how it went. Returns the calls that were made.
fn run(scene: &Scene, plan: &Plan<'_>, control: Option<&Control>) -> BTreeMap<String, u32> {
    let Plan { operation, call, at, how, ever } = plan;
    let what = plan.shown();
    say(&Line::Trying(what.clone()));
    scene.reset();
    leave(scene, operation.name);
    let harm =
        |is_before| control.filter(|control| control.is_before == is_before).map(|one| (one.harm)(scene));
    harm(true);
    PANICKED.store(false, Ordering::Relaxed);
    let arm = || tell(&format!("arm/{call}/{at}/{how}/{}", i32::from(*ever)));
    let outcome: Outcome = if operation.is_open {
        let hm = open(&scene.data()).unwrap();
        arm();
        let outcome = (operation.act)(&hm, scene);
        hm.close();
        outcome
    } else {
        arm();
        open(&scene.data()).and_then(|hm| {
            let outcome = (operation.act)(&hm, scene);
            hm.close();
            outcome
        })
    };
    let mut calls = calls();
    let hit = calls.remove("hits").unwrap_or(0) > 0;
    harm(false);
    let wrong_code =
        outcome.as_ref().err().filter(|error| !hit || !code_fits(error.kind(), operation.name, call, how));
    let wrong_code = wrong_code.map(|error| format!("the code is {}: {error}", error.code()));
    let mut failure = check(scene, operation.name, &outcome).err().or(wrong_code);
    // A write that lies can only be noticed where it is read again: what was there before is what counts.
    if how == "lie"
        && failure.as_ref().is_some_and(|why| !why.contains(&scene.raw) && !why.contains(&scene.packed))
    {
        failure = None;
    }
    if PANICKED.load(Ordering::Relaxed) {
        failure = Some("it panicked".to_owned());
    }
    let code = outcome.as_ref().err().map(|error| error.code().to_owned());
    say(&Line::Tried { what, hit, code, failure });
    calls
}

/// Tells the shim what to do.
pub fn tell(command: &str) {
    assert!(File::open(format!("/hypeman-faults/{command}")).is_err(), "the shim is not loaded");
}

fn calls() -> BTreeMap<String, u32> {
    let mut text = String::new();
    File::open("/hypeman-faults/calls").expect("the shim is loaded").read_to_string(&mut text).unwrap();
    let parts = text.lines().filter_map(|line| line.split_once(' '));
    parts.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
}

fn say(line: &Line) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(line).unwrap()).unwrap();
    stdout.flush().unwrap();
}
