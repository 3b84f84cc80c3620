//! The operations that are tried, and what each promises at which moment.
//!
//! A scene lives in one directory, `$SCENE`: the data directory `data`, the instance `vms/a` and its disk
//! `disks/extra.raw`. All paths lead through the working directory of the process, so that a crash state can be
//! looked at elsewhere, by many processes at once.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Disk, ForkSnapshot, Hypeman, InstanceState, Options,
    RegisterInstance, RestoreSnapshot, SnapshotKind,
};
use serde::{Deserialize, Serialize};

use crate::peer::Peer;

/// The directory of a scene, wherever it lies.
pub const SCENE: &str = "/proc/self/cwd";
pub const VM: &str = "vm-a";
pub const MEMORY: &str = "snapshots/snapshot-latest/memory";

/// What a program knows, or promises, from a moment on. `content` numbers what an instance holds then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    Creating {
        content: u8,
        name: Option<String>,
    },
    Created {
        id: String,
    },
    /// Its checksums are there, and its memory is compressed if that was asked for.
    Settled {
        id: String,
        compressed: bool,
    },
    /// What was settled is compressed again.
    Compressing {
        id: String,
    },
    Deleting {
        id: String,
    },
    Deleted {
        id: String,
    },
    /// Who holds `content` from now on holds a copy of a memory, which has a number.
    Counting {
        content: u8,
    },
    /// The instance is about to hold `content`, or what it held.
    Placing {
        content: u8,
    },
    Placed {
        content: u8,
    },
    /// The host itself works on the instance, which may hold anything.
    Replacing,
    Registering {
        name: String,
    },
    Registered {
        name: String,
    },
    Unregistering {
        name: String,
    },
    Unregistered {
        name: String,
    },
    /// There may be an instance `f` from now on, which holds content 1.
    Forking,
    Forked,
    /// `f` is an instance no more; its files are the host's, and stay.
    Parted,
    /// Someone makes good what a dead host left.
    Recovering,
}

/// A scene: what is there before, and the operations that are tried. Both say what holds from then on.
pub struct Scene {
    pub name: &'static str,
    pub before: fn(&mut Say),
    pub act: fn(&mut Say),
}

/// Where marks go.
pub enum Say {
    Keep(Vec<Mark>),
    /// A line of output, in one write, which the recorder sees in its place.
    Print,
    /// The same; and then it waits for a line of input.
    Step,
}

impl Say {
    pub fn say(&mut self, mark: Mark) {
        match self {
            Self::Keep(marks) => marks.push(mark),
            Self::Print | Self::Step => {
                let line = serde_json::to_string(&mark).expect("a mark is JSON");
                writeln!(std::io::stdout().lock(), "{line}").expect("stdout takes a line");
                if matches!(self, Self::Step) {
                    std::io::stdin().read_line(&mut String::new()).expect("stdin gives a line");
                }
            }
        }
    }
}

pub static SCENES: [Scene; 16] = [
    Scene { name: "first-open", before: with_files, act: first_open },
    Scene { name: "create-stopped", before: |say| with_instance(say, 1, false), act: create_stopped },
    Scene {
        name: "create-zstd",
        before: |say| with_instance(say, 1, true),
        act: |say| create_standby(say, "zstd"),
    },
    Scene {
        name: "create-lz4",
        before: |say| with_instance(say, 1, true),
        act: |say| create_standby(say, "lz4"),
    },
    Scene { name: "compress", before: |say| with_snapshots(say, true), act: compress },
    Scene { name: "delete", before: |say| with_snapshots(say, false), act: delete },
    Scene { name: "restore", before: with_compressed, act: restore },
    Scene { name: "restore-stopped", before: with_stopped, act: restore_stopped },
    Scene { name: "register", before: |say| with_instance(say, 1, false), act: register },
    Scene { name: "fork", before: with_compressed, act: fork },
    Scene { name: "create-live", before: with_vm, act: create_live_alone },
    // A host that is killed, and an opener that makes good what it left and goes on, until its power goes.
    Scene {
        name: "recover-create",
        before: |say| killed(say, "create-zstd", "renameat2", 1),
        act: |say| recover(say, |say| create_again(say, SnapshotKind::Standby)),
    },
    Scene {
        name: "recover-compress",
        before: |say| killed(say, "compress", "renameat", 2),
        act: |say| recover(say, |say| create_again(say, SnapshotKind::Standby)),
    },
    Scene {
        name: "recover-delete",
        before: |say| killed(say, "delete", "fsync", 5),
        act: |say| recover(say, |say| create_again(say, SnapshotKind::Stopped)),
    },
    Scene {
        name: "recover-restore",
        before: |say| killed(say, "restore", "renameat2", 1),
        act: |say| recover(say, |say| replace_instance(say, 3)),
    },
    Scene {
        name: "recover-fork",
        before: |say| killed(say, "fork", "renameat2", 2),
        act: |say| recover(say, fork),
    },
];

