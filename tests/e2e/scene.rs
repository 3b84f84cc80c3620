//! Where the stories play: a VM that counts, a data directory that knows it, and what was captured of it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Hypeman, RegisterInstance, Snapshot, SnapshotKind,
};
use hypeman_tests::vm::{self, Machine, Vm};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use tempfile::TempDir;

/// The id under which the VM is registered.
pub const VM_ID: &str = "counting";

/// For jobs in the background on a busy machine, not a claim of speed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where each VMM leaves guest memory in a payload.
const MEMORY: [&str; 2] = ["snapshots/snapshot-latest/memory", "snapshots/snapshot-latest/memory-ranges"];

/// A running VM and an open data directory that knows it.
pub struct Scene {
    pub vm: Vm,
    pub hm: Hypeman,
    root: TempDir,
}

impl Scene {
    /// Boots the VM and registers it in a new data directory.
    pub fn new() -> Self {
        Self::with_data(|root| root.join("data"))
    }

    /// As [`Scene::new`], with the data directory where `data` says.
    pub fn with_data(data: impl FnOnce(&Path) -> PathBuf) -> Self {
        Self::made(Machine::Pc, "qemu", data)
    }

    /// As [`Scene::new`], with a microvm.
    pub fn with_microvm() -> Self {
        Self::made(Machine::Microvm, "qemu-microvm", |root| root.join("data"))
    }

    fn made(machine: Machine, hypervisor: &str, data: impl FnOnce(&Path) -> PathBuf) -> Self {
        let root = directory();
        let qemu = vm::qemu().expect("asked for before");
        let vm = Vm::boot_on(&qemu, machine, &root.path().join("first"));
        let hm = Hypeman::open(data(root.path())).unwrap();
        hm.instances()
            .register(&RegisterInstance {
                id: Some(VM_ID.into()),
                api_socket: Some(vm.api_socket()),
                directory: Some(vm.directory().into()),
                ..RegisterInstance::new("counting", hypervisor)
            })
            .unwrap();
        Self { vm, hm, root }
    }

    /// Captures a Standby snapshot and waits until its compression has ended.
    pub fn capture(&self, compression: Option<CompressionConfig>) -> Snapshot {
        let made =
            self.hm.instances().snapshots().create(VM_ID, &standby(compression), Call::default()).unwrap();
        self.hm.snapshots().wait(&made.id, Call::default()).unwrap()
    }

    /// The payload of a snapshot.
    pub fn payload(&self, id: &str) -> PathBuf {
        self.hm.data_dir().join("snapshots").join(id).join("guest")
    }

    /// The guest's memory in a snapshot, decompressed by decoders that are not ours.
    pub fn memory(&self, id: &str) -> Vec<u8> {
        raw_memory(&self.payload(id))
    }

    /// Starts a second QEMU with the captured disk, and loads `memory` into it.
    pub fn load(&self, id: &str, memory: &[u8]) -> Vm {
        let directory = self.root.path().join("second");
        fs::create_dir(&directory).unwrap();
        fs::copy(self.payload(id).join("disk.raw"), directory.join("disk.raw")).unwrap();
        let file = self.root.path().join("memory");
        fs::write(&file, memory).unwrap();
        Vm::load(&vm::qemu().expect("asked for before"), self.vm.machine(), &directory, &file)
    }

    /// Requires that a call that failed left nothing, and that the guest runs.
    pub fn assert_as_before(&mut self) {
        assert_eq!(self.vm.status(), "running");
        self.vm.tick_after(self.vm.last_tick().ticks);
        assert_eq!(self.hm.snapshots().list(&Default::default()).unwrap(), []);
        assert_nothing_left(self.hm.data_dir());
    }
}

