//! The scene of the sweep, as it is before each run, and the operations that are swept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Disk, Error, ForkSnapshot, Hypeman, RegisterInstance,
    RestoreSnapshot, Result, SnapshotFilter, SnapshotKind,
};
use hypeman_tests::scripted::{CloudHypervisor, memory};

use super::leftovers::{COMPRESSION, CREATE, DEATHS};
use crate::scene::{files, open, snapshot, standby_vm_as};

/// The names of the two snapshots that are there before.
pub const RAW: &str = "raw";
pub const PACKED: &str = "packed";
/// The name of what is forked.
pub const FORK: &str = "copy";
/// The disks that lie outside of the directory of the instance, and of the fork.
pub const DISK: &str = "data.raw";
pub const FORK_DISK: &str = "copy.raw";
/// What a guest wrote since it was captured.
const NEWER: &[u8] = b"newer";

/// Every file of an instance, and its disk outside of its directory.
pub type Contents = Vec<(PathBuf, Vec<u8>)>;

pub fn contents(run: &Path) -> Contents {
    let mut found = files(&run.join("web"));
    found.push((DISK.into(), fs::read(run.join(DISK)).unwrap()));
    found
}

/// Where things lie: `run` is what is worked on, `before` what it is made anew from.
#[derive(Clone, Debug)]
pub struct Scene {
    root: PathBuf,
    pub raw: String,
    pub packed: String,
    /// The instance as it was captured.
    pub captured: Contents,
}

/// Makes the scene, and the VMM of its live VM.
pub fn prepare(root: &Path) -> CloudHypervisor {
    let run = root.join("run");
    fs::create_dir_all(run.join("live")).unwrap();
    let disk = run.join("live/disk.raw");
    fs::write(&disk, b"the disk of a live guest".repeat(30)).unwrap();
    let socket = root.join("vmm");
    let vmm = CloudHypervisor::listen(&socket, &disk);
    let hm = open(&run.join("data")).unwrap();
    let outside = run.join(DISK);
    fs::write(&outside, b"the other disk of a guest".repeat(200)).unwrap();
    let disk = b"the disk of a guest".repeat(300);
    let disks = vec![Disk { path: outside, readonly: false }];
    let request = RegisterInstance { disks, ..RegisterInstance::new("web", "qemu") };
    standby_vm_as(&hm, request, &run.join("web"), &disk, &memory());
    snapshot(&hm, "web", Some(RAW), None);
    snapshot(&hm, "web", Some(PACKED), Some("zstd"));
    hm.instances()
        .register(&RegisterInstance {
            api_socket: Some(socket),
            directory: Some(run.join("live")),
            ..RegisterInstance::new("live", "cloud-hypervisor")
        })
        .unwrap();
    hm.close();
    copy(&run, &root.join("before"));
    vmm
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

impl Scene {
    /// The scene in `root`, as [`prepare`] made it.
    pub fn of(root: &Path) -> Self {
        let run = root.join("run");
        // The sweeper before left its own.
        fs::remove_dir_all(&run).unwrap();
        copy(&root.join("before"), &run);
        Self::find(root)
    }

    /// The scene in `root`, as it is.
    pub fn find(root: &Path) -> Self {
        let captured = contents(&root.join("before"));
        let hm = open(&root.join("run/data")).unwrap();
        let id = |name: &str| {
            let filter = SnapshotFilter { name: Some(name.into()), ..SnapshotFilter::default() };
            hm.snapshots().list(&filter).unwrap()[0].id.clone()
        };
        Self { root: root.to_owned(), raw: id(RAW), packed: id(PACKED), captured }
    }

    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    pub fn data(&self) -> PathBuf {
        self.run().join("data")
    }

    /// What the library has for itself.
    pub fn own(&self) -> PathBuf {
        self.data().join("snapshots/.libhypeman")
    }

    /// The scene that the death called `name` left.
    pub fn kept(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("vmm")
    }

    /// Makes all as it was before.
    pub fn reset(&self) {
        fs::remove_dir_all(self.run()).unwrap();
        copy(&self.root.join("before"), &self.run());
        // Something a restore would change.
        for path in ["web/overlay.raw", DISK] {
            fs::write(self.run().join(path), NEWER).unwrap();
        }
    }

    /// The instance as it is before a restore.
    pub fn before(&self) -> Contents {
        let mut before = self.captured.clone();
        for (path, bytes) in &mut before {
            if path == Path::new("overlay.raw") || path == Path::new(DISK) {
                *bytes = NEWER.to_vec();
            }
        }
        before
    }
}

/// What an operation brought about, if it succeeded.
#[derive(Debug, Default)]
pub struct Done {
    pub made: Option<String>,
    pub deleted: bool,
}

#[derive(Clone, Copy)]
pub struct Operation {
    pub name: &'static str,
    /// Whether it begins with an open directory; else opening is what is swept.
    pub is_open: bool,
    pub act: fn(&Hypeman, &Scene) -> Result<Done>,
}

const fn operation(name: &'static str, act: fn(&Hypeman, &Scene) -> Result<Done>) -> Operation {
    Operation { name, is_open: true, act }
}

const fn opening(name: &'static str) -> Operation {
    Operation { name, is_open: false, act: recovered }
}

/// All that is swept.
pub fn operations() -> Vec<Operation> {
    let openings = DEATHS.iter().map(|(name, _)| opening(name));
    OPERATIONS.iter().copied().chain(openings).collect()
}

const OPERATIONS: &[Operation] = &[
    opening("open"),
    opening(CREATE),
    opening(COMPRESSION),
    operation("list", |hm, _| done(hm.snapshots().list(&SnapshotFilter::default()))),
    operation("get", |hm, scene| done(hm.snapshots().get(&scene.raw))),
    operation("inspect", |hm, scene| done(hm.snapshots().inspect(&scene.packed))),
    operation("verify", |hm, scene| done(hm.snapshots().verify(&scene.packed, Call::default()))),
    operation("memory", |hm, scene| read(hm, &scene.packed)),
    operation("raw memory", |hm, scene| read(hm, &scene.raw)),
    operation("create", |hm, _| create(hm, "web", None)),
    operation("create and compress", |hm, _| create(hm, "web", Some("zstd"))),
    operation("create of a live VM", |hm, _| create(hm, "live", None)),
    operation("compress", |hm, scene| {
        hm.snapshots().compress(&scene.raw, Some(&CompressionConfig::with("lz4", None)))?;
        done(hm.snapshots().wait(&scene.raw, limit()))
    }),
    operation("restore", |hm, scene| restore(hm, scene, &scene.raw)),
    operation("restore of compressed memory", |hm, scene| restore(hm, scene, &scene.packed)),
    operation("fork", |hm, scene| fork(hm, scene, &scene.raw)),
    operation("fork of compressed memory", |hm, scene| fork(hm, scene, &scene.packed)),
    operation("delete", |hm, scene| {
        hm.snapshots().delete(&scene.raw)?;
        Ok(Done { deleted: true, ..Done::default() })
    }),
    operation("register", |hm, _| done(hm.instances().register(&RegisterInstance::new("third", "qemu")))),
    operation("unregister", |hm, _| done(hm.instances().unregister("web"))),
    operation("instances", |hm, _| done(hm.instances().list())),
];

fn limit() -> Call<'static> {
    Call::default().timeout(Duration::from_secs(20))
}