/// The positive control: what the vendor's server does to compress. It promises what no flush made sure.
pub static VENDOR: Scene =
    Scene { name: "vendor", before: |say| with_snapshots(say, true), act: compress_as_the_vendor };

/// A VM that runs, beneath a VMM of paper at `api.sock` that outlives its host.
pub static LIVE: Scene = Scene { name: "create-live-outlived", before: with_vm, act: create_live };

/// The scenes that may be played in a copy of what was before: a restore or fork under way knows its directories by
/// their inodes.
pub fn copied() -> impl Iterator<Item = &'static Scene> {
    SCENES.iter().filter(|scene| !["recover-restore", "recover-fork"].contains(&scene.name))
}

/// The scene `name`.
pub fn scene(name: &str) -> &'static Scene {
    SCENES
        .iter()
        .chain([&VENDOR, &LIVE])
        .find(|scene| scene.name == name)
        .unwrap_or_else(|| panic!("no scene {name}"))
}

pub fn path(below: &str) -> PathBuf {
    Path::new(SCENE).join(below)
}

/// Opens the scene's data directory, with one thread for a call: there is little to do, many times.
pub fn open() -> hypeman_core::Result<Hypeman> {
    Hypeman::open_with(path("data"), Options { threads: NonZeroUsize::new(1), ..Options::default() })
}

/// Waits until no job runs: until its thread, the only one beside ours, has ended. What a job could not bring to its
/// end leaves its note.
pub fn settle() {
    let has_note =
        || fs::read_dir(path("data/snapshots/.libhypeman/jobs")).is_ok_and(|mut jobs| jobs.next().is_some());
    while has_note() && fs::read_dir("/proc/self/task").unwrap().count() > 1 {
        thread::sleep(Duration::from_micros(100));
    }
}

/// Bytes that are `content`'s own: noise, zeros, and runs.
pub fn bytes(content: u8, salt: u8, len: usize) -> Vec<u8> {
    let mut random = crate::disk::Random(u64::from(content) << 8 | u64::from(salt));
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        match (bytes.len() / 4096) % 4 {
            1 => bytes.extend([0; 4096]),
            2 => bytes.extend([content; 4096]),
            _ => (0..512).for_each(|_| bytes.extend(random.next().to_le_bytes())),
        }
    }
    bytes.truncate(len);
    bytes
}

/// The files of an instance that holds `content`, beneath its directory.
pub fn files(content: u8, has_memory: bool) -> Vec<(&'static str, Vec<u8>)> {
    let mut files =
        vec![("overlay.raw", bytes(content, 1, 9000)), ("config/deep/net.json", bytes(content, 2, 700))];
    if has_memory {
        files.push((MEMORY, bytes(content, 3, 40 << 10)));
    }
    files
}

/// The disk of an instance that holds `content`.
pub fn extra(content: u8) -> Vec<u8> {
    bytes(content, 4, 5000)
}

pub fn kind(has_memory: bool) -> SnapshotKind {
    if has_memory { SnapshotKind::Standby } else { SnapshotKind::Stopped }
}