/// A request for a Standby snapshot.
/// From now on the VM at `api_socket` is one of the vendor's server, whose program has not started yet.
pub fn pretend_to_initialize(hm: &Hypeman, hypervisor: &str, api_socket: &Path) {
    hm.instances().unregister(VM_ID).unwrap();
    let directory = hm.data_dir().join("guests").join(VM_ID);
    fs::create_dir_all(&directory).unwrap();
    let metadata = json!({
        "Id": VM_ID,
        "Name": "counting",
        "HypervisorType": hypervisor,
        "CreatedAt": "2026-01-01T00:00:00Z",
        "SocketPath": api_socket,
    });
    fs::write(directory.join("metadata.json"), metadata.to_string()).unwrap();
}

pub fn standby(compression: Option<CompressionConfig>) -> CreateSnapshot {
    CreateSnapshot { compression, ..CreateSnapshot::new(SnapshotKind::Standby) }
}

/// A directory that lasts as long as a story. Its path is short: a Unix socket's may have 107 bytes.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("hypeman").tempdir().unwrap()
}

/// Guest memory of the payload `guest`: raw if it is there, else what stock decoders make of it.
pub fn raw_memory(guest: &Path) -> Vec<u8> {
    let form = |suffix: &str| {
        MEMORY.iter().find_map(|name| fs::File::open(guest.join(format!("{name}{suffix}"))).ok())
    };
    let mut memory = Vec::new();
    if let Some(mut raw) = form("") {
        raw.read_to_end(&mut memory).unwrap();
    } else if let Some(zst) = form(".zst") {
        zstd::stream::read::Decoder::new(zst).unwrap().read_to_end(&mut memory).unwrap();
    } else {
        let lz4 = form(".lz4").expect("memory in one of its forms");
        lz4_flex::frame::FrameDecoder::new(lz4).read_to_end(&mut memory).unwrap();
    }
    memory
}

/// What is stored of a snapshot that no one who uses it has to change: record and payload, each file with its inode, the
/// time of its last change, and its bytes.
pub fn stored(hm: &Hypeman, id: &str) -> Vec<(PathBuf, [i64; 3], Vec<u8>)> {
    let directory = hm.data_dir().join("snapshots").join(id);
    let (mut todo, mut found) = (vec![directory.join("guest")], Vec::new());
    let mut files = vec![directory.join("snapshot.json")];
    while let Some(place) = todo.pop() {
        for entry in fs::read_dir(place).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() { &mut todo } else { &mut files }.push(entry.path());
        }
    }
    files.sort();
    for file in files {
        let facts = file.metadata().unwrap();
        let bytes = fs::read(&file).unwrap();
        found.push((file, [facts.ino() as i64, facts.mtime(), facts.mtime_nsec()], bytes));
    }
    found
}

/// Requires that no stage, intent or rubbish is left in `data`, once the jobs in the background have ended.
pub fn assert_nothing_left(data: &Path) {
    let own = data.join("snapshots/.libhypeman");
    let left_in = |place: &str| -> Vec<PathBuf> {
        fs::read_dir(own.join(place)).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let began = Instant::now();
    while !left_in("jobs").is_empty() {
        assert!(began.elapsed() < PATIENCE, "jobs do not end: {:?}", left_in("jobs"));
        thread::sleep(Duration::from_millis(5));
    }
    for place in ["staging", "intents", "trash"] {
        assert_eq!(left_in(place), Vec::<PathBuf>::new());
    }
}

/// A file system of a few MiB. Unmounted when dropped.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one on `path`, which is made.
    pub fn mount(path: PathBuf, mib: u32) -> nix::Result<Self> {
        fs::create_dir_all(&path).expect("a directory to mount on");
        let size = format!("size={mib}m");
        mount(Some("hypeman"), &path, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))?;
        Ok(Self { path })
    }

    /// Gives it another size.
    pub fn resize(&self, mib: u32) {
        let size = format!("size={mib}m");
        mount(None::<&str>, &self.path, None::<&str>, MsFlags::MS_REMOUNT, Some(size.as_str())).unwrap();
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(&self.path, MntFlags::MNT_DETACH).expect("what was mounted is unmounted");
    }
}

/// Tells whether a [`SmallDisk`] can be had here.
pub fn can_mount() -> bool {
    SmallDisk::mount(directory().path().join("disk"), 1).is_ok()
}
