//! `cargo xtask test`: every test of every language, a stage each. The last line of output is the count.

mod counts;
mod darwin;
mod drift;
mod faults;
mod packages;
mod readme;
mod snippets;
mod tools;

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use counts::Counts;

use crate::program::{Run, cargo, program, shown};
use crate::{Result, demo, newer_qemu, root, setup};

struct Stage {
    name: &'static str,
    /// Told whether this is the long run.
    run: fn(bool) -> Result<Outcome>,
}

/// How a stage went: its tests counted, and a line for each that was skipped, with its name and the reason.
#[derive(Default)]
struct Outcome {
    counts: Counts,
    skips: Vec<String>,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, more: Self) {
        self.counts += more.counts;
        self.skips.extend(more.skips);
    }
}

impl From<Counts> for Outcome {
    fn from(counts: Counts) -> Self {
        Self { counts, skips: Vec::new() }
    }
}

/// In the order in which a broken change is found soonest. Whatever `setup` cannot do, the others miss.
const STAGES: [Stage; 21] = [
    Stage { name: "setup", run: |_| setup::setup().map(|()| Counts::ONE_PASSED.into()) },
    Stage { name: "fmt", run: |_| check(cargo().args(["fmt", "--all", "--check"])) },
    Stage { name: "clippy", run: |_| check(cargo().args(CLIPPY)) },
    Stage { name: "darwin", run: darwin::darwin },
    Stage { name: "doc", run: |_| check(cargo().args(DOC).env("RUSTDOCFLAGS", "-D warnings")) },
    Stage { name: "rust", run: |_| rust_tests() },
    Stage { name: "conformance", run: |_| cargo_tests(&CONFORMANCE) },
    Stage { name: "e2e", run: |_| e2e_tests() },
    Stage { name: "crash", run: |is_long| faults::tests("crash", is_long) },
    Stage { name: "hostile", run: |is_long| faults::tests("hostile", is_long) },
    Stage { name: "python", run: |_| count(pytest("bindings/python")?, counts::of_pytest) },
    Stage { name: "node", run: |_| node_tests() },
    Stage { name: "go", run: |_| go_tests() },
    Stage { name: "readme", run: |_| readme::readme().map(Outcome::from) },
    Stage { name: "demo", run: |_| demo_holds() },
    Stage { name: "dist", run: |_| packages::packages() },
    Stage { name: "drift", run: |_| drift::drift() },
    Stage { name: "deny", run: |_| tools::deny() },
    Stage { name: "miri", run: |_| tools::miri() },
    Stage { name: "tsan", run: |_| tools::tsan() },
    Stage { name: "fuzz", run: |_| tools::fuzz() },
];

/// These take too long for every change.
const LONG: [&str; 6] = ["dist", "drift", "deny", "miri", "tsan", "fuzz"];

