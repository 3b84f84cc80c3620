//! Recording a scene: what was there before it, what it did, and what it left.

use std::env;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::disk::{Disk, Node};
use crate::scene::{Before, Killed, Mark, Say, scene};
use crate::trace::{self, CALLS};
use crate::{ROLE, in_role};

/// A scene that was played once under strace, with the host that was killed before it, if there is one: what that one
/// had not flushed is not sure to be left either.
pub struct Recording {
    /// `before`, `inodes`, `marks`, and of [`TRACES`] those that there are.
    directory: TempDir,
}

/// Of the host that was killed, and of the scene.
const TRACES: [&str; 2] = ["killed.trace", "trace"];

/// Where scenes are played: in memory where there is such a place, so that flushing costs nothing.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
    tempfile::Builder::new().prefix("hypeman-crash-").tempdir_in(place).unwrap()
}

/// A role that plays what is there before the scene `name`, or the scene itself; the working directory is its.
pub fn play(name: &str, part: &str) {
    let scene = scene(name);
    match part {
        "act" => return (scene.act)(&mut Say::Print),
        "step" => return (scene.act)(&mut Say::Step),
        _ => {}
    }
    let mut say = Say::Keep(Vec::new());
    scene.prepare(&mut say);
    if let Say::Keep(marks) = say {
        fs::write("../marks", serde_json::to_string(&marks).expect("marks are JSON")).unwrap();
    }
}

/// Prepares the scene `name` in `root`, which is made, and returns what holds then.
pub fn prepare(name: &str, root: &Path) -> Vec<Mark> {
    fs::create_dir(root).unwrap();
    let status = in_role(&format!("play|{name}|before")).current_dir(root).status().unwrap();
    assert!(status.success(), "{name} cannot be prepared");
    let marks = root.parent().expect("it was made in a directory").join("marks");
    serde_json::from_str(&fs::read_to_string(marks).unwrap()).expect("marks are JSON")
}

/// strace around this program in a role.
pub fn strace(role: &str, options: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(options).arg(env::current_exe().unwrap()).env(ROLE, role);
    command.stdin(Stdio::null());
    command
}

/// Plays the host of `killed` in `root`, under strace with `options`, until it is killed; `None` where it comes to its end
/// before that.
pub fn die(killed: Killed<'_>, root: &Path, options: &[&str]) -> Option<Output> {
    let Killed { host, call, time } = killed;
    let inject = format!("inject={call}:signal=KILL:when={time}");
    let options = [options, &["-e", &inject]].concat();
    let output = strace(&format!("play|{host}|act"), &options).current_dir(root).output().unwrap();
    (output.status.signal() == Some(9)).then_some(output)
}

impl Recording {
    pub fn make(name: &str) -> Self {
        match scene(name).before {
            Before::Made(_) => Self::of(name, None),
            Before::Left(killed) => Self::of(name, Some(killed)),
        }
        .unwrap_or_else(|| panic!("{name}: no host was killed"))
    }

    /// Records the scene `name` after the host of `killed`, if there is one; `None` where that one is not killed.
    pub fn of(name: &str, killed: Option<Killed<'_>>) -> Option<Self> {
        let directory = scratch();
        let at = |file: &str| directory.path().join(file);
        let root = at("scene");
        prepare(killed.map_or(name, |killed| killed.host), &root);
        fs::write(at("inodes"), trace::inodes(&root)).unwrap();
        copy(&root, &at("before"));
        let [dead, trace] = TRACES.map(|file| at(file).to_str().expect("paths are text").to_owned());
        let calls = format!("trace={CALLS}");
        let options = |output| ["-y", "-v", "-xx", "-s", "1000000", "-e", &calls, "-o", output];
        if let Some(killed) = killed {
            die(killed, &root, &options(&dead))?;
        }
        let status = strace(&format!("play|{name}|act"), &options(&trace))
            .current_dir(&root)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{name} failed under strace");
        let recording = Self { directory };
        recording.is_exact(name, &root);
        Some(recording)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What was recorded, with the marks of what was there before at its start.
    pub fn disk(&self) -> Disk {
        load(self.path())
    }

    /// All that was recorded, played back, is what lies there: nothing was missed or mistaken.
    fn is_exact(&self, name: &str, root: &Path) {
        let played = listing(&self.disk().volatile());
        let there = listing(&trace::read_tree(root).0);
        // Notes of restores hold numbers of inodes, which have stand-ins in what is played.
        for (one, other) in played.iter().zip(&there) {
            let is_note = one.0.contains("/placed/") || one.0.contains("/journals/");
            assert!(
                one == other || (is_note && one.0 == other.0),
                "{}: played {} is not {}",
                name,
                one.0,
                other.0
            );
        }
        assert_eq!(played.len(), there.len(), "{name}: as many files");
    }
}

/// Reads a recording.
pub fn load(directory: &Path) -> Disk {
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
    let root = directory.join("scene");
    let traces = TRACES.iter().filter(|file| directory.join(file).exists()).map(|file| read(file));
    let mut disk = trace::parse(traces, &root, &directory.join("before"), &read("inodes"));
    let marks: Vec<Mark> = serde_json::from_str(&read("marks")).expect("marks are JSON");
    let before: Vec<_> = marks.into_iter().map(crate::disk::Op::Mark).collect();
    disk.names.splice(0..0, before.iter().map(|_| "before: mark".to_owned()));
    let count = before.len();
    for op in &mut disk.ops {
        if let crate::disk::Op::Flush { covers, .. } = op {
            *covers += count;
        }
    }
    disk.ops.splice(0..0, before);
    disk
}

/// Every path with its content.
fn listing(nodes: &[Node]) -> Vec<(String, Vec<u8>)> {
    fn walk(nodes: &[Node], at: usize, path: &str, found: &mut Vec<(String, Vec<u8>)>) {
        match &nodes[at] {
            Node::Directory(entries) => {
                found.push((format!("{path}/"), Vec::new()));
                for (name, ino) in entries {
                    walk(nodes, *ino, &format!("{path}/{name}"), found);
                }
            }
            Node::File(content) => found.push((path.to_owned(), content.as_ref().clone())),
            Node::Link(target) => found.push((path.to_owned(), target.clone().into_bytes())),
        }
    }
    let mut found = Vec::new();
    walk(nodes, crate::disk::ROOT, "", &mut found);
    found
}

/// Copies a directory and all beneath it.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp");
}