/// Writes the instance, as a VMM would, and nothing of ours.
fn put_instance(content: u8, has_memory: bool) {
    for (name, bytes) in files(content, has_memory) {
        let file = path("vms/a").join(name);
        fs::create_dir_all(file.parent().expect("a file is in a directory")).unwrap();
        fs::write(file, bytes).unwrap();
    }
    fs::create_dir_all(path("disks")).unwrap();
    fs::write(path("disks/extra.raw"), extra(content)).unwrap();
}

/// Begins a directory for the instance that has nothing of the one before, and flushes all of it.
fn replace_instance(say: &mut Say, content: u8) {
    say.say(Mark::Replacing);
    fs::rename(path("vms/a"), path("vms/old")).unwrap();
    put_instance(content, true);
    let flush = |below: &str| fs::File::open(path(below)).unwrap().sync_all().unwrap();
    for (name, _) in files(content, true) {
        flush(&format!("vms/a/{name}"));
    }
    for directory in ["config/deep", "config", "snapshots/snapshot-latest", "snapshots", ""] {
        flush(&format!("vms/a/{directory}"));
    }
    flush("disks/extra.raw");
    flush("disks");
    fs::remove_dir_all(path("vms/old")).unwrap();
    flush("vms");
    say.say(Mark::Placed { content });
}

fn register_a(hm: &Hypeman, say: &mut Say) {
    say.say(Mark::Registering { name: "a".to_owned() });
    hm.instances()
        .register(&RegisterInstance {
            id: Some(VM.to_owned()),
            directory: Some(path("vms/a")),
            disks: vec![Disk { path: path("disks/extra.raw"), readonly: false }],
            ..RegisterInstance::new("a", "qemu")
        })
        .unwrap();
    say.say(Mark::Registered { name: "a".to_owned() });
}

/// Creates a snapshot of the instance, which holds `content`.
fn create(hm: &Hypeman, say: &mut Say, content: u8, request: &CreateSnapshot) -> String {
    say.say(Mark::Creating { content, name: request.name.clone() });
    let made = hm.instances().snapshots().create(VM, request, Call::default()).unwrap();
    say.say(Mark::Created { id: made.id.clone() });
    made.id
}

fn named(name: &str, kind: SnapshotKind) -> CreateSnapshot {
    CreateSnapshot { name: Some(name.to_owned()), ..CreateSnapshot::new(kind) }
}

fn settled(say: &mut Say, id: &str, compressed: bool) {
    settle();
    say.say(Mark::Settled { id: id.to_owned(), compressed });
}

fn with_instance(say: &mut Say, content: u8, has_memory: bool) {
    put_instance(content, has_memory);
    say.say(Mark::Placed { content });
    let hm = open().unwrap();
    register_a(&hm, say);
    hm.close();
}

fn with_snapshots(say: &mut Say, has_memory: bool) {
    with_instance(say, 1, has_memory);
    let hm = open().unwrap();
    for name in ["one", "two"] {
        let id = create(&hm, say, 1, &named(name, kind(has_memory)));
        settled(say, &id, false);
    }
    hm.close();
}

fn with_compressed(say: &mut Say) {
    with_instance(say, 1, true);
    let hm = open().unwrap();
    let compression = Some(CompressionConfig::with("zstd", Some(1)));
    let id = create(&hm, say, 1, &CreateSnapshot { compression, ..named("one", SnapshotKind::Standby) });
    settled(say, &id, true);
    hm.close();
    put_instance(2, true);
    fs::write(path("vms/a/newer"), "not in the snapshot").unwrap();
    fs::create_dir_all(path("vms/a/logs")).unwrap();
    fs::write(path("vms/a/logs/serial.log"), "kept").unwrap();
    say.say(Mark::Placed { content: 2 });
}