/// Not `--all-targets`, which would check the bindings as test programs, which they cannot be.
const CLIPPY: [&str; 9] =
    ["clippy", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--", "-D", "warnings"];
const RUST: [&str; 5] = [
    "--package=hypeman-core",
    "--package=hypeman-ffi",
    "--package=hypeman-cli",
    "--package=hypeman-bench",
    "--package=xtask",
];
const E2E: [&str; 2] = ["--package=hypeman-tests", "--test=e2e"];
const CONFORMANCE: [&str; 4] = ["--package=hypeman-tests", "--lib", "--test=api", "--test=conformance"];
const DOC: [&str; 4] = ["doc", "--quiet", "--workspace", "--no-deps"];

/// Runs every stage, or the one after `--only`, and tells in the end how it went. With `--long` the fault harnesses try
/// all that they can, for hours if need be.
pub fn test(options: &[&str]) -> Result<ExitCode> {
    let (is_long, only) = match options {
        [] => (false, None),
        ["--long"] => (true, None),
        ["--only", stage] => (false, Some(*stage)),
        ["--long", "--only", stage] | ["--only", stage, "--long"] => (true, Some(*stage)),
        _ => return Err(crate::USAGE.into()),
    };
    let is_asked_for = |stage: &&Stage| match only {
        Some(only) => only == stage.name,
        None => is_long || !LONG.contains(&stage.name),
    };
    let stages: Vec<_> = STAGES.iter().filter(is_asked_for).collect();
    if stages.is_empty() {
        let names: Vec<_> = STAGES.iter().map(|stage| stage.name).collect();
        return Err(format!("there is no such stage; there are {}", names.join(", ")).into());
    }
    if only.is_none() {
        faults::forget()?;
    }
    let mut table = Vec::new();
    let mut skips = Vec::new();
    let mut total = Counts::default();
    for stage in stages {
        println!("\n== {}", stage.name);
        let start = Instant::now();
        let ended = (stage.run)(is_long);
        if let Err(error) = &ended {
            println!("{error}");
        }
        let is_blocked = stage.name == "setup" && ended.is_err();
        let Outcome { counts, skips: skipped } = ended.unwrap_or_else(|_| Counts::ONE_FAILED.into());
        total += counts;
        skips.extend(skipped);
        table.push(format!("{:<12} {:>7.1} s  {counts}", stage.name, start.elapsed().as_secs_f64()));
        if is_blocked {
            break;
        }
    }
    if let Some(report) = faults::collect()? {
        println!("\n{}", report.display());
    }
    println!("\n{}\n", table.join("\n"));
    for skip in skips {
        println!("{skip}");
    }
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A command that is one test.
fn check(command: &mut Command) -> Result<Outcome> {
    command.run().map(|()| Counts::ONE_PASSED.into())
}

fn demo_holds() -> Result<Outcome> {
    let verdict = demo::demo()?;
    Ok(if verdict == ExitCode::SUCCESS { Counts::ONE_PASSED } else { Counts::ONE_FAILED }.into())
}

fn cargo_tests(targets: &[&str]) -> Result<Outcome> {
    count(cargo_test(targets)?, counts::of_cargo)
}

/// Runs the tests of `targets`.
fn cargo_test(targets: &[&str]) -> Result<Command> {
    // The output of passed tests is shown because a skipped one says so there.
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-fail-fast"]).args(targets).args(["--", "--show-output"]);
    command.env("HYPEMAN_PYTHON", setup::python()).env("HYPEMAN_REQUIRE", required()?);
    Ok(command)
}

/// The driver of QEMU meets the newer one beside the installed one.
fn rust_tests() -> Result<Outcome> {
    let mut command = cargo_test(&RUST)?;
    if let Some(newer) = newer_qemu::find()? {
        command.env("HYPEMAN_TEST_QEMU", newer);
    }
    count(command, counts::of_cargo)
}

/// Every story, those of QEMU once more with the newer one.
fn e2e_tests() -> Result<Outcome> {
    let Some(newer) = newer_qemu::find()? else { return cargo_tests(&E2E) };
    let mut installed = cargo_test(&E2E)?;
    installed.env_remove("HYPEMAN_TEST_QEMU").args(["--skip", "mapped_ram"]);
    let mut outcome = count(installed, counts::of_cargo)?;
    println!("\n== e2e, {}", newer.display());
    let mut again = cargo_test(&E2E)?;
    again.env("HYPEMAN_TEST_QEMU", newer).arg("qemu::");
    outcome += count(again, counts::of_cargo)?;
    Ok(outcome)
}

/// What the tests may not skip themselves for want of: what the caller says, else all that `setup` brings, and the
/// mounts of root where we may mount.
fn required() -> Result<OsString> {
    if let Some(said) = std::env::var_os("HYPEMAN_REQUIRE") {
        return Ok(said);
    }
    let mut names =
        "qemu,zstd,lz4,go,strace,faketime,porting,g++,cmake,mypy,tqdm,maturin,valgrind".to_owned();
    if may_mount()? {
        names.push_str(",root,userfaultfd");
        // Logged block devices are exported through FUSE.
        if Path::new("/dev/fuse").exists() {
            names.push_str(",block");
        }
    }
    Ok(names.into())
}

/// Root in a container often may not.
fn may_mount() -> Result<bool> {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or("0");
    Ok(u64::from_str_radix(effective.trim(), 16)? & CAP_SYS_ADMIN != 0)
}

fn pytest(tests: &str) -> Result<Command> {
    let mut command = program(setup::python());
    command.args(["-m", "pytest", "-q", tests]).env("HYPEMAN_REQUIRE", required()?);
    Ok(command)
}

fn node_tests() -> Result<Outcome> {
    let tests = root().join("bindings/node/test");
    let mut files = fs::read_dir(&tests)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.to_string_lossy().ends_with(".test.js"));
    files.sort();
    count(node_test(&files)?, counts::of_tap)
}

fn node_test(files: &[PathBuf]) -> Result<Command> {
    let mut command = program("node");
    command.args(["--test", "--test-reporter=tap"]).args(files).env("HYPEMAN_REQUIRE", required()?);
    Ok(command)
}

/// The package as it finds the installed library, shared, and with the library inside.
fn go_tests() -> Result<Outcome> {
    go("vet", &["./..."])?.run()?;
    let mut outcome = count(go("test", &["-count=1", "-v", "./..."])?, counts::of_go)?;
    outcome += count(go("test", &["-count=1", "-v", "-tags=hypeman_static", "."])?, counts::of_go)?;
    Ok(outcome)
}

fn go(verb: &str, arguments: &[&str]) -> Result<Command> {
    let (mut command, libraries) = (program("go"), setup::prefix().join("lib"));
    command.current_dir(root().join("bindings/go")).arg(verb).args(arguments);
    command.env("PKG_CONFIG_PATH", libraries.join("pkgconfig")).env("LD_LIBRARY_PATH", libraries);
    command.env("HYPEMAN_REQUIRE", required()?);
    Ok(command)
}

/// Runs `command`, shows its output as it comes, and adds up what `read` finds in its lines.
///
/// # Errors
/// When the command cannot start, ran no test, or ended badly although no test failed.
fn count(mut command: Command, read: fn(&str) -> Counts) -> Result<Outcome> {
    let shown = shown(&command);
    // One pipe for both: a test that is skipped says so past a harness that swallows stdout.
    let (output, input) = io::pipe()?;
    command.stdout(input.try_clone()?).stderr(input);
    let mut child = command.spawn().map_err(|error| format!("cannot start {shown}: {error}"))?;
    // It holds our ends for writing; the reading below would not end.
    drop(command);
    let mut outcome = Outcome::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        outcome.counts += read(&line);
        // TAP has the lines of the tests as comments.
        let said = line.trim_start_matches("# ");
        if said.starts_with("SKIP ") {
            outcome.skips.push(said.to_owned());
        }
    }
    let status = child.wait()?;
    outcome.counts = outcome.counts.without_silent_skips(outcome.skips.len());
    if outcome.counts.is_empty() {
        return Err(format!("{shown} ran no test and ended with {status}").into());
    }
    if !status.success() && outcome.counts.failed == 0 {
        println!("{shown} ended with {status}");
        outcome.counts += Counts::ONE_FAILED;
    }
    Ok(outcome)
}
