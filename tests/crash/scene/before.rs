//! What is there before an operation is tried.

use std::fs;
use std::path::Path;

use hypeman_core::{Call, CompressionConfig, CreateSnapshot, Disk, Hypeman, RegisterInstance, SnapshotKind};

use super::place::{IS_LIVE, SCENE, VM, extra, files, kind, open, path, settle};
use super::{Killed, Mark, Say, scene};
use crate::record::die;

/// Writes the instance, as a VMM would, and nothing of ours.
pub(super) fn put_instance(content: u8, has_memory: bool) {
    put("vms/a", "disks/extra.raw", content, has_memory);
}

/// Writes the files of an instance into `directory`, and its disk.
pub(super) fn put(directory: &str, disk: &str, content: u8, has_memory: bool) {
    for (name, bytes) in files(content, has_memory) {
        let file = path(directory).join(name);
        fs::create_dir_all(file.parent().expect("a file is in a directory")).unwrap();
        fs::write(file, bytes).unwrap();
    }
    fs::create_dir_all(path("disks")).unwrap();
    fs::write(path(disk), extra(content)).unwrap();
}

pub(super) fn register_a(hm: &Hypeman, say: &mut Say) {
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
pub(super) fn create(hm: &Hypeman, say: &mut Say, content: u8, request: &CreateSnapshot) -> String {
    say.say(Mark::Creating { content, name: request.name.clone() });
    let made = hm.instances().snapshots().create(VM, request, Call::default()).unwrap();
    say.say(Mark::Created { id: made.id.clone() });
    made.id
}

pub(super) fn named(name: &str, kind: SnapshotKind) -> CreateSnapshot {
    CreateSnapshot { name: Some(name.to_owned()), ..CreateSnapshot::new(kind) }
}

pub(super) fn settled(say: &mut Say, id: &str, compressed: bool) {
    settle();
    say.say(Mark::Settled { id: id.to_owned(), compressed });
}

pub(super) fn with_instance(say: &mut Say, content: u8, has_memory: bool) {
    put_instance(content, has_memory);
    say.say(Mark::Placed { content });
    let hm = open().unwrap();
    register_a(&hm, say);
    hm.close();
}

pub(super) fn with_snapshots(say: &mut Say, has_memory: bool) {
    with_instance(say, 1, has_memory);
    let hm = open().unwrap();
    for name in ["one", "two"] {
        let id = create(&hm, say, 1, &named(name, kind(has_memory)));
        settled(say, &id, false);
    }
    hm.close();
}

pub(super) fn with_compressed(say: &mut Say) {
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

pub(super) fn with_stopped(say: &mut Say) {
    with_instance(say, 1, false);
    let hm = open().unwrap();
    let id = create(&hm, say, 1, &named("one", SnapshotKind::Stopped));
    settled(say, &id, false);
    hm.close();
    put_instance(2, false);
    say.say(Mark::Placed { content: 2 });
}

pub(super) fn with_files(say: &mut Say) {
    put_instance(1, false);
    say.say(Mark::Placed { content: 1 });
}

pub(super) fn with_vm(say: &mut Say) {
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

/// Plays the scene of a host that is killed.
pub(super) fn leave(say: &mut Say, killed: Killed<'_>) {
    scene(killed.host).prepare(say);
    let trace = format!("trace={}", killed.call);
    let output = die(killed, Path::new(SCENE), &["-o", "/dev/null", "-e", &trace]);
    let output = output.unwrap_or_else(|| panic!("{} did not come to where it is killed", killed.host));
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        say.say(serde_json::from_str(line).expect("programs print marks only"));
    }
}
