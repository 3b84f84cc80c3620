//! Every call of the kernel that every operation makes is answered with every fault, once and from then on: the error
//! has the right code, the VM runs, what was acknowledged is whole, nothing is left behind, nothing panics.
//!
//! `shim.c` lies between this program, run once more as the sweeper, and the C library. Calls that can fail cheaply
//! are thousands a minute that way, in one process, each counted from the start of its operation.

mod operations;
mod oracle;
mod sweep;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use hypeman_tests::report::{Report, is_long, seed};
use hypeman_tests::scripted::CloudHypervisor;
use serde::{Deserialize, Serialize};

use crate::scene::scratch;

const ROLE: &str = "HYPEMAN_HOSTILE_SWEEP";

/// A run that has said nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the sweeper is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    root: PathBuf,
    seed: u64,
    /// Stops after so long, at random places; all is tried where it is absent.
    seconds: Option<u64>,
    /// The operation to look at, all where it is absent.
    only: Option<String>,
    /// Nothing is refused to the operation: the oracle must notice what is done to the store instead.
    control: Option<String>,
}

/// A line of the sweeper.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// What is tried now.
    Trying(String),
    /// How it went, and the code of the error if the operation failed.
    Tried { what: String, hit: bool, code: Option<String>, failure: Option<String> },
}

/// Is the sweeper, if that is what this process is for.
pub fn plays_a_part() -> bool {
    let Ok(orders) = std::env::var(ROLE) else { return false };
    sweep::sweep(&serde_json::from_str(&orders).unwrap());
    true
}

pub fn every_call() -> Result<(), String> {
    let seed = seed(3);
    let mut report = Report::new("faults", seed);
    let temp = scratch();
    let shim = build_shim(temp.path())?;
    let root = temp.path().join("s");
    let vmm = operations::prepare(&root);
    let only = std::env::var("HYPEMAN_FAULTS_ONLY").ok();
    let seconds = if is_long() { None } else { Some(40) };
    for control in operations::CONTROLS {
        let orders =
            Orders { root: root.clone(), seed, seconds, only: None, control: Some((*control).to_owned()) };
        let mut caught = false;
        sweep_with(&shim, &vmm, &orders, &mut |_, _, _, failure| caught |= failure.is_some())?;
        report.control(control, caught);
    }
    let orders = Orders { root, seed, seconds, only, control: None };
    sweep_with(&shim, &vmm, &orders, &mut |what, hit, code, failure| {
        report.tried("faults", u64::from(hit));
        report.tried(&format!("answers {}", code.unwrap_or("ok")), 1);
        if let Some(why) = failure {
            report.failure(format!("{what}: {why}"));
        }
    })?;
    report.at_least("faults", if is_long() { 10_000 } else { 250 });
    report.finish();
    Ok(())
}

/// Takes what was tried, whether the fault was met, and the code and the failure if there is one.
type Each<'e> = dyn FnMut(&str, bool, Option<&str>, Option<&str>) + 'e;

/// Runs the sweeper to its end, and gives each thing that it tried to `each`.
fn sweep_with(
    shim: &Path,
    vmm: &CloudHypervisor,
    orders: &Orders,
    each: &mut Each<'_>,
) -> Result<(), String> {
    vmm.run();
    let mut sweeper = Command::new(std::env::current_exe().unwrap())
        .env(ROLE, serde_json::to_string(orders).unwrap())
        .env("LD_PRELOAD", shim)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let stdout = sweeper.stdout.take().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if tell.send(line).is_err() {
                break;
            }
        }
    });
    let mut trying = String::new();
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(line) => match serde_json::from_str(&line).map_err(|e| format!("{line}: {e}"))? {
                Line::Trying(what) => trying = what,
                Line::Tried { what, hit, code, failure } => {
                    each(&what, hit, code.as_deref(), failure.as_deref());
                }
            },
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                sweeper.kill().and_then(|()| sweeper.wait()).map_err(|e| e.to_string())?;
                return Err(format!("{trying}: hangs"));
            }
        }
    }
    let status = sweeper.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("{trying}: the process ended with {status}")) }
}

fn build_shim(directory: &Path) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile/faults/shim.c");
    let built = directory.join("shim.so");
    let gcc = Command::new("gcc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-result", "-o"])
        .arg(&built)
        .arg(&source)
        .arg("-ldl")
        .output()
        .map_err(|e| format!("cannot start gcc: {e}"))?;
    if gcc.status.success() { Ok(built) } else { Err(String::from_utf8_lossy(&gcc.stderr).into_owned()) }
}
