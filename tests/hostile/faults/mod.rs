//! Every call of the kernel that every operation makes is answered with every fault, once and from then on: the error
//! has the right code, the VM runs, what was acknowledged is whole, nothing is left behind, nothing panics.
//!
//! `shim.c` lies between this program, run once more as the sweeper, and the C library. Calls that can fail cheaply
//! are thousands a minute that way, in one process, each counted from the start of its operation.

mod controls;
mod leftovers;
mod operations;
mod oracle;
mod sweep;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hypeman_tests::report::{Report, is_long, seed};
use hypeman_tests::scripted::CloudHypervisor;
use serde::{Deserialize, Serialize};

use crate::scene::scratch;

const ROLE: &str = "HYPEMAN_HOSTILE_SWEEP";

/// A run that has said nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// How many sweepers there are: each has a store of its own, and waits some of the time.
const SWEEPERS: u64 = 2;

/// How many faults are tried where not all are. Work is counted, never time: a slow machine takes longer and tries as
/// much.
const FAULTS: u64 = 1_600;

/// What the sweeper is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    root: PathBuf,
    seed: u64,
    /// Which share of the faults is this sweeper's, of `SWEEPERS`.
    share: u64,
    /// How many of them it tries, at random places; all where it is absent.
    most: Option<u64>,
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
    if leftovers::plays_a_part() {
        return true;
    }
    let Ok(orders) = std::env::var(ROLE) else { return false };
    sweep::sweep(&serde_json::from_str(&orders).unwrap());
    true
}

pub fn every_call() -> Result<(), String> {
    let seed = seed(3);
    let mut report = Report::new("faults", seed);
    let temp = scratch();
    let shim = build_shim(temp.path())?;
    let only = std::env::var("HYPEMAN_FAULTS_ONLY").ok();
    let most = if is_long() { None } else { Some(FAULTS / SWEEPERS) };
    let orders = |share: u64, control: Option<&str>| Orders {
        root: temp.path().join(format!("s{share}")),
        seed,
        share,
        most,
        only: only.clone(),
        control: control.map(str::to_owned),
    };
    let mut vmms = Vec::new();
    for root in (0..SWEEPERS).map(|share| orders(share, None).root) {
        vmms.push(operations::prepare(&root));
        leftovers::prepare(&root, &shim)?;
    }
    for control in controls::controls().iter().map(|control| control.name.as_str()) {
        let mut caught = false;
        let orders = orders(0, Some(control));
        sweep_with(&shim, &vmms[0], &orders, &mut |_, _, _, failure| caught |= failure.is_some())?;
        report.control(control, caught);
    }
    let shared = Mutex::new(&mut report);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let sweeps = vmms.iter().zip(0..).map(|(vmm, share)| {
            let (orders, shim, shared) = (orders(share, None), &shim, &shared);
            scope.spawn(move || {
                sweep_with(shim, vmm, &orders, &mut |what, hit, code, failure| {
                    let mut report = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    report.tried("faults", u64::from(hit));
                    report.tried(&format!("answers {}", code.unwrap_or("ok")), 1);
                    if let Some(why) = failure {
                        // Told at once, too: a run that is cut off has said why.
                        let _ = writeln!(std::io::stderr(), "{what}: {why}");
                        report.failure(format!("{what}: {why}"));
                    }
                })
            })
        });
        let sweeps: Vec<_> = sweeps.collect();
        sweeps.into_iter().map(|sweep| sweep.join().expect("a sweep does not panic")).collect()
    });
    for outcome in outcomes {
        if let Err(why) = outcome {
            report.failure(why);
        }
    }
    // Some are planned for calls that a later run of the same operation does not make.
    report.at_least("faults", if is_long() { 60_000 } else { FAULTS * 3 / 4 });
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
    thread::spawn(move || {
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
