//! One hostile store, borne by every language alike: each call gives the same typed answer, memory stays bounded,
//! what lies outside is not touched, and what is made is its owner's alone whatever the umask.
//!
//! `expected.txt` is the rule: a line for each entry, with what each call answers. `UPDATE=1` writes what Rust answers.

mod entries;
mod runner;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use hypeman_tests::language::{Language, Runner};
use hypeman_tests::report::Report;

use crate::disks::skip;
use crate::scene::{close_to_others, files, inodes, open_to_others, scratch};

pub use runner::plays_a_part;

/// More than this above what a process takes to open the store is unbounded.
const RSS_BYTES: u64 = 64 << 20;

pub fn every_language() -> Result<(), String> {
    let mut report = Report::new("hostile-store", 1);
    let temp = scratch();
    let before = temp.path().join("before");
    let run = temp.path().join("run");
    let labels = entries::build(&run);
    fs::rename(&run, &before).unwrap();
    let list = temp.path().join("entries");
    fs::write(&list, labels.iter().map(|(label, id)| format!("{label} {id}\n")).collect::<String>()).unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile");
    let expected_file = root.join("corpus/expected.txt");
    // This very program is the one in Rust.
    let rust = std::env::current_exe().unwrap();
    for (language, runner) in runners(&root.join("runners"), &rust)? {
        copy_all(&before, &run)?;
        let canary = files(&run.join("canary"));
        // Else a restored file would be as open as the one whose place it takes.
        close_to_others(&run.join("web"));
        let theirs = inodes(&run);
        let output = runner.play(&list, &run.join("data"), &run.join("web"))?;
        let (answers, memory): (Vec<_>, Vec<_>) = output.lines().partition(|line| !line.starts_with("rss "));
        let answers = answers.join("\n") + "\n";
        if language == "rust" && std::env::var_os("UPDATE").is_some() {
            fs::write(&expected_file, &answers).unwrap();
        }
        let expected = fs::read_to_string(&expected_file).map_err(|e| e.to_string())?;
        for (got, wanted) in answers.lines().zip(expected.lines()).filter(|(got, wanted)| got != wanted) {
            report.failure(format!("{}: {got}\n    instead of: {wanted}", language));
        }
        if answers.lines().count() != expected.lines().count() {
            report.failure(format!("{}: {} lines", language, answers.lines().count()));
        }
        let rss = memory.first().and_then(|line| line["rss ".len()..].trim().parse::<u64>().ok());
        match rss {
            Some(bytes) if bytes <= RSS_BYTES => {
                report.tried(&format!("MiB above baseline of {language}"), bytes >> 20)
            }
            other => report.failure(format!("{}: {other:?} bytes above baseline", language)),
        }
        if files(&run.join("canary")) != canary {
            report.failure(format!("{}: something outside was touched", language));
        }
        // Whatever a call makes, wherever it is: what others may read was there before, made by the enemy or the host.
        let open = || ["data", "web"].map(|place| open_to_others(&run.join(place), &theirs)).concat();
        // This one the runner writes itself: it is what its guest has at the end.
        let guests_own = run.join("web/snapshots/snapshot-latest/memory");
        for path in open().into_iter().filter(|path| *path != guests_own) {
            report.failure(format!("{}: {} is open to others", language, path.display()));
        }
        report.tried("entries answered", labels.len() as u64);
        // What a change to the canary would look like, and a file that others may read.
        if report.is_without_controls() {
            fs::write(run.join("canary/secret"), "touched").unwrap();
            report.control("a canary that was touched", files(&run.join("canary")) != canary);
            for (place, name) in [("data/snapshots", "a file"), ("web", "a restored file")] {
                let path = run.join(place).join("open");
                fs::write(&path, "").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
                report.control(&format!("{name} that others may read"), open().contains(&path));
            }
        }
        fs::remove_dir_all(&run).unwrap();
    }
    report.finish();
    Ok(())
}

/// The runner of each language, by its name: those that are wanted, C++ with C, and Go where it is there.
fn runners(sources: &Path, rust: &Path) -> Result<Vec<(&'static str, Runner)>, String> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut found = Vec::new();
    for language in Language::wanted() {
        if let Some(why) = language.missing() {
            skip("a_hostile_store in Go", "go", why)?;
            continue;
        }
        let runner = match language {
            Language::Rust => Runner::program(rust),
            _ => Runner::new(language, sources, rust, scratch)?,
        };
        found.push((language.as_str(), runner));
        if language == Language::C {
            if Command::new("g++").arg("--version").output().is_ok() {
                found.push(("c++", Runner::cpp(&sources.join("runner.cpp"), scratch)?));
            } else {
                skip("a_hostile_store in C++", "g++", "g++ is not installed; apt-get install g++")?;
            }
        }
    }
    Ok(found)
}

/// As it is: holes, links, named pipes and modes.
fn copy_all(from: &Path, to: &Path) -> Result<(), String> {
    let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status();
    if copied.is_ok_and(|status| status.success()) { Ok(()) } else { Err("cp failed".to_owned()) }
}
