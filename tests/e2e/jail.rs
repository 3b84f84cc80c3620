//! A real Firecracker that reaches nothing but what is passed to it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use hypeman_core::{Call, Hypeman, Kind, RegisterInstance, RestoreSnapshot};
use hypeman_tests::firecracker::Vm;
use hypeman_tests::guest;

use crate::firecracker::{FULL_CHECK, program, registered};
use crate::scene::{VM_ID, assert_nothing_left, directory, raw_memory, standby};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

pub fn a_jailed_firecracker_of_another_user_passes_files_through_a_staging_directory() {
    let root = directory();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let [staging, seen_as] = ["pass", "jail"].map(|name| root.path().join(name));
    fs::create_dir(&staging).unwrap();
    fs::create_dir(&seen_as).unwrap();
    let jailed =
        |name: &str| Vm::start_jailed(&program(), &root.path().join(name), NOBODY, &staging, &seen_as);
    let mut vm = jailed("first").boot_guest(64, true);
    let hm = Hypeman::open(root.path().join("data")).unwrap();
    let snapshots = hm.instances().snapshots();

    hm.instances().register(&registered(&vm)).unwrap();
    let refused = snapshots.create(VM_ID, &standby(None), Call::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Permission, "{refused}");
    assert!(refused.message().contains("staging_directory"), "{refused}");
    hm.instances().unregister(VM_ID).unwrap();

    let known = |vm: &Vm| RegisterInstance {
        staging_directory: Some(staging.clone()),
        staging_directory_in_vmm: Some(seen_as.clone()),
        exclusive_snapshots: true,
        ..registered(vm)
    };
    hm.instances().register(&known(&vm)).unwrap();
    let mut last = 0;
    for _ in ["full", "diff"] {
        let made = snapshots.create(VM_ID, &standby(None), Call::default()).unwrap();
        let payload = hm.data_dir().join("snapshots").join(&made.id).join("guest");
        for name in ["state", "memory"] {
            let facts = fs::metadata(payload.join("snapshots/snapshot-latest").join(name)).unwrap();
            assert_eq!((facts.uid(), facts.mode() & 0o7777), (0, 0o600), "{name} is ours alone");
        }
        let captured = guest::examine(&raw_memory(&payload)).unwrap();
        assert!(captured.ticks > last && captured.wrong == 0, "{captured:?}");
        last = captured.ticks;
        vm.tick_after(vm.last_tick().ticks + 8);
        assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
    }
    let made = hm.snapshots().list(&Default::default()).unwrap().remove(0);

    vm.kill();
    let waiting = jailed("second");
    let request = RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() };
    snapshots.restore(&made.id, VM_ID, &request, Call::default()).unwrap();
    let captured = u32::try_from(last).unwrap();
    let went_on = waiting.tick_after(0);
    assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
    assert_eq!(waiting.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
    assert_nothing_left(hm.data_dir());
}
