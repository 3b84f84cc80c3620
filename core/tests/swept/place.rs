//! Where it plays: an instance directory and a disk outside it, on file systems of their own where that may be, and a
//! snapshot of them as they once were.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hypeman_core::{
    Call, CreateSnapshot, Disk as VmDisk, ForkSnapshot, Hypeman, InstanceState, RegisterInstance,
    RestoreSnapshot, SnapshotKind,
};

use crate::disk::Disk;

pub const PART: &str = "HYPEMAN_TEST_PART";

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Restore,
    Fork,
}

/// What there was after a fault.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Before anyone opened the data directory again, there were old and new files.
    pub was_mixed: bool,
    /// After that, all were new. Else all were old.
    pub is_new: bool,
}

pub struct Place {
    temp: tempfile::TempDir,
    /// Unmounted before `temp` is removed.
    mounts: Vec<Disk>,
    snapshot_id: String,
    old: Contents,
    new: Contents,
}

/// Every file of the instance, by its path, and of the disk outside it.
type Contents = BTreeMap<PathBuf, Vec<u8>>;

impl Drop for Place {
    fn drop(&mut self) {
        self.mounts.clear();
    }
}

impl Place {
    pub fn make(operation: Operation) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let name = format!("{operation:?} over several file systems");
        let mounts = ["vms", "disks"]
            .into_iter()
            .filter_map(|at| Disk::tmpfs(&temp.path().join(at), 2, &name))
            .collect();
        let mut place =
            Self { temp, mounts, snapshot_id: String::new(), old: Contents::new(), new: Contents::new() };
        place.write_files("new");
        let hm = Hypeman::open(place.data()).unwrap();
        let request = RegisterInstance {
            directory: Some(place.vm()),
            disks: vec![
                VmDisk { path: place.vm().join("overlay.raw"), readonly: false },
                VmDisk { path: place.disk(), readonly: false },
            ],
            ..RegisterInstance::new("web", "qemu")
        };
        hm.instances().register(&request).unwrap();
        let standby = CreateSnapshot::new(SnapshotKind::Standby);
        place.snapshot_id = hm.instances().snapshots().create("web", &standby, Call::default()).unwrap().id;
        place.new = place.contents(&place.vm(), &place.disk());
        hm.close();
        place.end_jobs();
        place.write_files("old");
        fs::write(place.vm().join("since.txt"), "made after the snapshot").unwrap();
        place.old = place.contents(&place.vm(), &place.disk());
        assert_ne!(place.old, place.new);
        for part in ["data", "vms", "disks"] {
            place.copy(&place.temp().join(part), &place.temp().join("kept").join(part));
        }
        place
    }

    /// Has the checksums made, so that no host makes them. A program that another test starts holds our locks until it
    /// runs, and a job whose lock is taken is left to the next opener: so there is one.
    fn end_jobs(&self) {
        let jobs = self.data().join("snapshots/.libhypeman/jobs");
        while fs::read_dir(&jobs).unwrap().next().is_some() {
            let hm = Hypeman::open(self.data()).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            hm.close();
        }
    }

    pub fn temp(&self) -> &Path {
        self.temp.path()
    }

    fn data(&self) -> PathBuf {
        self.temp().join("data")
    }

    fn vm(&self) -> PathBuf {
        self.temp().join("vms/web")
    }

    fn disk(&self) -> PathBuf {
        self.temp().join("disks/data.raw")
    }

    fn fork(&self) -> (PathBuf, PathBuf) {
        (self.temp().join("vms/fork"), self.temp().join("disks/fork.raw"))
    }

    fn write_files(&self, which: &str) {
        let image = self.vm().join("snapshots/snapshot-latest");
        fs::create_dir_all(&image).unwrap();
        fs::create_dir_all(self.vm().join("logs")).unwrap();
        fs::write(self.vm().join("logs/app.log"), "stays").unwrap();
        fs::write(self.vm().join("overlay.raw"), which.repeat(4000)).unwrap();
        fs::write(image.join("memory"), which.repeat(8000)).unwrap();
        fs::write(image.join("qemu-config.json"), which).unwrap();
        fs::write(self.disk(), which.repeat(3000)).unwrap();
    }

    fn copy(&self, from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
        assert!(copied.success());
    }

    /// Makes everything as it was before the operation.
    pub fn reset(&self) {
        for part in ["data", "vms", "disks"] {
            let path = self.temp().join(part);
            for entry in fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    fs::remove_dir_all(entry).unwrap()
                } else {
                    fs::remove_file(entry).unwrap()
                }
            }
            self.copy(&self.temp().join("kept").join(part), &path);
        }
    }

    fn contents(&self, vm: &Path, disk: &Path) -> Contents {
        let mut found = Contents::new();
        let mut todo = vec![vm.to_owned()];
        while let Some(directory) = todo.pop() {
            for path in fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    todo.push(path);
                } else if !path.starts_with(vm.join("logs")) {
                    found.insert(path.strip_prefix(vm).unwrap().to_owned(), fs::read(path).unwrap());
                }
            }
        }
        if let Ok(bytes) = fs::read(disk) {
            found.insert("the disk".into(), bytes);
        }
        found
    }

    /// Looks at what a fault left, has it recovered, and sees that it is whole and goes on.
    pub fn examine(&self, operation: Operation, said: &str, fault: &str) -> Outcome {
        let look = || match operation {
            Operation::Restore => (self.contents(&self.vm(), &self.disk()), self.old.clone()),
            Operation::Fork => (self.contents(&self.fork().0, &self.fork().1), Contents::new()),
        };
        let is_whole = |(now, old): &(Contents, Contents)| *now == *old || *now == self.new;
        let before = look();
        let hm = Hypeman::open(self.data()).unwrap_or_else(|e| panic!("{fault}: the next open: {e}"));
        let (now, old) = look();
        assert!(now == old || now == self.new, "{fault}: neither old nor new: {:?}", now.keys());
        let is_new = now == self.new;
        match said.split(' ').next() {
            Some("ok") => assert!(is_new, "{fault}: it said {said:?}, and nothing was done"),
            Some("error") => {
                assert!(!is_new, "{fault}: it said {said:?}, and yet it was done");
                assert!(is_whole(&before), "{fault}: it said {said:?}, and left it mixed");
            }
            _ => {}
        }
        if operation == Operation::Restore {
            assert_eq!(fs::read_to_string(self.vm().join("logs/app.log")).unwrap(), "stays", "{fault}");
        } else {
            let known = hm.instances().list().unwrap().iter().any(|instance| instance.name == "fork");
            assert_eq!(known, is_new, "{fault}: an instance without files, or files without an instance");
            assert_eq!(self.contents(&self.vm(), &self.disk()), self.old, "{fault}: the source was touched");
        }
        for part in ["vms", "disks", "data/snapshots/.libhypeman/journals"] {
            let left: Vec<_> = fs::read_dir(self.temp().join(part))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            let is_left = |name: &std::ffi::OsString| {
                name.to_string_lossy().starts_with('.') || part.starts_with("data")
            };
            assert!(!left.iter().any(is_left), "{fault}: left behind in {part}: {left:?}");
        }
        // It goes on: another one is done, and has a generation that no one had before.
        let used: u64 = said.strip_prefix("ok ").map_or(0, |number| number.parse().unwrap());
        let counted = hm.snapshots().inspect(&self.snapshot_id);
        let counted = counted.unwrap_or_else(|e| panic!("{fault}: inspect: {e}")).generation;
        assert!(counted >= used, "{fault}: generation {used} was handed out, and {counted} are counted");
        let next = hm.instances().snapshots().restore(
            &self.snapshot_id,
            "web",
            &RestoreSnapshot::default(),
            Call::default(),
        );
        let next = next.unwrap_or_else(|e| panic!("{fault}: the restore after it: {e}")).generation;
        assert!(next > Some(used), "{fault}: generation {used} was handed out, and then {next:?}");
        assert_eq!(self.contents(&self.vm(), &self.disk()), self.new, "{fault}: the restore after it");
        hm.close();
        Outcome { was_mixed: !is_whole(&before), is_new }
    }

    /// What another process needs to know to play the host.
    pub fn part(&self, operation: Operation) -> String {
        format!("{operation:?}|{}|{}", self.temp().display(), self.snapshot_id)
    }

    /// The file system of the instance, if it is one of its own.
    pub fn room(&self) -> Option<Room> {
        (self.mounts.len() == 2).then(|| Room(self.temp().join("vms")))
    }
}

