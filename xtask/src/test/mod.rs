//! `cargo xtask test`: every test of every language, a stage each. The last line of output is the count.

mod counts;
mod readme;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use counts::Counts;

use crate::program::{Run, cargo, program, shown};
use crate::{Result, demo, root, setup};

struct Stage {
    name: &'static str,
    run: fn() -> Result<Counts>,
}

/// In the order in which a broken change is found soonest. Whatever `setup` cannot do, the others miss.
const STAGES: [Stage; 11] = [
    Stage { name: "setup", run: || setup::setup().map(|()| Counts::ONE_PASSED) },
    Stage { name: "fmt", run: || check(cargo().args(["fmt", "--all", "--check"])) },
    Stage { name: "clippy", run: || check(cargo().args(CLIPPY)) },
    Stage { name: "doc", run: || check(cargo().args(DOC).env("RUSTDOCFLAGS", "-D warnings")) },
    Stage { name: "rust", run: || cargo_tests(&RUST) },
    Stage { name: "conformance", run: || cargo_tests(&CONFORMANCE) },
    Stage { name: "e2e", run: || cargo_tests(&["--package=hypeman-tests", "--test=e2e"]) },
    Stage { name: "python", run: python_tests },
    Stage { name: "node", run: node_tests },
    Stage { name: "readme", run: readme::readme },
    Stage { name: "demo", run: demo_holds },
];

/// Not `--all-targets`, which would check the bindings as test programs, which they cannot be.
const CLIPPY: [&str; 9] =
    ["clippy", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--", "-D", "warnings"];
const RUST: [&str; 4] =
    ["--package=hypeman-core", "--package=hypeman-ffi", "--package=hypeman-bench", "--package=xtask"];
const CONFORMANCE: [&str; 4] = ["--package=hypeman-tests", "--lib", "--test=api", "--test=conformance"];
const DOC: [&str; 4] = ["doc", "--quiet", "--workspace", "--no-deps"];

/// Runs every stage, or `only` that one, and tells in the end how it went.
pub fn test(only: Option<&str>) -> Result<ExitCode> {
    let stages: Vec<_> = STAGES.iter().filter(|stage| only.is_none_or(|only| only == stage.name)).collect();
    if stages.is_empty() {
        let names: Vec<_> = STAGES.iter().map(|stage| stage.name).collect();
        return Err(format!("there is no such stage; there are {}", names.join(", ")).into());
    }
    let mut table = Vec::new();
    let mut total = Counts::default();
    for stage in stages {
        println!("\n== {}", stage.name);
        let start = Instant::now();
        let outcome = (stage.run)();
        if let Err(error) = &outcome {
            println!("{error}");
        }
        let is_blocked = stage.name == "setup" && outcome.is_err();
        let counts = outcome.unwrap_or(Counts::ONE_FAILED);
        total += counts;
        table.push(format!("{:<12} {:>7.1} s  {counts}", stage.name, start.elapsed().as_secs_f64()));
        if is_blocked {
            break;
        }
    }
    println!("\n{}\n\n{total}", table.join("\n"));
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A command that is one test.
fn check(command: &mut Command) -> Result<Counts> {
    command.run().map(|()| Counts::ONE_PASSED)
}

fn demo_holds() -> Result<Counts> {
    demo::demo()
        .map(|verdict| if verdict == ExitCode::SUCCESS { Counts::ONE_PASSED } else { Counts::ONE_FAILED })
}

fn cargo_tests(targets: &[&str]) -> Result<Counts> {
    // The output of passed tests is shown because a skipped one says so there.
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-fail-fast"]).args(targets).args(["--", "--show-output"]);
    count(command.env("HYPEMAN_PYTHON", setup::python()), counts::of_cargo)
}

fn python_tests() -> Result<Counts> {
    let mut command = program(setup::python());
    count(command.args(["-m", "pytest", "-q", "-rs", "bindings/python"]), counts::of_pytest)
}

fn node_tests() -> Result<Counts> {
    let tests = root().join("bindings/node/test");
    let mut files = fs::read_dir(&tests)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.to_string_lossy().ends_with(".test.js"));
    files.sort();
    let mut command = program("node");
    command.args(["--test", "--test-reporter=tap"]).args(files);
    count(&mut command, counts::of_tap)
}

/// Runs `command`, shows its output as it comes, and adds up what `read` finds in its lines.
///
/// # Errors
/// When the command cannot start, ran no test, or ended badly although no test failed.
fn count(command: &mut Command, read: fn(&str) -> Counts) -> Result<Counts> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", shown(command)))?;
    let mut counts = Counts::default();
    let stdout = child.stdout.take().ok_or("the stdout of a child is gone")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        counts += read(&line);
    }
    let status = child.wait()?;
    if counts.is_empty() {
        return Err(format!("{} ran no test and ended with {status}", shown(command)).into());
    }
    if !status.success() && counts.failed == 0 {
        println!("{} ended with {status}", shown(command));
        counts += Counts::ONE_FAILED;
    }
    Ok(counts)
}
