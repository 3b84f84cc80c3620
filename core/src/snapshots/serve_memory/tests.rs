//! A pager and its snapshot.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::*;
use crate::sys::socket::{connect, send};
use crate::sys::uffd::client::Guest;
use crate::types::{CompressionConfig, CreateSnapshot, RegisterInstance, RestoreSnapshot, SnapshotKind};

const PAGE: usize = 4096;
const PAGES: usize = 512;

fn memory() -> Vec<u8> {
    (0..PAGES * PAGE).map(|at| (at / PAGE % 250 + 1) as u8).collect()
}

/// A store with a snapshot of a Firecracker's memory.
fn store(temp: &Path) -> (Hypeman, String) {
    let vm = temp.join("vm");
    fs::create_dir_all(vm.join("snapshots/snapshot-latest")).unwrap();
    fs::write(vm.join("snapshots/snapshot-latest/memory"), memory()).unwrap();
    fs::write(vm.join("disk.raw"), "a disk").unwrap();
    let hm = Hypeman::open(temp.join("data")).unwrap();
    let vm = RegisterInstance { directory: Some(vm), ..RegisterInstance::new("vm", "firecracker") };
    hm.instances().register(&vm).unwrap();
    let request = CreateSnapshot {
        compression: Some(CompressionConfig::with("zstd", None)),
        ..CreateSnapshot::new(SnapshotKind::Standby)
    };
    let id = hm.instances().snapshots().create("vm", &request, Call::default()).unwrap().id;
    hm.snapshots().wait(&id, Call::default()).unwrap();
    (hm, id)
}

#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn guest(test: &str) -> Option<Guest> {
    Guest::new(PAGES * PAGE, false, 0).inspect_err(|e| println!("SKIP {test}: no userfaultfd ({e})")).ok()
}

fn come(pager: &Pager, guest: &Guest) -> UnixStream {
    let stream = connect(pager.socket()).unwrap();
    let message = format!(
        r#"[{{"base_host_virt_addr":{},"size":{},"offset":0,"page_size":{PAGE}}}]"#,
        guest.base, guest.bytes
    );
    send(&stream, message.as_bytes(), &[guest.uffd.as_fd()]).unwrap();
    stream
}

fn first_byte(guest: &Guest, page: usize) -> u8 {
    let mut byte = [0];
    guest.read(page * PAGE, &mut byte);
    byte[0]
}

#[test]
fn what_a_guest_wanted_first_is_kept_beside_the_snapshot_which_stays_whole() {
    let Some(first) = guest("what_a_guest_wanted_first_is_kept_beside_the_snapshot_which_stays_whole") else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let (hm, id) = store(temp.path());
    let pager = hm.snapshots().serve_memory(&id, &ServeMemory::default()).unwrap();
    let vm = come(&pager, &first);
    for page in [300, 20, 301] {
        assert_eq!(first_byte(&first, page), (page % 250 + 1) as u8);
    }
    let refused = hm.snapshots().delete(&id).unwrap_err();
    assert_eq!(refused.kind(), Kind::Busy, "{refused}");
    drop(vm);
    // A checksum job may have the sidecar just now; then a stop goes without.
    let patience = Instant::now() + Duration::from_secs(60);
    let dir = hm.open_store().unwrap().snapshot_dir(&id).unwrap();
    let kept = loop {
        match Sidecar::read(&dir).unwrap().unwrap().working_set {
            Some(kept) => break kept,
            None => assert!(Instant::now() < patience, "it is not kept"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(kept.parts(), [300 * PAGE as u64 / 32_768, 20 * PAGE as u64 / 32_768]);
    pager.stop().unwrap();
    assert!(hm.snapshots().verify(&id, Call::default()).unwrap().defects.is_empty());

    let second = guest("").unwrap();
    let pager = hm.snapshots().serve_memory(&id, &ServeMemory::default()).unwrap();
    let _vm = come(&pager, &second);
    while pager.metrics().unwrap().prefetched_bytes < 2 * 32_768 {
        assert!(Instant::now() < patience, "it is not used: {:?}", pager.metrics());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!((first_byte(&second, 300), first_byte(&second, 20)), (51, 21));
    assert_eq!(pager.metrics().unwrap().faults, 0);
    drop(pager);
    hm.snapshots().delete(&id).unwrap();
}

#[test]
fn a_pager_ends_with_its_handle_and_its_socket_is_of_one_snapshot() {
    let temp = tempfile::tempdir().unwrap();
    let (hm, id) = store(temp.path());
    let other = hm
        .instances()
        .snapshots()
        .create("vm", &CreateSnapshot::new(SnapshotKind::Standby), Call::default())
        .unwrap();
    let pager = hm.snapshots().serve_memory(&id, &ServeMemory::default()).unwrap();
    let wrong = RestoreSnapshot { uffd_socket: Some(pager.socket().into()), ..RestoreSnapshot::default() };
    let refused = hm.instances().snapshots().restore(&other.id, "vm", &wrong, Call::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidRequest, "{refused}");
    let restored = hm.instances().snapshots().restore(&id, "vm", &wrong, Call::default()).unwrap();
    let image = restored.directory.unwrap().join("snapshots/snapshot-latest");
    assert!(!image.join("memory").exists(), "the pager has it");

    hm.close();
    assert!(!pager.socket().exists());
    assert!(pager.stop().is_ok() && pager.metrics().is_ok());
    let closed = hm.snapshots().serve_memory(&id, &ServeMemory::default()).unwrap_err();
    assert_eq!(closed.kind(), Kind::Closed);
}
