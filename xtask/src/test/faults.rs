//! The fault harnesses: a test program each, and their reports, which are put together into one file.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Instant;

use super::{Outcome, cargo_test, count, counts};
use crate::{Result, target};

/// Runs the test program `name`: the deliberate faults of that name.
pub fn tests(name: &str, is_long: bool) -> Result<Outcome> {
    let mut command = cargo_test(&["--package=hypeman-tests", &format!("--test={name}")])?;
    if is_long {
        command.env("HYPEMAN_LONG", "1");
    }
    count(command, counts::of_cargo)
}

/// The report of a stage that leaves its work to a tool, in the form in which the harnesses write theirs. Its words are
/// ours, and need no escape in JSON.
pub struct Report {
    harness: &'static str,
    began: Instant,
    seed: u64,
    tried: Vec<(String, usize)>,
    failures: Vec<String>,
    controls: Vec<(&'static str, bool)>,
}

impl Report {
    pub fn new(harness: &'static str, seed: u64) -> Self {
        let (tried, failures, controls) = (Vec::new(), Vec::new(), Vec::new());
        Self { harness, began: Instant::now(), seed, tried, failures, controls }
    }

    /// Adds how many of `what` were tried, and how many of them failed.
    pub fn tried(&mut self, what: &str, count: usize, failed: usize) {
        self.tried.push((what.to_owned(), count));
        if failed > 0 {
            self.failures.push(format!("{failed} failures of {what}"));
        }
    }

    /// Notes a deliberate defect, and whether the tool caught it.
    pub fn control(&mut self, name: &'static str, caught: bool) {
        self.controls.push((name, caught));
    }

    /// Writes it.
    ///
    /// # Errors
    /// When a deliberate defect was not caught: what the tool says of our code then says nothing.
    pub fn finish(self) -> Result<()> {
        let missed: Vec<_> =
            self.controls.iter().filter(|(_, caught)| !caught).map(|(name, _)| *name).collect();
        let tried: Vec<_> = self.tried.iter().map(|(what, count)| format!("\"{what}\": {count}")).collect();
        let failures: Vec<_> = self.failures.iter().map(|why| format!("\"{why}\"")).collect();
        let controls: Vec<_> =
            self.controls.iter().map(|(name, caught)| format!("\"{name}\": {caught}")).collect();
        let text = format!(
            "{{\n  \"harness\": \"{}\",\n  \"holds\": {},\n  \"seed\": {},\n  \"seconds\": {:.1},\n  \
             \"tried\": {{ {} }},\n  \"minimum\": {{}},\n  \"failure_count\": {},\n  \"failures\": [{}],\n  \
             \"controls_tried\": {},\n  \"controls_caught\": {},\n  \"controls\": {{ {} }}\n}}\n",
            self.harness,
            self.failures.is_empty() && missed.is_empty(),
            self.seed,
            self.began.elapsed().as_secs_f64(),
            tried.join(", "),
            failures.len() + missed.len(),
            failures.join(", "),
            controls.len(),
            controls.len() - missed.len(),
            controls.join(", "),
        );
        fs::create_dir_all(directory())?;
        fs::write(directory().join(format!("{}.json", self.harness)), text)?;
        if missed.is_empty() {
            return Ok(());
        }
        Err(format!("{} does not catch: {}", self.harness, missed.join(", ")).into())
    }
}

/// Forgets the reports of an earlier run.
pub fn forget() -> Result<()> {
    match fs::remove_dir_all(directory()) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Puts the report of each harness into `target/reports/faults.json`, by the harness's name. `None` where there is none.
pub fn collect() -> Result<Option<PathBuf>> {
    let mut files: Vec<_> = match fs::read_dir(directory()) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let reports = files.iter().map(|file| Ok(fs::read_to_string(file)?.trim_end().to_owned()));
    let text = format!("[\n{}\n]\n", reports.collect::<Result<Vec<_>>>()?.join(",\n"));
    let path = target().join("reports/faults.json");
    fs::write(&path, text)?;
    Ok(Some(path))
}

fn directory() -> PathBuf {
    target().join("reports/faults")
}
