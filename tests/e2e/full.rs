//! A disk that fills up under a running VM: a typed error, and nothing else is lost.

use hypeman_core::{Call, Kind};

use crate::scene::{Scene, SmallDisk, VM_ID, directory, standby};

pub fn a_full_disk_ends_a_capture_only() {
    let room = directory();
    // The guest's memory needs more than a MiB; the data directory itself a few pages.
    let disk = SmallDisk::mount(room.path().join("disk"), 1).unwrap();
    let mut scene = Scene::with_data(|_| disk.path().join("data"));
    let refused =
        scene.hm.instances().snapshots().create(VM_ID, &standby(None), Call::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::NoSpace, "{refused}");
    scene.assert_as_before();

    disk.resize(64);
    scene.capture(None);
    scene.hm.close();
}
