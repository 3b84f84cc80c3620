//! Damage: a bit that turned, a file that was cut. `verify` finds each, and neither a restore nor a read of memory nor a
//! pager gives out a wrong byte.

mod guest;
mod larger;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hypeman_core::{Call, Hypeman, Kind, RestoreSnapshot, SnapshotFilter};
use hypeman_tests::report::{Report, is_long, seed};

pub use larger::larger_store;

use crate::scene::{Random, directory, files, open, scratch, snapshot, standby_vm};

/// One damage of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(usize),
    Cut(usize),
}

/// A snapshot and what is in it.
struct Target {
    id: String,
    directory: PathBuf,
    vm: PathBuf,
    memory: Vec<u8>,
}

/// Does `damage` to the file, lets `look` look, and undoes it.
fn with_damage<T>(path: &Path, whole: &[u8], damage: Damage, look: impl FnOnce() -> T) -> T {
    let file = File::options().write(true).open(path).unwrap();
    match damage {
        Damage::Flip(bit) => file.write_all_at(&[whole[bit / 8] ^ (1 << (bit % 8))], bit as u64 / 8).unwrap(),
        Damage::Cut(len) => file.set_len(len as u64).unwrap(),
    }
    let seen = look();
    match damage {
        Damage::Flip(bit) => file.write_all_at(&whole[bit / 8..=bit / 8], bit as u64 / 8).unwrap(),
        Damage::Cut(len) => file.write_all_at(&whole[len..], len as u64).unwrap(),
    }
    seen
}

fn is_good(hm: &Hypeman, id: &str) -> bool {
    hm.snapshots().verify(id, Call::default()).is_ok_and(|report| report.is_good())
}

/// Reads all memory: the right bytes, or an error.
fn reads_no_wrong_byte(hm: &Hypeman, target: &Target) -> Result<bool, String> {
    let Ok(image) = hm.snapshots().memory(&target.id) else { return Ok(true) };
    let mut found = vec![0; target.memory.len() + 1];
    match image.read_at(0, &mut found) {
        Err(_) => Ok(true),
        Ok(read) if found.get(..read) == Some(&target.memory) => Ok(false),
        Ok(_) => Err("memory was read wrong".to_owned()),
    }
}

/// Restores over an instance directory that differs: then it is as captured, or as it was.
fn restores_no_wrong_byte(
    hm: &Hypeman,
    target: &Target,
    captured: &[(PathBuf, Vec<u8>)],
) -> Result<bool, String> {
    let disk = target.vm.join("overlay.raw");
    fs::write(&disk, "newer").unwrap();
    let before = files(&target.vm);
    let restored =
        hm.instances().snapshots().restore(&target.id, "web", &RestoreSnapshot::default(), Call::default());
    let after = files(&target.vm);
    match restored {
        Ok(_) if after == captured => Ok(false),
        Err(_) if after == before => Ok(true),
        Err(error) => Err(format!("a refused restore changed the instance: {error}")),
        Ok(_) => Err("a wrong byte was restored".to_owned()),
    }
}

