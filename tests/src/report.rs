//! What a fault harness tried, what went wrong, and which deliberate defects it caught: a file for each harness in
//! `target/reports/faults/`, which `cargo xtask test` puts together into `target/reports/faults.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

/// More failures than these are only counted.
const SHOWN_FAILURES: usize = 20;

/// The report of one harness under way. [`Report::finish`] writes it and says whether the harness holds.
#[derive(Debug)]
pub struct Report {
    harness: String,
    seed: u64,
    began: Instant,
    tried: BTreeMap<String, u64>,
    minimum: BTreeMap<String, u64>,
    failures: Vec<String>,
    failure_count: u64,
    controls: BTreeMap<String, bool>,
}

/// As it is on the disk.
#[derive(Serialize)]
struct Written<'r> {
    harness: &'r str,
    holds: bool,
    seed: u64,
    seconds: f64,
    /// How many of what.
    tried: &'r BTreeMap<String, u64>,
    /// Fewer than these are a failure.
    minimum: &'r BTreeMap<String, u64>,
    failure_count: u64,
    failures: &'r [String],
    controls_tried: usize,
    controls_caught: usize,
    /// Deliberate defects by name, and whether each was caught.
    controls: &'r BTreeMap<String, bool>,
}

/// Tells whether the long run was asked for: `cargo xtask test --long`, which sets `$HYPEMAN_LONG`.
pub fn is_long() -> bool {
    std::env::var_os("HYPEMAN_LONG").is_some()
}

/// The seed of everything random: `$HYPEMAN_SEED`, else `default`. Printed and written, so that a run can be repeated.
pub fn seed(default: u64) -> u64 {
    std::env::var("HYPEMAN_SEED").map_or(default, |seed| seed.parse().expect("HYPEMAN_SEED is a number"))
}

impl Report {
    /// Begins the report of `harness`, whose name is a file name.
    pub fn new(harness: &str, seed: u64) -> Self {
        Self {
            harness: harness.to_owned(),
            seed,
            began: Instant::now(),
            tried: BTreeMap::new(),
            minimum: BTreeMap::new(),
            failures: Vec::new(),
            failure_count: 0,
            controls: BTreeMap::new(),
        }
    }

    /// Adds `count` to how many of `what` were tried.
    pub fn tried(&mut self, what: &str, count: u64) {
        *self.tried.entry(what.to_owned()).or_default() += count;
    }

    /// How many of `what` were tried so far.
    pub fn count(&self, what: &str) -> u64 {
        self.tried.get(what).copied().unwrap_or(0)
    }

    /// Demands that at least `count` of `what` are tried.
    pub fn at_least(&mut self, what: &str, count: u64) {
        self.minimum.insert(what.to_owned(), count);
    }

    /// Notes something that must not be.
    pub fn failure(&mut self, why: impl Into<String>) {
        self.failure_count += 1;
        if self.failures.len() < SHOWN_FAILURES {
            self.failures.push(why.into());
        }
    }

    /// Notes a deliberate defect, and whether the harness caught it.
    pub fn control(&mut self, name: &str, caught: bool) {
        self.controls.insert(name.to_owned(), caught);
    }

    /// Tells whether no deliberate defect was tried yet.
    pub fn is_without_controls(&self) -> bool {
        self.controls.is_empty()
    }

    /// Writes the report and prints its sum.
    ///
    /// # Panics
    /// Where the harness does not hold: something failed, too little was tried, a control was not caught, or there
    /// was no control.
    pub fn finish(mut self) {
        for (what, minimum) in self.minimum.clone() {
            let tried = self.tried.get(&what).copied().unwrap_or(0);
            if tried < minimum {
                self.failure(format!("only {tried} {what} were tried, of at least {minimum}"));
            }
        }
        let missed: Vec<_> =
            self.controls.iter().filter(|(_, caught)| !**caught).map(|(name, _)| name.clone()).collect();
        for name in missed {
            self.failure(format!("the deliberate defect was not caught: {name}"));
        }
        if self.controls.is_empty() {
            self.failure("no deliberate defect was tried, so that nothing shows that one would be caught");
        }
        let written = Written {
            harness: &self.harness,
            holds: self.failure_count == 0,
            seed: self.seed,
            seconds: self.began.elapsed().as_secs_f64(),
            tried: &self.tried,
            minimum: &self.minimum,
            failure_count: self.failure_count,
            failures: &self.failures,
            controls_tried: self.controls.len(),
            controls_caught: self.controls.values().filter(|caught| **caught).count(),
            controls: &self.controls,
        };
        let directory = directory();
        fs::create_dir_all(&directory).unwrap();
        let text = serde_json::to_string_pretty(&written).expect("a report is JSON");
        fs::write(directory.join(format!("{}.json", self.harness)), text + "\n").unwrap();
        let counts: Vec<_> = self.tried.iter().map(|(what, count)| format!("{count} {what}")).collect();
        writeln!(
            std::io::stderr(),
            "{}: {}; {} failures; {} of {} deliberate defects caught; seed {}; {:.1} s",
            self.harness,
            counts.join(", "),
            self.failure_count,
            written.controls_caught,
            written.controls_tried,
            self.seed,
            written.seconds,
        )
        .expect("stderr takes a line");
        assert!(self.failure_count == 0, "{}:\n{}", self.harness, self.failures.join("\n"));
    }
}

/// Where the reports of the harnesses lie.
fn directory() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the repository");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("reports/faults")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harness_without_a_caught_control_or_with_too_little_tried_does_not_hold() {
        let ends_well = |harness: &str, prepare: fn(&mut Report)| {
            let mut report = Report::new(harness, 1);
            prepare(&mut report);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| report.finish()));
            fs::remove_file(directory().join(format!("{harness}.json"))).unwrap();
            outcome.is_ok()
        };
        assert!(ends_well("unit-good", |report| {
            report.at_least("states", 2);
            report.tried("states", 2);
            report.control("no flush", true);
        }));
        assert!(!ends_well("unit-none", |_| ()), "nothing was tried");
        assert!(!ends_well("unit-missed", |report| report.control("no flush", false)));
        assert!(!ends_well("unit-few", |report| {
            report.control("no flush", true);
            report.at_least("states", 2);
        }));
        assert!(!ends_well("unit-failed", |report| {
            report.control("no flush", true);
            report.failure("lost");
        }));
    }
}
