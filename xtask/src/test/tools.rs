//! What needs more tools than a compiler, in the long run: data races, undefined behaviour, inputs that no one thought of,
//! and what the crates of others bring along.
//! Each stage is left out, by name, where its tools are missing, unless `HYPEMAN_REQUIRE` names it.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use super::faults::Report;
use super::{Outcome, check, count, counts};
use crate::program::{Run, program, succeeds};
use crate::{Result, root, target};

const TOOLCHAIN: &str = "nightly";

/// Tests in which threads meet: of one handle, of several on one store, of the pager.
const MEETING: [&str; 6] =
    ["--lib", "--test=readers", "--test=catalogue", "--test=memory", "--test=snapshots", "--test=restore"];
/// Of the tests beside the code: those with threads. A forked child of several threads is beyond the sanitiser, which has
/// memory of its own, and takes the signals of which a guest is to die for its own.
const MEETING_FILTERS: [&str; 12] = [
    "memory::",
    "snapshots::",
    "catalogue",
    "readers",
    "restor",
    "compress",
    "one_handle",
    "--skip=fork",
    "--skip=footprint",
    "--skip=_kills_",
    "--skip=damaged_page",
    "--skip=tests::guard",
];

/// Code that is pure: it parses, formats and decides. Miri knows no openat2 and runs no C.
const PURE: [&str; 10] = [
    "types::",
    "error::",
    "call::",
    "panic::",
    "store::json",
    "store::record",
    "memory::pager::regions",
    "memory::pager::metrics",
    "memory::zero",
    "hypervisor::cloud_hypervisor::message",
];

/// The fuzz target with a deliberate defect.
const CONTROL: &str = "control";

const DENY: [&str; 4] = ["deny", "--workspace", "--all-features", "check"];

/// The tests of core in which threads meet, under ThreadSanitizer.
pub fn tsan() -> Result<Outcome> {
    if let Some(skip) = missing("tsan", "rust-src")? {
        return Ok(skip);
    }
    let mut command = nightly("tsan");
    command.args(["test", "-Zbuild-std", "--target", "x86_64-unknown-linux-gnu", "--package=hypeman-core"]);
    command.args(MEETING).arg("--no-fail-fast").arg("--").args(MEETING_FILTERS);
    command.env("RUSTFLAGS", "-Zsanitizer=thread").env("TSAN_OPTIONS", "halt_on_error=1");
    let mut report = Report::new("tsan", 0);
    // Our own code is what races, and all that need be watched.
    let race = target().join("tsan/race");
    let mut rustc = rustup("rustc");
    rustc.args(["--edition=2024", "-Zsanitizer=thread", "-Cunsafe-allow-abi-mismatch=sanitizer"]);
    fs::create_dir_all(target().join("tsan"))?;
    rustc.arg(broken("race.rs")).arg("-o").arg(&race).run()?;
    report.control("two threads that write to one place", says(&mut program(race), "global 'race::COUNT'")?);
    tests_of(command, report)
}

/// The tests of what is pure in core, under Miri.
pub fn miri() -> Result<Outcome> {
    if let Some(skip) = missing("miri", "miri")? {
        return Ok(skip);
    }
    let mut command = nightly("miri");
    command.args(["miri", "test", "--package=hypeman-core", "--lib", "--"]).args(PURE);
    command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    let mut report = Report::new("miri", 0);
    let sysroot = nightly("miri").args(["miri", "setup", "--print-sysroot"]).read()?;
    let mut dangling = rustup("miri");
    dangling.args(["--edition=2024", "--sysroot", sysroot.trim()]).arg(broken("dangling.rs"));
    report.control("a look at what was freed", says(&mut dangling, "Undefined Behavior")?);
    tests_of(command, report)
}

/// Runs the tests of `command`, and reports them.
fn tests_of(command: Command, mut report: Report) -> Result<Outcome> {
    let outcome = count(command, counts::of_cargo)?;
    report.tried("tests", outcome.counts.passed + outcome.counts.failed, outcome.counts.failed);
    report.finish()?;
    Ok(outcome)
}

/// A program that does what a tool must catch.
fn broken(name: &str) -> PathBuf {
    root().join("xtask/src/test/broken").join(name)
}

/// Tells whether `command` fails, and says `what`.
fn says(command: &mut Command, what: &str) -> Result<bool> {
    let output = command.output()?;
    Ok(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(what))
}

