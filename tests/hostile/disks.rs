//! Real file systems that are too small: a tmpfs without space or without inodes, and an ext4 in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hypeman_core::{Call, CreateSnapshot, Hypeman, Kind, RestoreSnapshot, SnapshotFilter, SnapshotKind};
use hypeman_tests::report::Report;

use crate::scene::{Random, files, jobs_end, open, scratch, snapshot, standby_vm};

/// A mounted file system, unmounted when dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    /// An empty one of that kind, of `bytes`, in a new file `image`.
    pub fn formatted(kind: &str, bytes: u64, image: &Path, at: &Path) -> Result<Self, String> {
        fs::File::create(image).unwrap().set_len(bytes).unwrap();
        let options: &[_] = if kind == "ext4" { &["-q", "-F", "-m", "0"] } else { &["-q", "-f"] };
        run(Command::new(format!("mkfs.{kind}")).args(options).arg(image))?;
        Self::new(at, &["-o", "loop", image.to_str().unwrap()])
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn new(at: &Path, arguments: &[&str]) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        run(Command::new("mount").args(arguments).arg(at))?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// Says that a story is left out, unless `$HYPEMAN_REQUIRE` names what it needs.
pub fn skip(story: &str, need: &str, why: &str) -> Result<(), String> {
    if std::env::var("HYPEMAN_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == need)) {
        return Err(format!("HYPEMAN_REQUIRE names {need}, but {why}"));
    }
    use std::io::Write;
    writeln!(std::io::stderr(), "SKIP {story}: {why}").map_err(|e| e.to_string())
}

pub fn tmpfs() -> Result<(), String> {
    let mut report = Report::new("disks-tmpfs", 1);
    for (what, options) in [("space", "size=2m"), ("inodes", "size=64m,nr_inodes=120")] {
        let temp = scratch();
        let at = temp.path().join("small");
        let mounted = match Mounted::new(&at, &["-t", "tmpfs", "-o", options, "tmpfs"]) {
            Ok(mounted) => mounted,
            Err(why) => return skip("a_small_tmpfs", "root", &why),
        };
        fill_in_steps(&mounted.0, temp.path(), what, &mut report)?;
    }
    report.finish();
    Ok(())
}

pub fn full_ext4() -> Result<(), String> {
    let mut report = Report::new("disks-ext4", 1);
    let temp = tempfile::tempdir().unwrap();
    let (image, at) = (temp.path().join("image"), temp.path().join("small"));
    let mounted = match Mounted::formatted("ext4", 12 << 20, &image, &at) {
        Ok(mounted) => mounted,
        Err(why) => return skip("a_full_disk", "root", &why),
    };
    fill_in_steps(&mounted.0, temp.path(), "space", &mut report)?;
    report.finish();
    Ok(())
}

/// Works while ever less is free, down to nothing, and gives everything free again: each call succeeds or says
/// `no_space`, what was acknowledged stays whole, and nothing is left behind.
fn fill_in_steps(small: &Path, outside: &Path, what: &str, report: &mut Report) -> Result<(), String> {
    let data = small.join("data");
    let hm = open(&data).map_err(|e| e.to_string())?;
    let mut random = Random::new(7);
    let memory: Vec<u8> = (0..200 << 10).map(|_| random.next() as u8).collect();
    // The instance lies on the same file system, for its restores.
    let vm = small.join("web");
    standby_vm(&hm, "web", &vm, b"disk", &memory);
    let kept = snapshot(&hm, "web", Some("kept"), None);
    let captured = files(&vm);
    let _ = outside;

    let (mut fillers, mut refused) = (0, 0);
    for step in 0.. {
        let filler = small.join(format!("filler{step}"));
        let filled = match what {
            "inodes" => fs::create_dir(&filler),
            _ => fs::write(&filler, vec![1; 64 << 10]),
        };
        if filled.is_ok() {
            fillers += 1;
        }
        refused += work(&hm, &kept.id, &vm, &captured, report)?;
        if filled.is_err() {
            break;
        }
    }
    report.tried("steps until the disk was full", fillers);
    report.control(&format!("refusals while {what} ran out"), refused > 0);
    for entry in fs::read_dir(small).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("filler") {
            let _ = fs::remove_file(entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
    if work(&hm, &kept.id, &vm, &captured, report)? != 0 {
        report.failure(format!("there is {what} again, and still something is refused"));
    }
    Ok(())
}

/// Every operation that writes, once. Returns how many were refused.
fn work(
    hm: &Hypeman,
    kept: &str,
    vm: &Path,
    captured: &[(PathBuf, Vec<u8>)],
    report: &mut Report,
) -> Result<u64, String> {
    let mut refused = 0;
    let mut judge = |what: &str, outcome: Result<(), hypeman_core::Error>, report: &mut Report| {
        report.tried("operations", 1);
        match outcome {
            Err(error) if error.kind() == Kind::NoSpace => refused += 1,
            Err(error) => report.failure(format!("{what}: {}: {error}", error.code())),
            Ok(()) => {}
        }
    };
    let request = CreateSnapshot { name: Some("new".into()), ..CreateSnapshot::new(SnapshotKind::Standby) };
    let made = hm.instances().snapshots().create("web", &request, Call::default());
    let id = made.as_ref().ok().map(|made| made.id.clone());
    judge("create", made.map(drop), report);
    let restored =
        hm.instances().snapshots().restore(kept, "web", &RestoreSnapshot::default(), Call::default());
    judge("restore", restored.map(drop), report);
    if files(vm) != captured {
        report.failure("the instance is not as it was");
    }
    // Checksums that found no room are no failure of the snapshot: the next opener makes them.
    drop(open(hm.data_dir()));
    if let Some(id) = id {
        judge("delete", hm.snapshots().delete(&id), report);
    }
    let listed = hm.snapshots().list(&SnapshotFilter::default()).map_err(|e| format!("list: {e}"))?;
    if listed.len() != 1 || listed.first().is_none_or(|found| found.id != kept) {
        report.failure(format!("{} snapshots are there", listed.len()));
    }
    let whole = hm.snapshots().verify(kept, Call::default()).map_err(|e| format!("verify: {e}"))?;
    if !whole.is_good() {
        report.failure(format!("what was acknowledged is damaged: {:?}", whole.defects));
    }
    let staging = hm.data_dir().join("snapshots/.libhypeman/staging");
    if fs::read_dir(staging).map_err(|e| e.to_string())?.next().is_some() {
        report.failure("something is left in staging");
    }
    let _ = jobs_end;
    Ok(refused)
}
