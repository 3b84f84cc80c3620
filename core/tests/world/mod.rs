//! Where the stories play: a data directory, and instances that need no VMM.
#![allow(dead_code, reason = "not every test program that shares this file tells every story")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hypeman_core::{Call, CreateSnapshot, Hypeman, InstanceState, RegisterInstance, SnapshotKind};

/// A data directory and a place for instances.
pub struct World {
    pub temp: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap() }
    }

    pub fn data(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    pub fn open(&self) -> Hypeman {
        Hypeman::open(self.data()).unwrap()
    }

    /// An instance directory with a sparse disk; with guest memory too if it is to be in Standby.
    pub fn vm(&self, name: &str, state: InstanceState) -> RegisterInstance {
        let directory = self.temp.path().join(name);
        fs::create_dir_all(directory.join("logs")).unwrap();
        fs::write(directory.join("logs/app.log"), "not captured").unwrap();
        let disk = fs::File::create(directory.join("overlay.raw")).unwrap();
        disk.set_len(1 << 20).unwrap();
        disk.write_all_at(b"guest data", 500_000).unwrap();
        if state == InstanceState::Standby {
            fs::create_dir_all(directory.join("snapshots/snapshot-latest")).unwrap();
            fs::write(directory.join("snapshots/snapshot-latest/memory"), memory()).unwrap();
        }
        RegisterInstance { directory: Some(directory), ..RegisterInstance::new(name, "qemu") }
    }
}

/// Guest memory, partly zero.
pub fn memory() -> Vec<u8> {
    let mut memory = vec![0; 4 << 20];
    for (i, byte) in memory.iter_mut().enumerate().take(1 << 20) {
        *byte = (i / 7) as u8;
    }
    memory
}

pub fn standby() -> CreateSnapshot {
    CreateSnapshot::new(SnapshotKind::Standby)
}

pub fn stopped() -> CreateSnapshot {
    CreateSnapshot::new(SnapshotKind::Stopped)
}

pub fn create(
    hm: &Hypeman,
    id: &str,
    request: &CreateSnapshot,
) -> hypeman_core::Result<hypeman_core::Snapshot> {
    hm.instances().snapshots().create(id, request, Call::default())
}

pub fn wait(hm: &Hypeman, id: &str) -> hypeman_core::Snapshot {
    hm.snapshots().wait(id, Call::default().timeout(Duration::from_secs(60))).unwrap()
}

/// Every file beneath `path`, in words.
pub fn tree(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![path.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path())
            }
            found.push(entry.path().strip_prefix(path).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

/// Waits until no job is left: compressions, checksums, and raw files that were to go.
pub fn jobs_end(world: &World) {
    let jobs = world.data().join("snapshots/.libhypeman/jobs");
    let patience = Instant::now() + Duration::from_secs(60);
    while !tree(&jobs).is_empty() {
        assert!(Instant::now() < patience, "jobs are left: {:?}", tree(&jobs));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A Standby snapshot of a VM called `name`, and its directory.
pub fn snapshot(world: &World, hm: &Hypeman, name: &str, compression: Option<&str>) -> (String, PathBuf) {
    hm.instances().register(&world.vm(name, InstanceState::Standby)).unwrap();
    let compression = compression.map(|algorithm| hypeman_core::CompressionConfig::with(algorithm, None));
    let made = create(hm, name, &CreateSnapshot { compression, ..standby() }).unwrap();
    let directory = world.data().join("snapshots").join(&made.id);
    (made.id, directory)
}

/// Turns one bit of a file around.
pub fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}
