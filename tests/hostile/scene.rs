//! Where the harnesses play: a data directory in memory, and instances that need no VMM.

use std::collections::BTreeSet;
use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Hypeman, Options, RegisterInstance, Snapshot, SnapshotKind,
};

/// A directory in memory, where there is one: nothing here is about a disk.
pub fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("hm-").tempdir_in(place).unwrap()
}

/// One thread a call, so that thousands of calls are quick.
pub fn open(data: &Path) -> hypeman_core::Result<Hypeman> {
    Hypeman::open_with(data, Options { threads: std::num::NonZeroUsize::new(1), ..Options::default() })
}

/// An instance in Standby called `name` in `directory`, with a disk and `memory`.
pub fn standby_vm(hm: &Hypeman, name: &str, directory: &Path, disk: &[u8], memory: &[u8]) {
    standby_vm_as(hm, RegisterInstance::new(name, "qemu"), directory, disk, memory);
}

/// As [`standby_vm`], registered as `request` says.
pub fn standby_vm_as(hm: &Hypeman, request: RegisterInstance, directory: &Path, disk: &[u8], memory: &[u8]) {
    let image = directory.join("snapshots/snapshot-latest");
    fs::create_dir_all(&image).unwrap();
    fs::write(directory.join("overlay.raw"), disk).unwrap();
    fs::write(image.join("memory"), memory).unwrap();
    let request = RegisterInstance { directory: Some(directory.to_owned()), ..request };
    hm.instances().register(&request).unwrap();
}

/// Creates a Standby snapshot of `vm`, and waits until nothing is left to do for it.
pub fn snapshot(hm: &Hypeman, vm: &str, name: Option<&str>, compression: Option<&str>) -> Snapshot {
    let request = CreateSnapshot {
        name: name.map(str::to_owned),
        compression: compression.map(|algorithm| CompressionConfig::with(algorithm, None)),
        ..CreateSnapshot::new(SnapshotKind::Standby)
    };
    let made = hm.instances().snapshots().create(vm, &request, Call::default()).unwrap();
    jobs_end(hm.data_dir()).unwrap();
    hm.snapshots().get(&made.id).unwrap()
}

/// The directory of a snapshot.
pub fn directory(hm: &Hypeman, id: &str) -> PathBuf {
    hm.data_dir().join("snapshots").join(id)
}

/// Waits until no job is left in `data`.
pub fn jobs_end(data: &Path) -> Result<(), String> {
    let jobs = data.join("snapshots/.libhypeman/jobs");
    let patience = Instant::now() + Duration::from_secs(60);
    while fs::read_dir(&jobs).map_err(|e| e.to_string())?.next().is_some() {
        if Instant::now() > patience {
            return Err("a job does not come to its end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Every file beneath `path` but links, by its path there, with its bytes.
pub fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut todo = vec![path.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                todo.push(entry.path());
            } else if kind.is_file() {
                let name = entry.path().strip_prefix(path).unwrap().to_owned();
                found.push((name, fs::read(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The inodes of all that is beneath `path`.
pub fn inodes(path: &Path) -> BTreeSet<u64> {
    everything(path).iter().map(|(_, metadata)| metadata.ino()).collect()
}

/// What is there for others than its owner beneath `path`, and was not `known`. A link has no mode that says anything.
pub fn open_to_others(path: &Path, known: &BTreeSet<u64>) -> Vec<PathBuf> {
    let all = everything(path).into_iter();
    let open = all.filter(|(_, metadata)| {
        !metadata.is_symlink() && metadata.mode() & 0o077 != 0 && !known.contains(&metadata.ino())
    });
    open.map(|(path, _)| path).collect()
}

/// Has `path` and all beneath it for its owner alone, as a host that cares has its instances.
pub fn close_to_others(path: &Path) {
    for (path, metadata) in everything(path).into_iter().filter(|(_, metadata)| !metadata.is_symlink()) {
        fs::set_permissions(path, Permissions::from_mode(metadata.mode() & 0o700)).unwrap();
    }
}

/// `path` and all beneath it.
fn everything(path: &Path) -> Vec<(PathBuf, Metadata)> {
    let (mut found, mut todo) = (Vec::new(), vec![path.to_owned()]);
    while let Some(path) = todo.pop() {
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.push((path, metadata));
    }
    found
}

/// Random numbers that a seed repeats (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}
