//! A restore and a fork that meet a fault at each of their steps: killed there, or told that the disk is full
//! or broken. Whatever
//! it was, the next opener finds the old files or the new ones, byte by byte, and never some of both.
//!
//! A host is this program in another process, under strace, which makes the fault.

#[path = "../disks/disk.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod disk;
mod place;
mod strace;

use std::collections::BTreeMap;

use place::{Operation, Outcome, Place};
use strace::Fault;

/// What the others compare with; and, in a process of theirs, the part of a host.
#[test]
fn without_a_fault_both_are_done() {
    if let Some(part) = std::env::var_os(place::PART) {
        return place::play(&part.into_string().unwrap());
    }
    for operation in [Operation::Restore, Operation::Fork] {
        let place = Place::make(operation);
        let said = place::play_here(&place, operation);
        let found = place.examine(operation, &said, "no fault");
        assert!(found.is_new && !found.was_mixed, "{said}");
    }
}

/// Meets `fault` at every step of `operation`, and returns how often there was what.
fn sweep(operation: Operation, fault: Fault) -> Option<BTreeMap<String, usize>> {
    let place = Place::make(operation);
    let steps = strace::record(&place, operation)?;
    assert!(steps.len() > 20, "{operation:?} has hardly any steps: {steps:?}");
    let mut tally = BTreeMap::new();
    for step in &steps {
        place.reset();
        let said = strace::run(&place, operation, step, fault);
        let found = place.examine(operation, &said, &format!("{fault:?} at {step:?}"));
        *tally.entry(format!("{found:?}")).or_default() += 1;
    }
    assert_eq!(tally.values().sum::<usize>(), steps.len());
    Some(tally)
}

fn count(tally: &BTreeMap<String, usize>, holds: impl Fn(&Outcome) -> bool) -> usize {
    let outcomes = [false, true]
        .into_iter()
        .flat_map(|was_mixed| [false, true].map(|is_new| Outcome { was_mixed, is_new }));
    let wanted = outcomes.filter(holds).map(|outcome| format!("{outcome:?}"));
    wanted.filter_map(|outcome| tally.get(&outcome)).sum()
}

#[test]
fn a_restore_that_is_killed_anywhere_leaves_the_old_files_or_the_new_ones() {
    let Some(tally) = sweep(Operation::Restore, Fault::Kill) else { return };
    // The kills reached into every part of it: before there was no turning back, between two exchanges, and after.
    assert!(count(&tally, |outcome| !outcome.is_new) > 10, "{tally:?}");
    assert!(count(&tally, |outcome| outcome.is_new) > 5, "{tally:?}");
    assert!(count(&tally, |outcome| outcome.was_mixed) > 0, "no kill came between two exchanges: {tally:?}");
}

#[test]
fn a_fork_that_is_killed_anywhere_leaves_no_instance_or_a_whole_one() {
    let Some(tally) = sweep(Operation::Fork, Fault::Kill) else { return };
    assert!(count(&tally, |outcome| !outcome.is_new) > 10, "{tally:?}");
    assert!(count(&tally, |outcome| outcome.is_new) > 0, "{tally:?}");
    assert!(count(&tally, |outcome| outcome.was_mixed) > 0, "no kill came between two renames: {tally:?}");
}

#[test]
fn a_restore_that_fails_at_any_step_leaves_the_old_files() {
    for fault in [Fault::NoSpace, Fault::Io] {
        let Some(tally) = sweep(Operation::Restore, fault) else { return };
        assert!(count(&tally, |outcome| !outcome.is_new) > 10, "{tally:?}");
    }
}

#[test]
fn a_fork_that_fails_at_any_step_leaves_no_instance() {
    for fault in [Fault::NoSpace, Fault::Io] {
        let Some(tally) = sweep(Operation::Fork, fault) else { return };
        assert!(count(&tally, |outcome| !outcome.is_new) > 10, "{tally:?}");
    }
}

#[test]
fn a_disk_that_is_full_at_any_byte_leaves_the_old_files() {
    for operation in [Operation::Restore, Operation::Fork] {
        let place = Place::make(operation);
        let Some(room) = place.room() else { return };
        let (mut refused, mut done) = (0, 0);
        for free in (0..).map(|step| step * 4096) {
            place.reset();
            room.leave_free(free);
            let said = place::play_here(&place, operation);
            room.clear();
            let found = place.examine(operation, &said, &format!("{free} bytes free"));
            if found.is_new {
                done += 1;
                break;
            }
            assert!(said.contains("no_space"), "{free} bytes free: {said}");
            refused += 1;
        }
        assert!(refused > 5 && done == 1, "{refused} refused, {done} done");
    }
}
