//! A real Firecracker that writes only what has changed: each image is all of memory, and on its own.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use hypeman_core::{Call, Hypeman, RegisterInstance, RestoreSnapshot, Snapshot};
use hypeman_tests::firecracker::Vm;
use hypeman_tests::guest;

use crate::firecracker::{FULL_CHECK, Scene, program, registered};
use crate::scene::{VM_ID, assert_nothing_left, directory, raw_memory};

impl Scene {
    /// One whose Firecracker keeps a log of dirty pages that no one else empties.
    fn tracking(memory_mib: u32) -> Self {
        let root = directory();
        let vm = Vm::start(&program(), &root.path().join("first")).boot_guest(memory_mib, true);
        let hm = Hypeman::open(root.path().join("data")).unwrap();
        hm.instances().register(&RegisterInstance { exclusive_snapshots: true, ..registered(&vm) }).unwrap();
        Self { vm, hm, root }
    }

    fn image_of(&self, id: &str) -> PathBuf {
        self.payload(id).join("snapshots/snapshot-latest")
    }

    /// Captures the paused VM, and requires that its memory is what a Full holds that is written by hand.
    fn capture_as_a_full(&self, name: &str) -> Snapshot {
        let made = self.capture(None);
        let by_hand = self.root.path().join(name);
        fs::create_dir(&by_hand).unwrap();
        let full = self.vm.save_by_hand(&by_hand);
        let ours = fs::read(self.image_of(&made.id).join("memory")).unwrap();
        let differ = ours.chunks(4096).zip(full.chunks(4096)).enumerate().filter(|(_, (a, b))| a != b);
        assert_eq!(differ.map(|(page, _)| page).collect::<Vec<_>>(), Vec::<usize>::new(), "pages of {name}");
        made
    }
}

pub fn a_firecracker_diff_is_what_a_full_snapshot_would_be() {
    let mut scene = Scene::tracking(64);
    let mut made = Vec::new();
    for name in ["full", "diff", "another diff"] {
        scene.vm.tick_after(scene.vm.last_tick().ticks + 8);
        scene.vm.pause();
        made.push(scene.capture_as_a_full(name));
        scene.vm.resume();
    }
    // What a page of the last image holds that the guest never touches shows that the next is written over a copy of it.
    let unused = 60 << 20;
    let mark = |id: &str, bytes: &[u8]| {
        let file = fs::File::options().write(true).open(scene.image_of(id).join("memory")).unwrap();
        file.write_all_at(bytes, unused).unwrap();
    };
    mark(&made[2].id, b"a mark");
    scene.vm.tick_after(scene.vm.last_tick().ticks + 8);
    let marked = fs::read(scene.image_of(&scene.capture(None).id).join("memory")).unwrap();
    assert!(marked[unused as usize..].starts_with(b"a mark"), "it was a Diff");
    mark(&made[2].id, &[0; 6]);

    let mut before = 0;
    for (number, snapshot) in made.iter().enumerate() {
        let ticks = guest::examine(&raw_memory(&scene.payload(&snapshot.id))).unwrap().ticks;
        let captured = u32::try_from(ticks).unwrap();
        assert!(captured > before, "each has its own moment");
        before = captured;
        let second = Vm::start(&program(), &scene.root.path().join(format!("second{number}")));
        second.load(&scene.image_of(&snapshot.id));
        second.resume();
        let went_on = second.tick_after(0);
        assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
        assert_eq!(second.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
    }

    // A VM that was loaded has what it was loaded from as its last image.
    scene.vm.kill();
    let waiting = Vm::start(&program(), &scene.root.path().join("waiting"));
    let request = RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() };
    scene.hm.instances().snapshots().restore(&made[2].id, VM_ID, &request, Call::default()).unwrap();
    scene.hm.instances().unregister(VM_ID).unwrap();
    let known = RegisterInstance { api_socket: Some(waiting.api_socket()), ..registered(&scene.vm) };
    scene.hm.instances().register(&RegisterInstance { exclusive_snapshots: true, ..known }).unwrap();
    scene.vm = waiting;
    scene.vm.tick_after(before + 8);
    scene.vm.pause();
    scene.capture_as_a_full("diff of a loaded VM");
    scene.vm.resume();
    let file = fs::File::options()
        .write(true)
        .open(scene.image_of(&scene.hm.snapshots().list(&Default::default()).unwrap()[0].id).join("memory"));
    file.unwrap().write_all_at(b"a mark", unused).unwrap();
    let marked = fs::read(scene.image_of(&scene.capture(None).id).join("memory")).unwrap();
    assert!(marked[unused as usize..].starts_with(b"a mark"), "it was a Diff");
    assert_nothing_left(scene.hm.data_dir());
}
