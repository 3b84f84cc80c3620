//! Calls of the C ABI in any order, with any arguments: `calls/` chooses them by random bytes, from several threads on one
//! handle, under the sanitisers of gcc. So do the inputs that were saved for the fuzz target `ffi`.

use std::fs;
use std::path::{Path, PathBuf};

use hypeman_tests::language::Runner;
use hypeman_tests::report::{Report, is_long, seed};

use crate::scene::scratch;

pub fn any_order() -> Result<(), String> {
    let seed = seed(11);
    let mut report = Report::new("ffi-calls", seed);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let sources = [root.join("hostile/calls/calls.c"), root.join("hostile/calls/main.c")];
    let sources: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    let runner = Runner::sanitised("calls", &sources, &[], built)?;
    let saved = files_in(&root.join("../fuzz/corpus/ffi"))?;
    report.tried("saved sequences", saved.len() as u64);
    report.tried("calls of saved sequences", played(&runner, &saved)?);
    // Runs that end now and then, so that one that hangs is found, and what is left at an end is looked at.
    let (runs, calls) = if is_long() { (50, 400_000) } else { (2, 150_000) };
    for run in 0..runs {
        let numbers = [4, calls, seed.wrapping_add(run)].map(|number: u64| PathBuf::from(number.to_string()));
        report.tried("random calls", played(&runner, &numbers)?);
    }
    // What a library that breaks its word looks like: one whose failures come without an error.
    let liar = Runner::sanitised("calls-control", &sources, &["-DCALLS_CONTROL"], built)?;
    report.control("a failure without an error", played(&liar, &saved).is_err());
    report.at_least("random calls", runs * calls);
    report.at_least("saved sequences", 3);
    report.finish();
    Ok(())
}

/// How many calls it made.
fn played(runner: &Runner, arguments: &[PathBuf]) -> Result<u64, String> {
    let temp = scratch();
    let place = temp.path().join("place");
    fs::create_dir(&place).map_err(|e| e.to_string())?;
    let arguments: Vec<&Path> = std::iter::once(&place).chain(arguments).map(PathBuf::as_path).collect();
    let said = runner.run(&arguments, temp.path())?;
    said.trim().parse().map_err(|e| format!("{said}: {e}"))
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(|e| e.to_string())).collect()
}
