//! That the library, the C library and the command compile for macOS, without warnings; in the long run its tests, too. Only compiled: nothing is
//! linked, and nothing runs.

use super::Outcome;
use super::counts::Counts;
use crate::Result;
use crate::program::{Run, cargo, program, succeeds};

/// Macs with Apple's own CPUs; those with Intel's differ in nothing of ours, and are looked at in the long run.
const TARGETS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-apple-darwin"];

/// What a compiler for macOS would build of the C libraries is not needed to check what calls them.
const LEFT_OUT: [&str; 2] = ["zstd", "lz4"];

const NAME: &str = "darwin";

/// Checks the first target, or both in the long run.
pub fn darwin(is_long: bool) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for target in TARGETS.into_iter().take(if is_long { TARGETS.len() } else { 1 }) {
        if !is_installed(target)? && !succeeds(program("rustup").args(["target", "add", target])) {
            let reason = format!("no standard library for {target}; run: rustup target add {target}");
            let required = std::env::var("HYPEMAN_REQUIRE").unwrap_or_default();
            if required.split(',').any(|name| name.trim() == NAME) {
                return Err(reason.into());
            }
            let skip = format!("SKIP {NAME}: {reason}");
            println!("{skip}");
            outcome.skips.push(skip);
            outcome.counts += Counts { skipped: 1, ..Counts::default() };
            continue;
        }
        let mut clippy = cargo();
        clippy.args(["clippy", "--quiet", "--lib", "--bins", "--target", target]);
        clippy.args(["--package=hypeman-core", "--package=hypeman-ffi", "--package=hypeman-cli"]);
        leave_out_c(&mut clippy, target).args(["--", "-D", "warnings"]).run()?;
        if is_long {
            // As a test program. `--tests` would take those that mount Linux's file systems, too. In the long run alone, since it
            // builds what builds are made with anew.
            let mut tests = cargo();
            tests.args(["clippy", "--quiet", "--profile=test", "--lib", "--target", target]);
            tests.arg("--package=hypeman-core");
            leave_out_c(&mut tests, target).args(["--", "-D", "warnings"]).run()?;
        }
        outcome.counts += Counts::ONE_PASSED;
    }
    Ok(outcome)
}

fn leave_out_c<'c>(command: &'c mut std::process::Command, target: &str) -> &'c mut std::process::Command {
    command.args(LEFT_OUT.iter().flat_map(|library| {
        ["--config".to_owned(), format!("target.{target}.{library}.rustc-link-lib=[\"{library}\"]")]
    }))
}

fn is_installed(target: &str) -> Result<bool> {
    let directory = program("rustc").args(["--print", "target-libdir", "--target", target]).read()?;
    Ok(std::path::Path::new(directory.trim()).is_dir())
}