fn done<T>(result: Result<T>) -> Result<Done> {
    result.map(|_| Done::default())
}

fn recovered(hm: &Hypeman, _: &Scene) -> Result<Done> {
    // The jobs that the opening began may fail; the next opener has them.
    let _ = jobs_end_soon(hm.data_dir());
    Ok(Done::default())
}

/// Gives background jobs a moment under the fault.
pub fn jobs_end_soon(data: &Path) -> bool {
    let jobs = data.join("snapshots/.libhypeman/jobs");
    let is_empty = || fs::read_dir(&jobs).is_ok_and(|mut entries| entries.next().is_none());
    (0..40).any(|_| {
        is_empty() || {
            std::thread::sleep(Duration::from_millis(1));
            false
        }
    })
}

fn read(hm: &Hypeman, id: &str) -> Result<Done> {
    let image = hm.snapshots().memory(id)?;
    let mut found = vec![0; image.size_bytes() as usize];
    image.read_at(0, &mut found)?;
    assert!(found == memory(), "memory was read wrong");
    done(image.extents())
}

fn create(hm: &Hypeman, vm: &str, compression: Option<&str>) -> Result<Done> {
    let request = CreateSnapshot {
        name: Some("new".into()),
        compression: compression.map(|algorithm| CompressionConfig::with(algorithm, None)),
        ..CreateSnapshot::new(SnapshotKind::Standby)
    };
    let made = hm.instances().snapshots().create(vm, &request, limit())?;
    if compression.is_some() {
        let _ = hm.snapshots().wait(&made.id, limit());
    }
    jobs_end_soon(hm.data_dir());
    Ok(Done { made: Some(made.id), ..Done::default() })
}

pub fn restore(hm: &Hypeman, _: &Scene, id: &str) -> Result<Done> {
    done(hm.instances().snapshots().restore(id, "web", &RestoreSnapshot::default(), limit()))
}

pub fn fork(hm: &Hypeman, scene: &Scene, id: &str) -> Result<Done> {
    let disks = [(scene.run().join(DISK), scene.run().join(FORK_DISK))].into();
    done(hm.snapshots().fork(id, &ForkSnapshot { disks, ..ForkSnapshot::new(FORK) }, limit()))
}

/// Waits for the jobs that a later opener has taken up. One that it cannot bring to its end keeps its note.
pub fn settle(hm: &Hypeman) -> std::result::Result<(), String> {
    hm.finish(limit()).map_err(|error| format!("the jobs of the next opener: {error}"))?;
    let notes = fs::read_dir(hm.data_dir().join("snapshots/.libhypeman/jobs")).map_err(|e| e.to_string())?;
    match notes.flatten().next() {
        Some(note) => {
            let id = note.file_name();
            Err(format!("the job of {} cannot be done by the next opener", id.to_string_lossy()))
        }
        None => Ok(()),
    }
}

pub type Outcome = std::result::Result<Done, Error>;
