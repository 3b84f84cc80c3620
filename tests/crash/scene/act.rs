//! The operations that are tried.

use std::collections::BTreeMap;
use std::fs;

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, ForkSnapshot, Hypeman, InstanceState, RegisterInstance,
    RestoreSnapshot, SnapshotKind,
};

use super::before::{create, named, put, put_instance, register_a, settled};
use super::place::{MEMORY, VM, bytes, files, open, path, settle};
use super::{Mark, Say};
use crate::peer::Peer;

pub(super) fn first_open(say: &mut Say) {
    let hm = open().unwrap();
    begin(&hm, say);
    hm.close();
}

/// The first that is ever asked of a data directory.
pub(super) fn begin(hm: &Hypeman, say: &mut Say) {
    register_a(hm, say);
    let id = create(hm, say, 1, &named("one", SnapshotKind::Stopped));
    settled(say, &id, false);
}

pub(super) fn create_stopped(say: &mut Say) {
    let hm = open().unwrap();
    let one = create(&hm, say, 1, &named("one", SnapshotKind::Stopped));
    create(&hm, say, 1, &CreateSnapshot::new(SnapshotKind::Stopped));
    settled(say, &one, false);
    hm.close();
}

pub(super) fn create_standby(say: &mut Say, algorithm: &str) {
    let hm = open().unwrap();
    let compression = Some(CompressionConfig::with(algorithm, Some(1)));
    let one = create(&hm, say, 1, &CreateSnapshot { compression, ..named("one", SnapshotKind::Standby) });
    settled(say, &one, true);
    // Whatever the jobs of the first left unflushed meets what the second flushes.
    let two = create(&hm, say, 1, &named("two", SnapshotKind::Standby));
    settled(say, &two, false);
    hm.close();
}

pub(super) fn compress(say: &mut Say) {
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

pub(super) fn delete(say: &mut Say) {
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

pub(super) fn restore(say: &mut Say) {
    let hm = open().unwrap();
    restore_to(&hm, say, InstanceState::Standby);
    hm.close();
    // What the host does afterwards is not undone by what is left of the restore.
    replace_instance(say, 3);
}

pub(super) fn restore_stopped(say: &mut Say) {
    let hm = open().unwrap();
    restore_to(&hm, say, InstanceState::Stopped);
    hm.close();
}

pub(super) fn restore_to(hm: &Hypeman, say: &mut Say, state: InstanceState) {
    let id = hm.snapshots().list(&hypeman_core::SnapshotFilter::default()).unwrap()[0].id.clone();
    if state == InstanceState::Standby {
        say.say(Mark::Counting { content: 1 });
    }
    say.say(Mark::Placing { content: 1 });
    let request = RestoreSnapshot { target_state: Some(state), ..RestoreSnapshot::default() };
    hm.instances().snapshots().restore(&id, VM, &request, Call::default()).unwrap();
    say.say(Mark::Placed { content: 1 });
}

pub(super) fn register(say: &mut Say) {
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
pub(super) fn compress_as_the_vendor(say: &mut Say) {
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

pub(super) fn create_live(say: &mut Say) {
    let hm = open().unwrap();
    let one = create(&hm, say, 1, &named("one", SnapshotKind::Standby));
    settled(say, &one, false);
    hm.close();
}

/// The VMM is of this very process: it goes with it when the power does, and what it writes is recorded.
pub(super) fn create_live_alone(say: &mut Say) {
    let socket = path("api.sock");
    let peer = Peer::start(&socket);
    create_live(say);
    drop(peer);
    fs::remove_file(socket).unwrap();
}

pub(super) fn fork(say: &mut Say) {
    let hm = open().unwrap();
    fork_by(&hm, say);
    hm.close();
}

pub(super) fn fork_by(hm: &Hypeman, say: &mut Say) {
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
}

/// Opens, and waits until all is made good that a dead host left. Then the new host does something more.
pub(super) fn recover(say: &mut Say, more: fn(&Hypeman, &mut Say)) {
    say.say(Mark::Recovering);
    let hm = open().unwrap();
    settle();
    more(&hm, say);
    hm.close();
}

pub(super) fn create_again(hm: &Hypeman, say: &mut Say, kind: SnapshotKind) {
    let id = create(hm, say, 1, &named("again", kind));
    settled(say, &id, false);
}

/// Begins a directory for the instance that has nothing of the one before, and flushes all of it.
pub(super) fn replace_instance(say: &mut Say, content: u8) {
    say.say(Mark::Replacing);
    fs::rename(path("vms/a"), path("vms/old")).unwrap();
    put_instance(content, true);
    flush_instance("vms/a", "disks/extra.raw");
    fs::remove_dir_all(path("vms/old")).unwrap();
    flush("vms");
    say.say(Mark::Placed { content });
}

/// Makes by itself what a fork would have made, and flushes all of it.
pub(super) fn put_fork(say: &mut Say) {
    say.say(Mark::Replacing);
    put("vms/f", "disks/f.raw", 1, true);
    flush_instance("vms/f", "disks/f.raw");
    flush("vms");
    say.say(Mark::Parted);
}

fn flush_instance(directory: &str, disk: &str) {
    for (name, _) in files(1, true) {
        flush(&format!("{directory}/{name}"));
    }
    for below in ["config/deep", "config", "snapshots/snapshot-latest", "snapshots", ""] {
        flush(&format!("{directory}/{below}"));
    }
    flush(disk);
    flush("disks");
}

fn flush(below: &str) {
    fs::File::open(path(below)).unwrap().sync_all().unwrap();
}