/// Every fuzz target, for `$HYPEMAN_FUZZ_SECONDS` each, 60 by default. What is found new is kept in `target/fuzz-corpus`.
pub fn fuzz() -> Result<Outcome> {
    if let Some(skip) = missing("fuzz", "rustc")? {
        return Ok(skip);
    }
    if !succeeds(program("cargo").args(["fuzz", "--version"])) {
        return skipped("fuzz", "cargo-fuzz is not installed; cargo install cargo-fuzz");
    }
    let seconds = std::env::var("HYPEMAN_FUZZ_SECONDS").unwrap_or_else(|_| "60".to_owned());
    let seed = std::env::var("HYPEMAN_SEED").map_or(Ok(1), |seed| seed.parse())?;
    let mut targets: Vec<_> = fs::read_dir(root().join("fuzz/fuzz_targets"))?
        .map(|entry| Ok(entry?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    targets.retain(|name| name != CONTROL);
    targets.sort();
    let fuzz = |name: &str| -> Result<Command> {
        let found = target().join("fuzz-corpus").join(name);
        fs::create_dir_all(&found)?;
        let mut command = nightly("fuzz");
        command.args(["fuzz", "run", name]).arg(&found);
        let saved = root().join("fuzz/corpus").join(name);
        if saved.is_dir() {
            command.arg(saved);
        }
        command.args(["--", &format!("-max_total_time={seconds}"), "-timeout=30", "-rss_limit_mb=2048"]);
        command.args([&format!("-seed={seed}"), "-print_final_stats=1"]);
        Ok(command)
    };
    let mut report = Report::new("fuzz", seed);
    // Its finding is no news, and is not kept among those that are.
    let kept = format!("-artifact_prefix={}/", target().join("fuzz-corpus").join(CONTROL).display());
    report.control("a target that panics", says(fuzz(CONTROL)?.arg(kept), "on purpose")?);
    let mut outcome = Outcome::default();
    for name in targets {
        let output = fuzz(&name)?.output()?;
        io::stdout().write_all(&output.stderr)?;
        let is_good = output.status.success();
        report.tried(&format!("inputs of {name}"), runs(&output.stderr), usize::from(!is_good));
        outcome.counts += if is_good { counts::Counts::ONE_PASSED } else { counts::Counts::ONE_FAILED };
    }
    report.finish()?;
    Ok(outcome)
}

/// How many inputs a fuzzer says that it tried.
fn runs(said: &[u8]) -> usize {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Licences, sources and, where the list of them can be had, known defects of the crates that we use.
pub fn deny() -> Result<Outcome> {
    if !succeeds(program("cargo").args(["deny", "--version"])) {
        return skipped("deny", "cargo-deny is not installed; cargo install cargo-deny");
    }
    let mut outcome = check(program("cargo").args(DENY).args(["bans", "licenses", "sources"]))?;
    if succeeds(program("cargo").args(["deny", "fetch", "db"])) {
        outcome += check(program("cargo").args(DENY).arg("advisories"))?;
    } else {
        outcome += skipped("deny-advisories", "the list of known defects cannot be fetched")?;
    }
    Ok(outcome)
}

/// Cargo of the nightly compiler, with a place of its own for what it builds.
fn nightly(name: &str) -> Command {
    let mut command = rustup("cargo");
    command.env("CARGO_TARGET_DIR", target().join(name));
    command
}

/// A program of the nightly compiler.
fn rustup(name: &str) -> Command {
    let mut command = program("rustup");
    command.args(["run", TOOLCHAIN, name]);
    // Those of the toolchain that runs us.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

/// Why `stage` is left out for want of `component`; `None` where it is there.
fn missing(stage: &str, component: &str) -> Result<Option<Outcome>> {
    let listed =
        program("rustup").args(["component", "list", "--installed", "--toolchain", TOOLCHAIN]).read();
    let is_there = listed.is_ok_and(|all| all.lines().any(|line| line.starts_with(component)));
    if is_there {
        return Ok(None);
    }
    let way = format!("rustup component add {component} --toolchain {TOOLCHAIN}");
    skipped(stage, &format!("it needs the nightly compiler with {component}; {way}")).map(Some)
}

fn skipped(stage: &str, why: &str) -> Result<Outcome> {
    let required = std::env::var("HYPEMAN_REQUIRE").unwrap_or_default();
    if required.split(',').any(|one| one == stage) {
        return Err(format!("HYPEMAN_REQUIRE names {stage}, but {why}").into());
    }
    let counts = counts::Counts { skipped: 1, ..counts::Counts::default() };
    Ok(Outcome { counts, skips: vec![format!("SKIP {stage}: {why}")] })
}
