//! The runner in Rust: `RUNNER ENTRIES DATA_DIR INSTANCE_DIR`, as its sisters in `../runners`.
//!
//! It makes every call on every entry and prints a line for each: the label, then what each call answered: `ok`, or
//! the code of its error. `verify` answers `good`, `bad` or `unchecked`. Then `rss` and the bytes by which the process
//! grew at its largest.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Hypeman, RestoreSnapshot, Result, SnapshotFilter, SnapshotKind,
};
use nix::sys::stat::{Mode, umask};

/// Is the runner, if that is what this process is for.
pub fn plays_a_part() -> bool {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [entries, data, instance] = arguments.as_slice() else { return false };
    if !entries.is_file() {
        return false;
    }
    let text = run(&fs::read_to_string(entries).unwrap(), data, instance);
    std::io::stdout().write_all(text.as_bytes()).unwrap();
    true
}

fn run(entries: &str, data: &Path, instance: &Path) -> String {
    umask(Mode::empty());
    let hm = Hypeman::open(data).unwrap();
    let mut text = format!("list {}\n", listed(&hm));
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let baseline = status("VmRSS");
    for (label, id) in entries.lines().filter_map(|line| line.split_once(' ')) {
        let verified = hm.snapshots().verify(id, Call::default()).map(|report| match report.is_good() {
            true => "good",
            false if report.defects.is_empty() => "unchecked",
            false => "bad",
        });
        let verified = verified.unwrap_or_else(|error| error.code());
        let got = code(hm.snapshots().get(id));
        let inspected = code(hm.snapshots().inspect(id));
        let memory = code(read_memory(&hm, id));
        let restored = hm.instances().snapshots().restore(id, "web", &RestoreSnapshot::default(), limit());
        // The memory of a restored guest may be huge and empty.
        let _ = fs::remove_file(instance.join("snapshots/snapshot-latest/memory"));
        let restored = code(restored);
        let deleted = code(hm.snapshots().delete(id));
        writeln!(text, "{label} get={got} inspect={inspected} verify={verified} memory={memory} restore={restored} delete={deleted}")
            .unwrap();
    }
    fs::write(instance.join("snapshots/snapshot-latest/memory"), "memory").unwrap();
    let request = CreateSnapshot {
        compression: Some(CompressionConfig::with("zstd", None)),
        ..CreateSnapshot::new(SnapshotKind::Standby)
    };
    let made = hm.instances().snapshots().create("web", &request, limit());
    let waited = made.and_then(|made| hm.snapshots().wait(&made.id, limit()));
    writeln!(text, "create {}", code(waited)).unwrap();
    writeln!(text, "list {}", listed(&hm)).unwrap();
    hm.close();
    writeln!(text, "rss {}", status("VmHWM").saturating_sub(baseline)).unwrap();
    text
}

fn limit() -> Call<'static> {
    Call::default().timeout(Duration::from_secs(60))
}

fn listed(hm: &Hypeman) -> String {
    match hm.snapshots().list(&SnapshotFilter::default()) {
        Ok(found) => found.len().to_string(),
        Err(error) => error.code().to_owned(),
    }
}

fn code<T>(result: Result<T>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

/// A MiB at the start, in the middle and at the end.
fn read_memory(hm: &Hypeman, id: &str) -> Result<()> {
    let image = hm.snapshots().memory(id)?;
    let size = image.size_bytes();
    let mut buffer = vec![0; 1 << 20];
    for at in [0, size / 2, size.saturating_sub(1 << 20)] {
        image.read_at(at, &mut buffer)?;
    }
    Ok(())
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() << 10
}