/// A small file system.
pub struct Room(PathBuf);

impl Room {
    /// Fills it, but for so many bytes.
    pub fn leave_free(&self, bytes: u64) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        let length = filler.metadata().unwrap().len();
        filler.set_len(length.saturating_sub(bytes)).unwrap();
    }

    pub fn clear(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

/// Plays the host that `part` describes, and says in a line what became of it.
#[expect(clippy::print_stdout, reason = "it is what the other process hears")]
pub fn play(part: &str) {
    let [operation, temp, snapshot_id] = part.split('|').collect::<Vec<_>>()[..] else { panic!("{part}") };
    let operation = if operation == "Fork" { Operation::Fork } else { Operation::Restore };
    println!("HOST {}", act(Path::new(temp), snapshot_id, operation));
}

/// Plays the host in this process.
pub fn play_here(place: &Place, operation: Operation) -> String {
    act(place.temp(), &place.snapshot_id, operation)
}

fn act(temp: &Path, snapshot_id: &str, operation: Operation) -> String {
    let hm = match Hypeman::open(temp.join("data")) {
        Ok(hm) => hm,
        Err(error) => return format!("error {}: {error}", error.code()),
    };
    let done = match operation {
        Operation::Restore => {
            let request =
                RestoreSnapshot { target_state: Some(InstanceState::Standby), ..RestoreSnapshot::default() };
            hm.instances().snapshots().restore(snapshot_id, "web", &request, Call::default())
        }
        Operation::Fork => {
            let request = ForkSnapshot {
                directory: Some(temp.join("vms/fork")),
                disks: BTreeMap::from([(temp.join("disks/data.raw"), temp.join("disks/fork.raw"))]),
                ..ForkSnapshot::new("fork")
            };
            hm.snapshots().fork(snapshot_id, &request, Call::default())
        }
    };
    hm.close();
    match done {
        Ok(instance) => format!("ok {}", instance.generation.unwrap()),
        Err(error) => format!("error {}: {error}", error.code()),
    }
}
