//! An owner that dies with a job in hand, and how soon the next opener has it: as soon as the kernel takes its lock from
//! it, whatever any clock says.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hypeman_core::{Call, CompressionConfig, CompressionState, CreateSnapshot, Hypeman, Kind, SnapshotKind};
use hypeman_tests::language::Runner;
use hypeman_tests::report::{Report, is_long};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{end, has_faketime};
use crate::scene::{Random, open, scratch, standby_vm};

const ROLE: &str = "HYPEMAN_HOSTILE_OWNER";

/// A job is picked up sooner than that, as a rule: half of all are.
const SOON: Duration = Duration::from_millis(50);

/// Is an owner that will be killed, if that is what this process is for.
pub fn plays_a_part() -> bool {
    let Ok(data) = std::env::var(ROLE) else { return false };
    let hm = Hypeman::open(data).unwrap();
    let request = CreateSnapshot {
        compression: Some(CompressionConfig::with("zstd", Some(19))),
        ..CreateSnapshot::new(SnapshotKind::Standby)
    };
    let made = hm.instances().snapshots().create("vm", &request, Call::default()).unwrap();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", made.id).unwrap();
    drop(stdout);
    let _ = hm.snapshots().wait(&made.id, Call::default());
    true
}

/// Tells whether someone holds the job of a snapshot, without getting in anyone's way.
fn has_owner(data: &Path, id: &str) -> Result<bool, String> {
    let path = data.join(format!("snapshots/.libhypeman/locks/{id}.snapshot"));
    let file = fs::File::open(path).map_err(|e| e.to_string())?;
    let mut probe = nix::libc::flock {
        l_type: nix::libc::F_RDLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut probe)).map_err(|e| e.to_string())?;
    Ok(probe.l_type != nix::libc::F_UNLCK as i16)
}

pub fn dead_owner() -> Result<(), String> {
    let mut report = Report::new("dead-owner", 6);
    let mut random = Random::new(6);
    let temp = scratch();
    let data = temp.path().join("data");
    let hm = open(&data).unwrap();
    let memory: Vec<u8> =
        (0..4 << 20).map(|n: u32| if n.is_multiple_of(3) { random.next() as u8 } else { n as u8 }).collect();
    standby_vm(&hm, "vm", &temp.path().join("vm"), b"disk", &memory);
    hm.close();
    let clocks: &[Option<&str>] = if has_faketime("a_dead_owners_job with wrong clocks")? {
        &[None, Some("+10y"), Some("-10y")]
    } else {
        &[None]
    };
    let mut taken = Vec::new();
    for clock in clocks.iter().cycle().take(if is_long() { 21 } else { 7 }) {
        taken.push(one(&data, *clock, &mut report)?);
        report.tried("dead owners", 1);
    }
    taken.sort();
    let median = taken[taken.len() / 2];
    if median > SOON {
        report.failure(format!("half of the pick-ups took {median:?} and longer: {taken:?}"));
    }
    for (which, time) in [("median", median), ("slowest", taken[taken.len() - 1])] {
        report.tried(&format!("microseconds of the {which} pick-up"), time.as_micros() as u64);
    }
    report.finish();
    Ok(())
}

/// How long it takes from the death of an owner, whose clock is `clock`, until another has its job.
fn one(data: &Path, clock: Option<&str>, report: &mut Report) -> Result<Duration, String> {
    let program = Runner::program(&std::env::current_exe().unwrap());
    let mut command = program.command(clock);
    command.env(ROLE, data).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut owner = command.spawn().map_err(|e| e.to_string())?;
    let mut id = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut id).map_err(|e| e.to_string())?;
    let id = id.trim().to_owned();
    let made = Instant::now();
    while !has_owner(data, &id)? && made.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    // While its owner lives, no opener touches the job.
    let beside = open(data).map_err(|e| e.to_string())?;
    let state = beside.snapshots().get(&id).map_err(|e| e.to_string())?.compression_state;
    if state != Some(CompressionState::Compressing) {
        report.failure(format!("the owner was done too soon: {state:?}"));
    }
    // One that only sleeps holds it all the same.
    kill(Pid::from_raw(owner.id() as i32), Signal::SIGSTOP).map_err(|e| e.to_string())?;
    let mut was_touched = false;
    let call = Call::default().timeout(Duration::from_millis(300)).progress(|progress| {
        was_touched |= progress.bytes_total > 0;
        std::ops::ControlFlow::Continue(())
    });
    let waited = beside.snapshots().wait(&id, call).map_err(|error| error.kind());
    let is_left_alone = waited == Err(Kind::Timeout) && !was_touched;
    if !is_left_alone {
        report.failure(format!("an owner that only sleeps lost its job: {waited:?}"));
    }
    report.control(&format!("an owner that only sleeps, clock {}", clock.unwrap_or("right")), is_left_alone);
    beside.close();
    end(&mut owner)?;
    let killed = Instant::now();
    let next = open(data).map_err(|e| e.to_string())?;
    while !has_owner(data, &id)? && killed.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    let taken = killed.elapsed();
    let call = Call::default().timeout(Duration::from_secs(300));
    let done = next.snapshots().wait(&id, call).map_err(|e| e.to_string())?;
    if done.compression_state != Some(CompressionState::Compressed) {
        report.failure(format!("{id}: {:?}", done.compression_state));
    }
    next.snapshots().delete(&id).map_err(|e| e.to_string())?;
    next.close();
    Ok(taken)
}
