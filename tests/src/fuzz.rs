//! What a fuzzer gives to the library: each target puts the input where someone hostile could put it, and calls what
//! would read it there. Only a panic, a hang or a crash is a finding; any answer is fine.
//!
//! `fuzz/` runs these under cargo-fuzz; its corpus is replayed by the tests of `hostile/`.

mod migration;

use std::cell::{OnceCell, RefCell};
use std::fs;
use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Hypeman, Options, Pager, RegisterInstance, ServeMemory,
    SnapshotFilter, SnapshotKind,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use twox_hash::XxHash3_64;

/// A target takes any bytes.
pub type Target = fn(&[u8]);

/// Every target, by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("record", record),
    ("sidecar", sidecar),
    ("zstd", |input| memory(input, "memory.zst")),
    ("lz4", |input| memory(input, "memory.lz4")),
    ("metadata", metadata),
    ("qmp", |input| vmm(input, "qemu")),
    ("http", |input| vmm(input, "cloud-hypervisor")),
    ("http_firecracker", |input| vmm(input, "firecracker")),
    ("http_vz", |input| vmm(input, "vz")),
    ("migration", migrated),
    ("handshake", handshake),
];

/// Gives `input` to the target of that name.
pub fn run(name: &str, input: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of that name");
    target(input);
}

/// Where inputs for the VMM of each hypervisor go.
type Answers = [(&'static str, Sender<Vec<u8>>); 4];

/// A good snapshot, whose parts are replaced by inputs.
struct Scene {
    temp: tempfile::TempDir,
    hm: Hypeman,
    id: String,
    directory: PathBuf,
    guests: PathBuf,
    record: Vec<u8>,
    /// VMMs that answer with the input, by hypervisor. Made when one is wanted: whoever lists instances asks each.
    answers: OnceCell<Answers>,
    /// Hands over its VM to a handle that takes its memory.
    migrating: OnceCell<(Hypeman, Sender<Vec<u8>>)>,
    /// Serves the memory of another snapshot, where that can be done.
    pager: Option<Pager>,
}

thread_local! {
    /// A fuzzer gives thousands of inputs a second to one process.
    static SCENE: RefCell<Option<Scene>> = const { RefCell::new(None) };
}

fn with_scene(look: impl FnOnce(&Scene)) {
    SCENE.with_borrow_mut(|scene| look(scene.get_or_insert_with(prepare)));
}

fn prepare() -> Scene {
    let place = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let temp = tempfile::Builder::new().prefix("hm-fuzz-").tempdir_in(place).unwrap();
    let data = temp.path().join("data");
    let options = Options { threads: NonZeroUsize::new(1), ..Options::default() };
    let hm = Hypeman::open_with(&data, options).unwrap();
    let vm = temp.path().join("vm");
    fs::create_dir_all(vm.join("snapshots/snapshot-latest")).unwrap();
    fs::write(vm.join("snapshots/snapshot-latest/memory"), b"guest memory ".repeat(400)).unwrap();
    hm.instances()
        .register(&RegisterInstance { directory: Some(vm), ..RegisterInstance::new("vm", "qemu") })
        .unwrap();
    // One whose memory can be served page by page.
    let paged = RegisterInstance {
        directory: Some(temp.path().join("vm")),
        ..RegisterInstance::new("paged", "firecracker")
    };
    hm.instances().register(&paged).unwrap();
    let request = CreateSnapshot::new(SnapshotKind::Standby);
    let [id, paged] = ["vm", "paged"]
        .map(|vm| hm.instances().snapshots().create(vm, &request, Call::default()).unwrap().id);
    hm.finish(Call::default()).unwrap();
    let served = ServeMemory { socket: Some(temp.path().join("pager")), ..ServeMemory::default() };
    let pager = hm.snapshots().serve_memory(&paged, &served).ok();
    let directory = data.join("snapshots").join(&id);
    let guests = data.join("guests/server1");
    fs::create_dir_all(&guests).unwrap();
    let record = fs::read(directory.join("snapshot.json")).unwrap();
    let (answers, migrating) = (OnceCell::new(), OnceCell::new());
    Scene { temp, hm, id, directory, guests, record, answers, migrating, pager }
}

fn migrating(temp: &Path) -> (Hypeman, Sender<Vec<u8>>) {
    let options = Options { threads: NonZeroUsize::new(1), offload_memory: true, ..Options::default() };
    let hm = Hypeman::open_with(temp.join("given"), options).unwrap();
    let socket = temp.join("migrating");
    let says = migration::listen(&socket);
    let request = RegisterInstance {
        api_socket: Some(socket),
        directory: Some(temp.join("vm")),
        compression: Some(CompressionConfig::with("lz4", Some(1))),
        ..RegisterInstance::new("migrating", "cloud-hypervisor")
    };
    hm.instances().register(&request).unwrap();
    (hm, says)
}

fn answering(temp: &Path, hm: &Hypeman) -> Answers {
    ["qemu", "cloud-hypervisor", "firecracker", "vz"].map(|hypervisor| {
        let socket = temp.join(hypervisor);
        let answer = listen(&socket);
        let request = RegisterInstance {
            api_socket: Some(socket),
            directory: Some(temp.join("vm")),
            ..RegisterInstance::new(format!("live-{hypervisor}"), hypervisor)
        };
        hm.instances().register(&request).unwrap();
        (hypervisor, answer)
    })
}

/// A VMM that says what it is given, in pieces at each zero byte, one after each thing that it hears.
fn listen(socket: &Path) -> Sender<Vec<u8>> {
    let listener = UnixListener::bind(socket).unwrap();
    let (tell, told) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        let mut says = Vec::new();
        for mut stream in listener.incoming().flatten() {
            says = told.try_iter().last().unwrap_or(says);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            for piece in says.split(|byte| *byte == 0) {
                if stream.write_all(piece).is_err() || !matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    break;
                }
            }
        }
    });
    tell
}