fn with_stopped(say: &mut Say) {
    with_instance(say, 1, false);
    let hm = open().unwrap();
    let id = create(&hm, say, 1, &named("one", SnapshotKind::Stopped));
    settled(say, &id, false);
    hm.close();
    put_instance(2, false);
    say.say(Mark::Placed { content: 2 });
}

fn with_files(say: &mut Say) {
    put_instance(1, false);
    say.say(Mark::Placed { content: 1 });
}

fn first_open(say: &mut Say) {
    let hm = open().unwrap();
    register_a(&hm, say);
    let id = create(&hm, say, 1, &named("one", SnapshotKind::Stopped));
    settled(say, &id, false);
    hm.close();
}

fn create_stopped(say: &mut Say) {
    let hm = open().unwrap();
    let one = create(&hm, say, 1, &named("one", SnapshotKind::Stopped));
    create(&hm, say, 1, &CreateSnapshot::new(SnapshotKind::Stopped));
    settled(say, &one, false);
    hm.close();
}

fn create_standby(say: &mut Say, algorithm: &str) {
    let hm = open().unwrap();
    let compression = Some(CompressionConfig::with(algorithm, Some(1)));
    let one = create(&hm, say, 1, &CreateSnapshot { compression, ..named("one", SnapshotKind::Standby) });
    settled(say, &one, true);
    // Whatever the jobs of the first left unflushed meets what the second flushes.
    let two = create(&hm, say, 1, &named("two", SnapshotKind::Standby));
    settled(say, &two, false);
    hm.close();
}

fn compress(say: &mut Say) {
    let hm = open().unwrap();
    let all = hm.snapshots().list(&hypeman_core::SnapshotFilter::default()).unwrap();
    for (snapshot, algorithm) in all.iter().zip(["zstd", "lz4"]) {
        say.say(Mark::Compressing { id: snapshot.id.clone() });
        hm.snapshots().compress(&snapshot.id, Some(&CompressionConfig::with(algorithm, Some(1)))).unwrap();
        // From here on it is promised: whoever opens the data directory next compresses it.
        say.say(Mark::Settled { id: snapshot.id.clone(), compressed: true });
        settle();
    }
    hm.close();
}

fn delete(say: &mut Say) {
    let hm = open().unwrap();
    let all = hm.snapshots().list(&hypeman_core::SnapshotFilter::default()).unwrap();
    let one = &all.iter().find(|snapshot| snapshot.name.as_deref() == Some("one")).unwrap().id;
    say.say(Mark::Deleting { id: one.clone() });
    hm.snapshots().delete(one).unwrap();
    say.say(Mark::Deleted { id: one.clone() });
    let again = create(&hm, say, 1, &named("one", SnapshotKind::Stopped));
    settled(say, &again, false);
    hm.close();
}

fn restore(say: &mut Say) {
    let hm = open().unwrap();
    restore_to(&hm, say, InstanceState::Standby);
    hm.close();
    // What the host does afterwards is not undone by what is left of the restore.
    replace_instance(say, 3);
}

fn restore_stopped(say: &mut Say) {
    let hm = open().unwrap();
    restore_to(&hm, say, InstanceState::Stopped);
    hm.close();
}

fn restore_to(hm: &Hypeman, say: &mut Say, state: InstanceState) {
    let id = hm.snapshots().list(&hypeman_core::SnapshotFilter::default()).unwrap()[0].id.clone();
    if state == InstanceState::Standby {
        say.say(Mark::Counting { content: 1 });
    }
    say.say(Mark::Placing { content: 1 });
    let request = RestoreSnapshot { target_state: Some(state), ..RestoreSnapshot::default() };
    hm.instances().snapshots().restore(&id, VM, &request, Call::default()).unwrap();
    say.say(Mark::Placed { content: 1 });
}

fn register(say: &mut Say) {
    let hm = open().unwrap();
    for name in ["b", "c"] {
        say.say(Mark::Registering { name: name.to_owned() });
        hm.instances().register(&RegisterInstance::new(name, "qemu")).unwrap();
        say.say(Mark::Registered { name: name.to_owned() });
    }
    say.say(Mark::Unregistering { name: "b".to_owned() });
    hm.instances().unregister("b").unwrap();
    say.say(Mark::Unregistered { name: "b".to_owned() });
    hm.close();
}

