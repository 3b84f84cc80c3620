//! What is built for a fork. (More of it: core/tests/fork.rs, and what it takes on a disk: tests/hostile/reflinks.rs.)

use std::fs;

use super::*;
use crate::types::{
    CompressionConfig, CreateSnapshot, RegisterInstance, RestoreSnapshot, ServeMemory, SnapshotKind,
};

#[test]
fn a_fork_that_a_pager_serves_has_all_but_memory() {
    for compression in [None, Some(CompressionConfig::with("zstd", None))] {
        let temp = tempfile::tempdir().unwrap();
        let vm = temp.path().join("vm");
        let image = vm.join("snapshots/snapshot-latest");
        fs::create_dir_all(&image).unwrap();
        fs::write(image.join("memory"), [7; 1 << 16]).unwrap();
        fs::write(image.join("state"), "its state").unwrap();
        fs::write(vm.join("disk.raw"), "its disk").unwrap();
        let hm = Hypeman::open(temp.path().join("data")).unwrap();
        let registered =
            RegisterInstance { directory: Some(vm), ..RegisterInstance::new("vm", "firecracker") };
        hm.instances().register(&registered).unwrap();
        let request = CreateSnapshot { compression, ..CreateSnapshot::new(SnapshotKind::Standby) };
        let made = hm.instances().snapshots().create("vm", &request, Call::default()).unwrap();
        let made = hm.snapshots().wait(&made.id, Call::default()).unwrap();

        let pager = hm.snapshots().serve_memory(&made.id, &ServeMemory::default()).unwrap();
        let served =
            RestoreSnapshot { uffd_socket: Some(pager.socket().into()), ..RestoreSnapshot::default() };
        let request = ForkSnapshot { restore: served, ..ForkSnapshot::new("served") };
        let served = hm.snapshots().fork(&made.id, &request, Call::default()).unwrap();
        let whole = hm.snapshots().fork(&made.id, &ForkSnapshot::new("whole"), Call::default()).unwrap();
        for (fork, has_memory) in [(served, false), (whole, true)] {
            let directory = fork.directory.unwrap();
            assert_eq!(fs::read_to_string(directory.join("disk.raw")).unwrap(), "its disk");
            let image = directory.join("snapshots/snapshot-latest");
            let names = fs::read_dir(image).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.collect();
            names.sort();
            let expected: &[&str] = if has_memory { &["memory", "state"] } else { &["state"] };
            assert_eq!(names, expected, "{:?}", made.compression_state);
        }
    }
}