/// Everything that reads of a snapshot.
fn read_all(hm: &Hypeman, id: &str) {
    let _ = hm.snapshots().get(id);
    let _ = hm.snapshots().inspect(id);
    let _ = hm.snapshots().verify(id, Call::default());
    if let Ok(image) = hm.snapshots().memory(id) {
        let mut buffer = [0; 8192];
        for at in [0, image.size_bytes() / 2, image.size_bytes().saturating_sub(100), u64::MAX - 5] {
            let _ = image.read_at(at, &mut buffer);
        }
        let _ = image.ranges();
    }
}

fn record(input: &[u8]) {
    with_scene(|Scene { hm, id, directory, record, .. }| {
        fs::write(directory.join("snapshot.json"), input).unwrap();
        let _ = hm.snapshots().get(id);
        let _ = hm.snapshots().list(&SnapshotFilter::default());
        let _ = hm.snapshots().inspect(id);
        fs::write(directory.join("snapshot.json"), record).unwrap();
    });
}

/// Sealed, so that what is behind the seal is reached.
fn sidecar(input: &[u8]) {
    const SEAL: &str = "\"sidecar_xxh3\": \"";
    with_scene(|Scene { hm, id, directory, .. }| {
        let mut text = String::from_utf8_lossy(input).into_owned();
        if let Some(start) = text.find(SEAL).map(|at| at + SEAL.len())
            && text.get(start..start + 16).is_some()
        {
            text.replace_range(start..start + 16, "0000000000000000");
            let seal = format!("{:016x}", XxHash3_64::oneshot(text.as_bytes()));
            text.replace_range(start..start + 16, &seal);
        }
        fs::write(directory.join("libhypeman.json"), text).unwrap();
        read_all(hm, id);
    });
}

fn memory(input: &[u8], name: &str) {
    with_scene(|Scene { hm, id, directory, .. }| {
        let place = directory.join("guest/snapshots/snapshot-latest");
        let _ = fs::remove_dir_all(&place);
        let _ = fs::remove_file(directory.join("libhypeman.json"));
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(name), input).unwrap();
        read_all(hm, id);
    });
}

/// The metadata of an instance of the vendor's server.
fn metadata(input: &[u8]) {
    with_scene(|Scene { hm, guests, .. }| {
        fs::write(guests.join("metadata.json"), input).unwrap();
        let _ = hm.instances().get("server1");
        let _ = hm.instances().list();
    });
}

fn vmm(input: &[u8], hypervisor: &str) {
    with_scene(|Scene { temp, hm, answers, .. }| {
        let answers = answers.get_or_init(|| answering(temp.path(), hm));
        let (_, answer) = answers.iter().find(|(of, _)| *of == hypervisor).expect("a VMM for each");
        answer.send(input.to_owned()).unwrap();
        let _ = hm.instances().get(&format!("live-{hypervisor}"));
        let request = CreateSnapshot::new(SnapshotKind::Standby);
        let call = Call::default().timeout(Duration::from_millis(200));
        let _ = hm.instances().snapshots().create(&format!("live-{hypervisor}"), &request, call);
    });
}

/// What a cloud-hypervisor asks of the destination of a migration.
fn migrated(input: &[u8]) {
    with_scene(|Scene { temp, migrating: made, .. }| {
        let (hm, says) = made.get_or_init(|| migrating(temp.path()));
        says.send(input.to_owned()).unwrap();
        let request = CreateSnapshot::new(SnapshotKind::Standby);
        let call = Call::default().timeout(Duration::from_millis(200));
        if let Ok(made) = hm.instances().snapshots().create("migrating", &request, call) {
            let _ = hm.snapshots().delete(&made.id);
        }
    });
}

/// A VMM that connects for its memory, says the input in pieces at each zero byte, with as many descriptors as the first
/// byte says, and hangs up. The pager answers at once by hanging up, too.
fn handshake(input: &[u8]) {
    with_scene(|Scene { pager, .. }| {
        let (Some(pager), Some((how, says))) = (pager, input.split_first()) else { return };
        let mut stream = UnixStream::connect(pager.socket()).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let files = [reader.as_raw_fd(), writer.as_raw_fd()];
        let files = &files[..[1, 0, 1, 2][usize::from(*how % 4)]];
        let mut control = &[ControlMessage::ScmRights(files)][..usize::from(!files.is_empty())];
        for piece in says.split(|byte| *byte == 0).filter(|piece| !piece.is_empty()) {
            let flags = MsgFlags::MSG_NOSIGNAL;
            // It need not listen to the end.
            if sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(piece)], control, flags, None).is_err() {
                break;
            }
            control = &[];
        }
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let answer = stream.read(&mut [0; 16]);
        let is_left = matches!(&answer, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!is_left && !matches!(answer, Ok(1..)), "the pager does not hang up: {answer:?}");
    });
}
