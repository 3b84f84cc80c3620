//! Peers as child processes, and what a piece of work costs: ours and theirs by the same clocks.

use std::ops::AddAssign;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::Result;

/// What a piece of work took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// From its start to its end.
    pub wall: Duration,
    /// CPU time of all its threads, in user and kernel mode.
    pub cpu: Duration,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, more: Self) {
        self.wall += more.wall;
        self.cpu += more.cpu;
    }
}

/// Runs a peer to its end.
///
/// # Errors
/// When it cannot start or ends badly: then there is nothing to compare with.
pub fn run(command: &mut Command) -> Result<Cost> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // Children that have been waited for: this one alone, between the two readings.
    cost(UsageWho::RUSAGE_CHILDREN, || {
        let status = command.status().map_err(|error| format!("cannot start {command:?}: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
    })
}

/// Runs a program to its end and returns what it wrote to stdout.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} ended with {}: {}", output.status, said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `work` in this process, whose other threads are idle meanwhile.
pub fn ours(work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    cost(UsageWho::RUSAGE_SELF, work)
}

fn cost(who: UsageWho, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let before = cpu(&getrusage(who)?);
    let start = Instant::now();
    work()?;
    let wall = start.elapsed();
    Ok(Cost { wall, cpu: cpu(&getrusage(who)?).saturating_sub(before) })
}

fn cpu(usage: &Usage) -> Duration {
    let duration = |time: TimeVal| Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64);
    duration(usage.user_time()) + duration(usage.system_time())
}