pub fn small_store() -> Result<(), String> {
    let seed = seed(1);
    let mut report = Report::new("damage-small", seed);
    let mut random = Random::new(seed);
    let temp = scratch();
    let hm = open(&temp.path().join("data")).unwrap();
    let memory = [b"small memory ".repeat(12), vec![0; 300]].concat();
    let vm = temp.path().join("web");
    standby_vm(&hm, "web", &vm, b"a small disk", &memory);
    let captured = files(&vm);
    // Of how many damages one is tried, outside of the raw payload, and of how many tried a restore.
    let (every, every_restore) = if is_long() { (1, 1) } else { (6, 40) };
    for compression in [None, Some("zstd"), Some("lz4")] {
        for (name, bytes) in &captured {
            fs::write(vm.join(name), bytes).unwrap();
        }
        let made = snapshot(&hm, "web", None, compression);
        let directory = directory(&hm, &made.id);
        let target = Target { id: made.id, directory, vm: vm.clone(), memory: memory.clone() };
        if !is_good(&hm, &target.id) {
            report
                .failure(format!("a false alarm: {:?}", hm.snapshots().verify(&target.id, Call::default())));
        }
        for (name, whole) in files(&target.directory) {
            let path = target.directory.join(&name);
            let is_payload = name.starts_with("guest");
            let flips = (0..whole.len() * 8).map(Damage::Flip);
            for damage in flips.chain((0..whole.len()).map(Damage::Cut)) {
                // The raw payload is gone through bit by bit always.
                if !(is_payload && compression.is_none()) && random.below(every) != 0 {
                    continue;
                }
                let told = format!("{compression:?} {}: {damage:?}", name.display());
                with_damage(&path, &whole, damage, || {
                    if is_good(&hm, &target.id) {
                        report.failure(format!("{told}: not found"));
                    }
                    if is_payload {
                        if let Err(why) = reads_no_wrong_byte(&hm, &target) {
                            report.failure(format!("{told}: {why}"));
                        }
                        report.tried("damages read", 1);
                    }
                    if random.below(every_restore) == 0 {
                        match restores_no_wrong_byte(&hm, &target, &captured) {
                            Err(why) => report.failure(format!("{told}: {why}")),
                            Ok(refused) if !refused && is_payload && compression.is_none() => {
                                report.failure(format!("{told}: restored as if nothing were wrong"));
                            }
                            Ok(_) => {}
                        }
                        report.tried("damages restored", 1);
                    }
                });
                report.tried("damages", 1);
            }
        }
        if !is_good(&hm, &target.id) {
            report.failure("a false alarm when all was undone");
        }
        report.tried("false alarms looked for", 2);
        // Without checksums, as the vendor writes snapshots, a flip in raw memory goes unnoticed.
        if compression.is_none() {
            let sidecar = target.directory.join("libhypeman.json");
            let away = temp.path().join("sidecar");
            fs::rename(&sidecar, &away).unwrap();
            let path = target.directory.join("guest/snapshots/snapshot-latest/memory");
            let is_noticed = with_damage(&path, &memory, Damage::Flip(9), || {
                hm.snapshots()
                    .verify(&target.id, Call::default())
                    .is_ok_and(|report| !report.defects.is_empty())
                    || reads_no_wrong_byte(&hm, &target).is_ok()
                    || restores_no_wrong_byte(&hm, &target, &captured).is_ok()
            });
            report.control("checksums taken away", !is_noticed);
            fs::rename(&away, &sidecar).unwrap();
        }
    }
    report.at_least("damages", if is_long() { 60_000 } else { 8_000 });
    report.at_least("damages restored", if is_long() { 60_000 } else { 150 });
    report.finish();
    Ok(())
}

/// Ten thousand records, one of them damaged: the other 9,999 are listed, and the damaged one says what it is.
pub fn many_records() -> Result<(), String> {
    const RECORDS: usize = 10_000;
    let mut report = Report::new("damage-records", 1);
    let temp = scratch();
    let data = temp.path().join("data");
    let hm = open(&data).unwrap();
    standby_vm(&hm, "web", &temp.path().join("web"), b"disk", b"memory");
    let first = snapshot(&hm, "web", None, None);
    let record = fs::read_to_string(directory(&hm, &first.id).join("snapshot.json")).unwrap();
    for n in 1..RECORDS {
        let id = format!("copy{n:05}");
        fs::create_dir_all(directory(&hm, &id).join("guest")).unwrap();
        fs::write(directory(&hm, &id).join("snapshot.json"), record.replace(&first.id, &id)).unwrap();
    }
    let count = |hm: &Hypeman| hm.snapshots().list(&SnapshotFilter::default()).map(|found| found.len());
    report.control("a list that misses nothing", count(&hm).map_err(|e| e.to_string())? == RECORDS);
    let path = directory(&hm, "copy00042").join("snapshot.json");
    let whole = fs::read(&path).unwrap();
    let damages: [&[u8]; 5] = [b"", &whole[..whole.len() / 2], b"\xff\xfe", b"[]", b"{\"snapshot\":{}}"];
    for (n, damage) in damages.into_iter().enumerate().take(if is_long() { 5 } else { 2 }) {
        fs::write(&path, damage).unwrap();
        // A handle that is open finds what others rewrite by its sweep: 512 records a list.
        for (hm, lists) in [(hm.clone(), RECORDS / 512 + 1), (open(&data).unwrap(), 1)] {
            let mut listed = 0;
            for _ in 0..if n == 0 { lists } else { 1 } {
                listed = count(&hm).map_err(|e| e.to_string())?;
            }
            if listed != RECORDS - 1 {
                report.failure(format!("{listed} are listed beside the record {damage:?}"));
            }
            let told = hm.snapshots().get("copy00042").map_err(|error| error.kind());
            if told.as_ref().err() != Some(&Kind::Corrupt) {
                report.failure(format!("the record {damage:?} is {told:?}"));
            }
            report.tried("lists of 9,999 beside a damaged one", 1);
        }
    }
    report.finish();
    Ok(())
}