/// Write, rename, unlink, and no flush anywhere.
fn compress_as_the_vendor(say: &mut Say) {
    let hm = open().unwrap();
    let id = hm.snapshots().list(&hypeman_core::SnapshotFilter::default()).unwrap()[0].id.clone();
    hm.close();
    let directory = path("data/snapshots").join(&id).join("guest");
    let raw = directory.join(MEMORY);
    let at = |name: &str| raw.with_file_name(name);
    fs::write(at("memory.zst.tmp"), zstd::encode_all(bytes(1, 3, 40 << 10).as_slice(), 1).unwrap()).unwrap();
    fs::rename(at("memory.zst.tmp"), at("memory.zst")).unwrap();
    fs::remove_file(&raw).unwrap();
    say.say(Mark::Settled { id, compressed: false });
}

/// There where the instance is a VM that runs.
pub const IS_LIVE: &str = "live";

fn with_vm(say: &mut Say) {
    put_instance(1, false);
    fs::write(path(IS_LIVE), "").unwrap();
    say.say(Mark::Placed { content: 1 });
    let hm = open().unwrap();
    say.say(Mark::Registering { name: "a".to_owned() });
    hm.instances()
        .register(&RegisterInstance {
            id: Some(VM.to_owned()),
            api_socket: Some(path("api.sock")),
            directory: Some(path("vms/a")),
            disks: vec![Disk { path: path("disks/extra.raw"), readonly: false }],
            ..RegisterInstance::new("a", "cloud-hypervisor")
        })
        .unwrap();
    say.say(Mark::Registered { name: "a".to_owned() });
    hm.close();
}

fn create_live(say: &mut Say) {
    let hm = open().unwrap();
    let one = create(&hm, say, 1, &named("one", SnapshotKind::Standby));
    settled(say, &one, false);
    hm.close();
}

/// The VMM is of this very process: it goes with it when the power does, and what it writes is recorded.
fn create_live_alone(say: &mut Say) {
    let socket = path("api.sock");
    let peer = Peer::start(&socket);
    create_live(say);
    drop(peer);
    fs::remove_file(socket).unwrap();
}

fn fork(say: &mut Say) {
    let hm = open().unwrap();
    let id = hm.snapshots().list(&hypeman_core::SnapshotFilter::default()).unwrap()[0].id.clone();
    let request = ForkSnapshot {
        directory: Some(path("vms/f")),
        disks: BTreeMap::from([(path("disks/extra.raw"), path("disks/f.raw"))]),
        ..ForkSnapshot::new("f")
    };
    say.say(Mark::Forking);
    hm.snapshots().fork(&id, &request, Call::default()).unwrap();
    say.say(Mark::Forked);
    hm.instances().unregister("f").unwrap();
    say.say(Mark::Parted);
    hm.close();
}

/// Plays the scene `name` as a host that is killed when it makes `call` for the `time`th time.
fn killed(say: &mut Say, name: &str, call: &str, time: u32) {
    (scene(name).before)(say);
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={time}"));
    let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
    let output = crate::record::strace(&format!("play|{name}|act"), &options).output().unwrap();
    assert!(!output.status.success(), "{name} came to its end before {call} number {time}");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        say.say(serde_json::from_str(line).expect("programs print marks only"));
    }
}

/// Opens, and waits until all is made good that a dead host left. Then the host does something more.
fn recover(say: &mut Say, more: fn(&mut Say)) {
    say.say(Mark::Recovering);
    let hm = open().unwrap();
    settle();
    hm.close();
    more(say);
}

fn create_again(say: &mut Say, kind: SnapshotKind) {
    let hm = open().unwrap();
    let id = create(&hm, say, 1, &named("again", kind));
    settled(say, &id, false);
    hm.close();
}
