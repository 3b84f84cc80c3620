//! The scene of the sweep, as it is before each run, and the operations that are swept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Error, ForkSnapshot, Hypeman, RegisterInstance, RestoreSnapshot,
    Result, SnapshotFilter, SnapshotKind,
};
use hypeman_tests::scripted::{CloudHypervisor, memory};

use crate::scene::{files, open, snapshot, standby_vm};

/// What is done to the store behind the back of an operation, to see that the oracle notices.
pub const CONTROLS: &[&str] = &[
    "a snapshot that loses its memory",
    "a VM that stays paused",
    "a journal that is left",
    "a bit of a record",
    "files of a fork that there is not",
];

/// The names of the two snapshots that are there before.
pub const RAW: &str = "raw";
pub const PACKED: &str = "packed";
/// The name of what is forked.
pub const FORK: &str = "copy";

/// Where things lie: `run` is what is worked on, `before` what it is made anew from.
#[derive(Clone, Debug)]
pub struct Scene {
    root: PathBuf,
    pub raw: String,
    pub packed: String,
    /// The instance directory as it was captured.
    pub captured: Vec<(PathBuf, Vec<u8>)>,
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
    standby_vm(&hm, "web", &run.join("web"), &b"the disk of a guest".repeat(300), &memory());
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

fn copy(from: &Path, to: &Path) {
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
        let captured = files(&run.join("web"));
        let hm = open(&run.join("data")).unwrap();
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

    pub fn socket(&self) -> PathBuf {
        self.root.join("vmm")
    }

    /// Makes all as it was before; what a run leaves to be finished is `leftover`.
    pub fn reset(&self, leftover: Option<&str>) {
        fs::remove_dir_all(self.run()).unwrap();
        copy(&self.root.join("before"), &self.run());
        // Something a restore would change.
        fs::write(self.run().join("web/overlay.raw"), "newer").unwrap();
        let own = self.data().join("snapshots/.libhypeman");
        match leftover {
            Some("stage") => {
                fs::create_dir_all(own.join("staging/dead/guest")).unwrap();
                fs::write(own.join("staging/dead/guest/memory"), "half").unwrap();
                fs::create_dir_all(own.join("trash/dead/guest")).unwrap();
                fs::write(own.join("trash/dead/snapshot.json"), "{}").unwrap();
            }
            Some("compression") => {
                let path = self.data().join("snapshots").join(&self.raw).join("snapshot.json");
                let record = fs::read_to_string(&path).unwrap();
                let asks = "\"compression_state\": \"compressing\", \"compression\": {\"enabled\": true, \"algorithm\": \"zstd\", \"level\": 1}";
                let record = record.replace("\"compression_state\": \"none\"", asks);
                fs::write(&path, &record).unwrap();
                // As its writer would have it: no seal speaks of this record.
                let sidecar = path.with_file_name("libhypeman.json");
                fs::remove_file(sidecar).unwrap();
                fs::write(own.join("jobs").join(&self.raw), "").unwrap();
            }
            _ => {}
        }
    }
}

/// What an operation brought about, if it succeeded.
#[derive(Debug, Default)]
pub struct Done {
    pub made: Option<String>,
    pub deleted: bool,
    pub forked: bool,
}

pub struct Operation {
    pub name: &'static str,
    pub leftover: Option<&'static str>,
    /// Whether it begins with an open directory; else opening is what is swept.
    pub is_open: bool,
    pub act: fn(&Hypeman, &Scene) -> Result<Done>,
}

const fn operation(name: &'static str, act: fn(&Hypeman, &Scene) -> Result<Done>) -> Operation {
    Operation { name, leftover: None, is_open: true, act }
}

pub const OPERATIONS: &[Operation] = &[
    Operation { is_open: false, ..operation("open", |_, _| Ok(Done::default())) },
    Operation { is_open: false, leftover: Some("stage"), ..operation("open after a dead create", recovered) },
    Operation {
        is_open: false,
        leftover: Some("compression"),
        ..operation("open after a dead compression", recovered)
    },
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
    operation("restore", |hm, scene| restore(hm, &scene.raw)),
    operation("restore of compressed memory", |hm, scene| restore(hm, &scene.packed)),
    operation("fork", |hm, scene| fork(hm, &scene.raw)),
    operation("fork of compressed memory", |hm, scene| fork(hm, &scene.packed)),
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

fn restore(hm: &Hypeman, id: &str) -> Result<Done> {
    done(hm.instances().snapshots().restore(id, "web", &RestoreSnapshot::default(), limit()))
}

fn fork(hm: &Hypeman, id: &str) -> Result<Done> {
    hm.snapshots().fork(id, &ForkSnapshot::new(FORK), limit())?;
    Ok(Done { forked: true, ..Done::default() })
}

/// What `control` says, done behind the back of an operation that went well.
pub fn harm(scene: &Scene, control: &str) {
    let raw = scene.data().join("snapshots").join(&scene.raw);
    match control {
        "a snapshot that loses its memory" => {
            fs::remove_file(raw.join("guest/snapshots/snapshot-latest/memory")).unwrap();
        }
        "a VM that stays paused" => super::oracle::ask(&scene.socket(), "vm.pause"),
        "a journal that is left" => {
            let journals = scene.data().join("snapshots/.libhypeman/journals");
            fs::write(journals.join("web.json"), "{}").unwrap();
        }
        "a bit of a record" => {
            let path = raw.join("snapshot.json");
            let record = fs::read_to_string(&path).unwrap();
            fs::write(path, record.replace("\"Standby\"", "\"Standbx\"")).unwrap();
        }
        "files of a fork that there is not" => {
            fs::create_dir_all(scene.data().join("guests/stranger")).unwrap();
        }
        _ => panic!("{control}?"),
    }
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
