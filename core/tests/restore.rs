//! The first step of a restore: files into place, all or nothing. (The second needs a VMM: tests/e2e.)

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Disk, Hypeman, InstanceState, Kind, RegisterInstance,
    RestoreSnapshot, SnapshotKind,
};
use world::{World, create, memory, standby, tree, wait};

mod world;

fn restore(
    hm: &Hypeman,
    snapshot: &str,
    id: &str,
    to: Option<InstanceState>,
) -> hypeman_core::Result<InstanceState> {
    let request = RestoreSnapshot { target_state: to, ..RestoreSnapshot::default() };
    let restored = hm.instances().snapshots().restore(snapshot, id, &request, Call::default())?;
    Ok(restored.state)
}

/// All that is beneath a directory, with its bytes.
fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    tree(path).into_iter().map(|name| (name.clone(), fs::read(path.join(name)).unwrap_or_default())).collect()
}

#[test]
fn a_stopped_vm_gets_its_files_back_and_keeps_its_logs() {
    let world = World::new();
    let hm = world.open();
    let vm = world.vm("web", InstanceState::Stopped);
    hm.instances().register(&vm).unwrap();
    let directory = vm.directory.unwrap();
    fs::set_permissions(directory.join("overlay.raw"), fs::Permissions::from_mode(0o640)).unwrap();
    let before = contents(&directory);
    let made = create(&hm, "web", &CreateSnapshot::new(SnapshotKind::Stopped)).unwrap();

    fs::write(directory.join("overlay.raw"), "ruined").unwrap();
    fs::write(directory.join("new.txt"), "from after the snapshot").unwrap();
    assert_eq!(restore(&hm, &made.id, "web", None).unwrap(), InstanceState::Stopped);
    assert!(contents(&directory) == before);
    assert_eq!(fs::metadata(directory.join("overlay.raw")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(world.temp.path()).unwrap().count(), 2, "a sibling was left behind");
}

#[test]
fn compressed_memory_comes_back_raw_and_stays_compressed_in_the_store() {
    let world = World::new();
    let hm = world.open();
    let vm = world.vm("web", InstanceState::Standby);
    hm.instances().register(&vm).unwrap();
    for algorithm in ["zstd", "lz4"] {
        let compression = Some(CompressionConfig::with(algorithm, None));
        let made = create(&hm, "web", &CreateSnapshot { compression, ..standby() }).unwrap();
        let compressed = wait(&hm, &made.id);
        let image = vm.directory.clone().unwrap().join("snapshots/snapshot-latest");
        fs::remove_file(image.join("memory")).unwrap();
        assert_eq!(restore(&hm, &made.id, "web", None).unwrap(), InstanceState::Standby);
        assert!(fs::read(image.join("memory")).unwrap() == memory());
        assert_eq!(hm.snapshots().get(&made.id).unwrap(), compressed);
    }
    let last = &hm.snapshots().list(&Default::default()).unwrap()[0];
    assert_eq!(restore(&hm, &last.id, "web", Some(InstanceState::Stopped)).unwrap(), InstanceState::Stopped);
    assert_eq!(hm.instances().get("web").unwrap().state, InstanceState::Stopped);
}

#[test]
fn disks_outside_the_directory_come_back_too() {
    let world = World::new();
    let hm = world.open();
    let outside = world.temp.path().join("data.raw");
    fs::write(&outside, "as captured").unwrap();
    let mut vm = world.vm("web", InstanceState::Stopped);
    vm.disks = vec![Disk { path: outside.clone(), readonly: false }];
    hm.instances().register(&vm).unwrap();
    let made = create(&hm, "web", &CreateSnapshot::new(SnapshotKind::Stopped)).unwrap();
    fs::write(&outside, "changed").unwrap();
    restore(&hm, &made.id, "web", None).unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "as captured");
    assert!(!vm.directory.unwrap().join("disks").exists());
}

