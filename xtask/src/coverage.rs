//! `cargo xtask coverage`: which lines and branches of the code that must not fail are gone through by the tests of `core`,
//! the conformance cases in Rust, and those fault harnesses that play in processes of their own: the store, recovery,
//! verification and the resolution of paths.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::PathBuf;

use crate::program::{Run, program};
use crate::{Result, root, target};

/// Beneath `core/src`.
const LOOKED_AT: [&str; 5] =
    ["store", "snapshots/recover.rs", "snapshots/verify.rs", "snapshots/restore", "sys/dir"];

const CORE: [&str; 3] = ["--package=hypeman-core", "--lib", "--tests"];
const HARNESSES: [&str; 3] = ["--package=hypeman-tests", "--test=crash", "--test=hostile"];
const CONFORMANCE: [&str; 2] = ["--package=hypeman-tests", "--test=conformance"];

/// Harnesses that go through nothing that the others do not, at a price, or need the bindings.
const LEFT_OUT: [&str; 8] = [
    "--skip=no_power_cut",
    "--skip=no_real_file_system",
    "--skip=calls_of_the_c_abi",
    "--skip=a_hostile_store",
    "--skip=one_damaged_record",
    "--skip=eight_processes",
    "--skip=a_dead_owners_job",
    "--skip=a_forked_child",
];

/// Branches are counted by nightly only.
const TOOLCHAIN: &str = "nightly";
const COMPONENT: &str = "llvm-tools";

/// Runs the tests of core, and prints and keeps the report in `target/reports/coverage.txt`.
pub fn coverage() -> Result<()> {
    let directory = target().join("coverage");
    let profiles = directory.join("profiles");
    let _ = fs::remove_dir_all(&profiles);
    fs::create_dir_all(&profiles)?;
    needs_component()?;
    let tests = |which: &[&str], more: &[&str]| {
        let mut command = program("rustup");
        command.args(["run", TOOLCHAIN, "cargo", "test"]).args(which).args(more);
        // Those of the toolchain that runs us.
        for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(name);
        }
        command
            .env("CARGO_TARGET_DIR", &directory)
            .env("RUSTFLAGS", "-Cinstrument-coverage -Zcoverage-options=branch")
            .env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw"));
        command
    };
    let messages = ["--no-run", "--message-format=json"];
    let mut built = String::new();
    for which in [&CORE[..], &HARNESSES, &CONFORMANCE] {
        built += &tests(which, &messages).read()?;
    }
    // What failed tests went through counts, too; that they failed is said in the end.
    let cored = tests(&CORE, &["--quiet", "--no-fail-fast"]).run();
    let harnessed = tests(&HARNESSES, &["--quiet", "--no-fail-fast", "--"]).args(LEFT_OUT).run();
    let conformed = tests(&CONFORMANCE, &["--quiet"]).env("HYPEMAN_CONFORMANCE_LANGS", "rust").run();

    let profile = directory.join("all.profdata");
    // What a killed process leaves may be half a profile.
    let found = fs::read_dir(&profiles)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    program(tool("llvm-profdata")?)
        .args(["merge", "-sparse", "--failure-mode=all", "-o"])
        .arg(&profile)
        .args(found)
        .run()?;
    let mut report = program(tool("llvm-cov")?);
    report.arg("report").arg("--show-branch-summary").arg("--instr-profile").arg(&profile);
    for (n, executable) in executables(&built).into_iter().enumerate() {
        if n == 0 {
            report.arg(executable)
        } else {
            report.arg("--object").arg(executable)
        };
    }
    // Tests go through all of themselves.
    report.arg("--ignore-filename-regex=/tests(/|\\.rs)");
    report.arg("--sources").args(LOOKED_AT.map(|place| root().join("core/src").join(place)));
    let text = report.read()?;
    let path = target().join("reports/coverage.txt");
    fs::create_dir_all(target().join("reports"))?;
    fs::write(&path, &text)?;
    println!("{text}\n{}", path.display());
    cored.and(harnessed).and(conformed)
}

/// # Errors
/// When the compiler or the tools of its LLVM are missing, with what installs them.
fn needs_component() -> Result<()> {
    let mut listed = program("rustup");
    let listed = listed.args(["component", "list", "--installed", "--toolchain", TOOLCHAIN]).read();
    if listed.is_ok_and(|all| all.lines().any(|line| line.starts_with(COMPONENT))) {
        return Ok(());
    }
    let way = format!("rustup toolchain install {TOOLCHAIN} --component {COMPONENT}");
    Err(format!("coverage needs the {TOOLCHAIN} compiler with {COMPONENT}; {way}").into())
}

/// The programs that cargo says it built.
fn executables(messages: &str) -> Vec<String> {
    let of_line = |line: &str| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split('"').next().map(str::to_owned)
    };
    messages.lines().filter_map(of_line).collect()
}

/// A tool of the compiler's own LLVM, whose format it writes.
fn tool(name: &str) -> Result<PathBuf> {
    let sysroot = program("rustup").args(["run", TOOLCHAIN, "rustc", "--print", "target-libdir"]).read()?;
    let libraries = PathBuf::from(sysroot.trim());
    let place = libraries.parent().ok_or("rustc has no directory of libraries")?;
    Ok(place.join("bin").join(format!("{name}{EXE_SUFFIX}")))
}
