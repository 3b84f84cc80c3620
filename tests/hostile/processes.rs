//! Eight processes in three languages at random operations on one store, killed at random, half of them with clocks
//! that are ten years off. And how soon the dead owner of a job is noticed.

mod dead_owner;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub use dead_owner::{dead_owner, plays_a_part};
use hypeman_core::{Call, Hypeman, SnapshotFilter};
use hypeman_tests::language::{Language, Runner};
use hypeman_tests::report::{Report, is_long, seed};

use crate::disks::skip;
use crate::scene::{Random, jobs_end, open, scratch, standby_vm};

/// There are at least so many kills, and snapshots made.
const KILLS: u64 = 12;
const MADE: usize = 30;

/// A worker under way.
struct Worker {
    process: Child,
    language: usize,
}

pub fn eight() -> Result<(), String> {
    let seed = seed(5);
    let mut report = Report::new("processes", seed);
    let mut random = Random::new(seed);
    let temp = scratch();
    let data = temp.path().join("data");
    let hm = open(&data).unwrap();
    let memory = [b"guest memory ".repeat(8_000), vec![0; 100_000]].concat();
    for vm in ["vm0", "vm1", "vm2"] {
        standby_vm(&hm, vm, &temp.path().join(vm), b"disk", &memory);
    }
    let runners = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile/runners");
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let wanted = Language::wanted_borders();
    let languages: Vec<_> = wanted.into_iter().filter(|one| *one != Language::Rust).collect();
    let programs = languages.iter().map(|one| Runner::new(*one, &runners, Path::new(""), tmp));
    let programs = programs.collect::<Result<Vec<_>, _>>()?;
    if programs.is_empty() {
        return skip("eight_processes", "languages", "HYPEMAN_CONFORMANCE_LANGS leaves them out");
    }
    let has_faketime = has_faketime("eight_processes with wrong clocks")?;
    let (tell, told) = mpsc::channel::<String>();
    let start = |language: usize, random: &mut Random| -> Result<Worker, String> {
        let clock = match random.below(4) {
            0 if has_faketime => Some("+10y"),
            1 if has_faketime => Some("-10y"),
            _ => None,
        };
        let seed = random.next().to_string();
        let mut command = programs[language].command(clock);
        command.args(["--work", data.to_str().unwrap(), &seed, "3600"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|e| e.to_string())?;
        let stdout = process.stdout.take().unwrap();
        let tell = tell.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Ok(Worker { process, language })
    };
    let mut workers =
        (0..8).map(|n| start(n % programs.len(), &mut random)).collect::<Result<Vec<_>, _>>()?;
    let until = Instant::now() + Duration::from_secs(if is_long() { 300 } else { 12 });
    let mut lines = Vec::new();
    let made_by = |lines: &[String]| lines.iter().filter(|line| line.starts_with("made ")).count();
    // Until there was enough of everything, however slow this machine is.
    while Instant::now() < until || report.count("kills") < KILLS || made_by(&lines) < MADE {
        lines.extend(told.try_iter());
        std::thread::sleep(Duration::from_millis(200 + random.below(600) as u64));
        look(&hm, &mut report);
        let victim = random.below(workers.len());
        let worker = &mut workers[victim];
        end(&mut worker.process)?;
        workers[victim] = start(worker.language, &mut random)?;
        report.tried("kills", 1);
    }
    for worker in &mut workers {
        end(&mut worker.process)?;
    }
    drop(tell);

    // What was acknowledged and not deleted is there, whole.
    lines.extend(told.iter());
    let with = |word: &str| -> BTreeSet<String> {
        lines.iter().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect()
    };
    let (made, deleted) = (with("made "), with("deleting "));
    report.tried("snapshots made", made.len() as u64);
    report.tried("snapshots deleted", deleted.len() as u64);
    for line in lines.iter().filter(|line| line.starts_with("BAD")) {
        report.failure(line.clone());
    }
    let next = open(&data).map_err(|e| e.to_string())?;
    jobs_end(&data)?;
    look(&next, &mut report);
    let kept: BTreeSet<_> = listed(&next)?.into_iter().map(|found| found.id.clone()).collect();
    for id in made.difference(&deleted).filter(|id| !kept.contains(*id)) {
        report.failure(format!("{id} was acknowledged, never deleted, and is lost"));
    }
    for id in &kept {
        match next.snapshots().verify(id, Call::default()) {
            Ok(found) if found.defects.is_empty() => report.tried("snapshots verified in the end", 1),
            bad => report.failure(format!("{id}: {bad:?}")),
        }
    }
    for place in ["staging", "trash", "intents", "jobs"] {
        let entries = fs::read_dir(data.join("snapshots/.libhypeman").join(place)).unwrap();
        if let Some(entry) = entries.flatten().next() {
            report.failure(format!("{:?} is left in {place}", entry.file_name()));
        }
    }
    // A name that two snapshots have: two records made by hand.
    let twins = [twin(&data, "twina"), twin(&data, "twinb")];
    report.control(
        "a name that is there twice",
        twins.iter().all(|made| *made) && names_twice(&open(&data).unwrap()),
    );
    report.at_least("kills", KILLS);
    report.at_least("snapshots made", MADE as u64);
    report.finish();
    Ok(())
}

/// Tells whether clocks can be wrong here. Where not, that is said of `story`.
fn has_faketime(story: &str) -> Result<bool, String> {
    let is_there = Command::new("faketime").arg("--version").output().is_ok();
    if !is_there {
        skip(story, "faketime", "there is no faketime")?;
    }
    Ok(is_there)
}

/// Kills a process, and removes what a wrong clock leaves of one that was killed.
fn end(process: &mut Child) -> Result<(), String> {
    process.kill().and_then(|()| process.wait()).map_err(|e| e.to_string())?;
    for left in ["faketime_shm_", "sem.faketime_sem_"] {
        let _ = fs::remove_file(format!("/dev/shm/{left}{}", process.id()));
    }
    Ok(())
}

fn listed(hm: &Hypeman) -> Result<Vec<std::sync::Arc<hypeman_core::Snapshot>>, String> {
    hm.snapshots().list(&SnapshotFilter::default()).map_err(|e| format!("list: {e}"))
}

fn names_twice(hm: &Hypeman) -> bool {
    let mut count: BTreeMap<_, u32> = BTreeMap::new();
    for found in listed(hm).unwrap_or_default() {
        *count.entry((found.source_instance_id.clone(), found.name.clone())).or_default() += 1;
    }
    count.into_iter().any(|((_, name), count)| name.is_some() && count > 1)
}

fn look(hm: &Hypeman, report: &mut Report) {
    if let Err(why) = listed(hm) {
        report.failure(why);
    }
    // Two lists a moment apart may see a name go and come: what stays is what counts.
    if names_twice(hm) && names_twice(&open(hm.data_dir()).unwrap()) {
        report.failure("a name is there twice");
    }
    report.tried("looks", 1);
}

fn twin(data: &Path, id: &str) -> bool {
    let record = r#"{"snapshot":{"id":"ID","name":"twin","kind":"Standby","source_instance_id":"i","SourceHypervisor":"qemu","created_at":"2026-01-01T00:00:00Z"},"stored_metadata":{}}"#;
    let at = data.join("snapshots").join(id);
    fs::create_dir_all(at.join("guest")).is_ok()
        && fs::write(at.join("snapshot.json"), record.replace("ID", id)).is_ok()
}
