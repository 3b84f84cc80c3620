//! The fault harnesses: a test program each, and their reports, which are put together into one file.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

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