#[test]
fn what_cannot_be_restored_is_refused_and_nothing_changes() {
    let world = World::new();
    let hm = world.open();
    let vm = world.vm("web", InstanceState::Stopped);
    hm.instances().register(&vm).unwrap();
    hm.instances().register(&world.vm("db", InstanceState::Stopped)).unwrap();
    let made = create(&hm, "web", &CreateSnapshot::new(SnapshotKind::Stopped)).unwrap();
    let directory: PathBuf = vm.directory.unwrap();
    let before = contents(&directory);
    let kind = |result: hypeman_core::Result<InstanceState>| result.unwrap_err().kind();
    assert_eq!(kind(restore(&hm, "nope", "web", None)), Kind::NotFound);
    assert_eq!(kind(restore(&hm, &made.id, "db", None)), Kind::InvalidRequest);
    assert_eq!(kind(restore(&hm, &made.id, "web", Some(InstanceState::Standby))), Kind::InvalidRequest);
    assert_eq!(kind(restore(&hm, &made.id, "web", Some(InstanceState::Running))), Kind::NotSupported);

    // A damaged payload is found before anything is exchanged.
    let disk = world.data().join("snapshots").join(&made.id).join("guest/overlay.raw");
    fs::remove_file(&disk).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &disk).unwrap();
    assert_eq!(kind(restore(&hm, &made.id, "web", None)), Kind::Corrupt);
    assert!(contents(&directory) == before);
    assert_eq!(fs::read_dir(world.temp.path()).unwrap().count(), 3, "a sibling was left behind");
}

#[test]
fn a_disk_behind_a_link_comes_back_and_the_link_stays() {
    let world = World::new();
    let hm = world.open();
    for (name, link_is_inside, file_is_inside) in
        [("web", true, false), ("db", false, false), ("mail", true, true)]
    {
        let mut vm = world.vm(name, InstanceState::Stopped);
        let directory = vm.directory.clone().unwrap();
        let behind = directory.with_extension("behind");
        let behind = if file_is_inside { directory.join("images/behind") } else { behind };
        fs::create_dir_all(behind.parent().unwrap()).unwrap();
        fs::write(&behind, "as captured").unwrap();
        let link = if link_is_inside { directory.join("data.raw") } else { directory.with_extension("raw") };
        std::os::unix::fs::symlink(&behind, &link).unwrap();
        vm.disks = vec![Disk { path: link.clone(), readonly: false }];
        hm.instances().register(&vm).unwrap();
        let made = create(&hm, name, &CreateSnapshot::new(SnapshotKind::Stopped)).unwrap();
        fs::write(&behind, "changed").unwrap();
        fs::write(directory.join("overlay.raw"), "changed").unwrap();
        restore(&hm, &made.id, name, None).unwrap();
        assert_eq!(fs::read_to_string(&behind).unwrap(), "as captured", "{name}");
        assert_eq!(fs::read_link(&link).unwrap(), behind, "{name}");
        assert_eq!(fs::metadata(directory.join("overlay.raw")).unwrap().len(), 1 << 20, "{name}");
    }
}

#[test]
fn a_restore_that_asks_a_silent_vmm_ends_with_its_call() {
    let world = World::new();
    let hm = world.open();
    let vm = RegisterInstance { id: Some("one-vm".to_owned()), ..world.vm("web", InstanceState::Standby) };
    let vm = RegisterInstance { hypervisor: "cloud-hypervisor".into(), ..vm };
    hm.instances().register(&vm).unwrap();
    let made = create(&hm, "web", &standby()).unwrap();
    hm.instances().unregister("web").unwrap();
    let socket = world.temp.path().join("silent.sock");
    let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    hm.instances().register(&RegisterInstance { api_socket: Some(socket), ..vm }).unwrap();
    let request =
        RestoreSnapshot { api_socket: Some(world.temp.path().join("other.sock")), ..Default::default() };
    let began = std::time::Instant::now();
    let call = Call::default().timeout(std::time::Duration::from_millis(500));
    let refused = hm.instances().snapshots().restore(&made.id, "web", &request, call).unwrap_err();
    assert_eq!(refused.kind(), Kind::Timeout, "{refused}");
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
}
