//! Crash states: whatever a power cut or a kill leaves of any operation, what was acknowledged is there and whole.
//!
//! `HYPEMAN_SEED` repeats a run. What a machine cannot do is skipped by name, unless `$HYPEMAN_REQUIRE` names it.

mod controls;
mod device;
mod disk;
mod images;
mod judge;
mod kill;
mod peer;
mod record;
mod replay;
mod scene;
mod trace;

use std::env;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

/// What this process is for, where it is one of many: words between bars.
pub const ROLE: &str = "HYPEMAN_CRASH_ROLE";

/// What a harness needs beside the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Strace,
    StraceAndBlock,
}

type Harness = (&'static str, Needs, fn());

macro_rules! harnesses {
    ($($needs:ident: $file:ident::$name:ident,)*) => { [$((stringify!($name), Needs::$needs, $file::$name)),*] };
}

/// Those that take longest first.
const HARNESSES: &[Harness] = &harnesses![
    Strace: replay::no_power_cut_loses_what_was_acknowledged,
    StraceAndBlock: images::no_real_file_system_loses_what_was_acknowledged,
    Strace: kill::no_killed_host_leaves_anything_behind,
];

fn main() -> ExitCode {
    if let Ok(role) = env::var(ROLE) {
        let parts: Vec<&str> = role.split('|').collect();
        match parts.as_slice() {
            ["play", name, part] => record::play(name, part),
            ["judge", marks] => kill::judge(marks),
            ["replay", parts @ ..] => replay::work(parts),
            _ => panic!("no such role: {role}"),
        }
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // One of them alone waits for disks and processes half of the time.
    arguments.test_threads = Some(2);
    let trials = HARNESSES.iter().copied().map(|(name, needs, harness)| match missing(needs) {
        None => Trial::test(name, move || {
            harness();
            Ok(())
        }),
        Some((what, reason)) if required(what) => Trial::test(name, move || Err(Failed::from(reason))),
        Some((_, reason)) => {
            writeln!(std::io::stderr(), "SKIP {name}: {reason}").expect("stderr takes a line");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// This program in a role.
pub fn in_role(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env(ROLE, role).stdin(Stdio::null());
    command
}

fn missing(needs: Needs) -> Option<(&'static str, &'static str)> {
    let runs = |program: &str, arguments: &[&str]| {
        let quiet =
            Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    };
    if !runs("strace", &["-qq", "true"]) {
        return Some(("strace", "strace is missing or not permitted here (it may need CAP_SYS_PTRACE)"));
    }
    match needs {
        Needs::Strace => None,
        Needs::StraceAndBlock => images::missing().map(|why| ("block", why)),
    }
}

fn required(what: &str) -> bool {
    env::var("HYPEMAN_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name.trim() == what))
}
