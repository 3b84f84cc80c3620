//! A new instance of a snapshot: where its files go, what is refused, and what it leaves alone. (Loading it needs a
//! VMM: tests/e2e.)

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Disk, Duplicates, ForkSnapshot, Hypeman, Instance,
    InstanceState, Kind, RestoreSnapshot, Snapshot,
};
use world::{World, create, memory, standby, stopped, tree, wait};

mod world;

fn fork(hm: &Hypeman, snapshot: &str, request: &ForkSnapshot) -> hypeman_core::Result<Instance> {
    hm.snapshots().fork(snapshot, request, Call::default())
}

fn restore(
    hm: &Hypeman,
    snapshot: &str,
    id: &str,
    request: &RestoreSnapshot,
) -> hypeman_core::Result<Instance> {
    hm.instances().snapshots().restore(snapshot, id, request, Call::default())
}

/// Every file beneath `path` with its bytes, but for logs.
fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = tree(path).into_iter().filter(|name| !name.starts_with("logs") && path.join(name).is_file());
    files.map(|name| (name.clone(), fs::read(path.join(name)).unwrap())).collect()
}

fn asleep(world: &World, hm: &Hypeman, request: &CreateSnapshot) -> (PathBuf, Snapshot) {
    let vm = world.vm("web", InstanceState::Standby);
    hm.instances().register(&vm).unwrap();
    (vm.directory.unwrap(), create(hm, "web", request).unwrap())
}

#[test]
fn a_fork_has_the_files_of_the_snapshot_and_outlives_its_source() {
    let world = World::new();
    let hm = world.open();
    let (source, made) = asleep(&world, &hm, &standby());
    let expected = contents(&source);
    hm.instances().unregister("web").unwrap();
    fs::remove_dir_all(&source).unwrap();

    let forked = fork(&hm, &made.id, &ForkSnapshot::new("web-2")).unwrap();
    assert_eq!((forked.state, forked.generation), (InstanceState::Standby, Some(1)));
    let directory = forked.directory.clone().unwrap();
    assert_eq!(directory, world.data().join("guests").join(&forked.id));
    assert!(contents(&directory) == expected);
    let found = hm.instances().get("web-2").unwrap();
    assert_eq!(found, Instance { generation: None, ..forked.clone() });

    // It is an instance like any other, and a snapshot of it is its own.
    let own = create(&hm, "web-2", &standby()).unwrap();
    assert_eq!(own.source_instance_id, forked.id);
    hm.snapshots().delete(&made.id).unwrap();
    assert!(contents(&directory) == expected);
}

#[test]
fn a_fork_of_compressed_memory_has_it_raw_and_changes_nothing_in_the_store() {
    let world = World::new();
    let hm = world.open();
    let (_, made) =
        asleep(&world, &hm, &CreateSnapshot { compression: Some(CompressionConfig::on()), ..standby() });
    let compressed = wait(&hm, &made.id);
    world::jobs_end(&world);
    let stored = world.data().join("snapshots").join(&made.id);
    let before = contents(&stored.join("guest"));
    for name in ["a", "b", "c"] {
        let forked = fork(&hm, &made.id, &ForkSnapshot::new(name)).unwrap();
        let image = forked.directory.unwrap().join("snapshots/snapshot-latest");
        assert_eq!(tree(&image), ["memory"]);
        assert!(fs::read(image.join("memory")).unwrap() == memory());
    }
    assert!(contents(&stored.join("guest")) == before);
    assert_eq!(hm.snapshots().get(&made.id).unwrap(), compressed);
    assert!(hm.snapshots().verify(&made.id, Call::default()).unwrap().defects.is_empty());
}

#[test]
fn a_stopped_fork_has_no_image_and_no_generation() {
    let world = World::new();
    let hm = world.open();
    let (_, made) = asleep(&world, &hm, &standby());
    let to_stopped =
        RestoreSnapshot { target_state: Some(InstanceState::Stopped), ..RestoreSnapshot::default() };
    let directory = world.temp.path().join("fork");
    let request =
        ForkSnapshot { directory: Some(directory.clone()), restore: to_stopped, ..ForkSnapshot::new("fork") };
    let forked = fork(&hm, &made.id, &request).unwrap();
    assert_eq!((forked.state, forked.generation), (InstanceState::Stopped, None));
    assert_eq!(hm.instances().get("fork").unwrap().state, InstanceState::Stopped);
    assert_eq!(contents(&directory).into_keys().collect::<Vec<_>>(), ["overlay.raw"]);
    assert_eq!(hm.snapshots().inspect(&made.id).unwrap().generation, 0);
    assert_eq!(create(&hm, "fork", &stopped()).unwrap().source_instance_id, forked.id);
}

#[test]
fn disks_from_outside_go_into_the_fork_or_to_given_places() {
    let world = World::new();
    let hm = world.open();
    let at = |name: &str| world.temp.path().join(name);
    for name in ["data.raw", "more.raw", "base.raw"] {
        fs::write(at(name), name).unwrap();
    }
    let mut vm = world.vm("web", InstanceState::Stopped);
    let inside = vm.directory.clone().unwrap().join("overlay.raw");
    let disk = |path: PathBuf, readonly| Disk { path, readonly };
    vm.disks = vec![
        disk(inside, false),
        disk(at("data.raw"), false),
        disk(at("more.raw"), false),
        disk(at("base.raw"), true),
    ];
    hm.instances().register(&vm).unwrap();
    let made = create(&hm, "web", &stopped()).unwrap();
    fs::write(at("data.raw"), "changed").unwrap();

    let request = ForkSnapshot {
        directory: Some(at("fork")),
        disks: BTreeMap::from([
            (at("data.raw"), at("data-2.raw")),
            // Read-only, and there: used as it is.
            (at("base.raw"), at("base.raw")),
        ]),
        ..ForkSnapshot::new("fork")
    };
    let forked = fork(&hm, &made.id, &request).unwrap();
    let more = at("fork").join("disks/1-more.raw");
    let expected = [
        disk(at("fork").join("overlay.raw"), false),
        disk(at("data-2.raw"), false),
        disk(more.clone(), false),
        disk(at("base.raw"), true),
    ];
    assert_eq!(forked.disks, expected);
    assert_eq!(fs::read_to_string(at("data-2.raw")).unwrap(), "data.raw");
    assert_eq!(fs::read_to_string(&more).unwrap(), "more.raw");
    assert_eq!(tree(&at("fork")), ["disks", "disks/1-more.raw", "overlay.raw"]);

    // The snapshot can be restored onto its fork again, and only that is touched.
    fs::write(at("data-2.raw"), "ruined").unwrap();
    fs::write(&more, "ruined").unwrap();
    restore(&hm, &made.id, "fork", &RestoreSnapshot::default()).unwrap();
    assert_eq!(fs::read_to_string(at("data-2.raw")).unwrap(), "data.raw");
    assert_eq!(fs::read_to_string(&more).unwrap(), "more.raw");
    assert_eq!(fs::read_to_string(at("data.raw")).unwrap(), "changed");
    assert_eq!(create(&hm, "fork", &stopped()).unwrap().size_bytes, made.size_bytes);
}

#[test]
fn what_cannot_be_forked_is_refused_and_leaves_nothing() {
    let world = World::new();
    let hm = world.open();
    let (source, made) = asleep(&world, &hm, &standby());
    // Its checksums are made meanwhile.
    world::jobs_end(&world);
    let before = (tree(world.temp.path()), contents(&source));
    let given = |directory: PathBuf| ForkSnapshot { directory: Some(directory), ..ForkSnapshot::new("b") };
    let places = |from: &str, to: &str| ForkSnapshot {
        disks: BTreeMap::from([(from.into(), to.into())]),
        ..ForkSnapshot::new("b")
    };
    let running = |api_socket: Option<&str>| ForkSnapshot {
        restore: RestoreSnapshot {
            target_state: Some(InstanceState::Running),
            api_socket: api_socket.map(Into::into),
            ..RestoreSnapshot::default()
        },
        ..ForkSnapshot::new("b")
    };
    for (request, kind, words) in [
        (ForkSnapshot::new("web"), Kind::Conflict, "the name \"web\" is taken"),
        (ForkSnapshot::new("-"), Kind::InvalidRequest, "name must"),
        (given(source.clone()), Kind::Conflict, "is there already"),
        (given(source.join("no/such")), Kind::InvalidRequest, "must be there"),
        (given(world.data().join("snapshots/x")), Kind::InvalidRequest, "where snapshots are"),
        (places("/no/such.raw", "/b.raw"), Kind::InvalidRequest, "no disk /no/such.raw"),
        (running(None), Kind::InvalidRequest, "fork with target_state Standby"),
        (running(Some("qmp.sock")), Kind::InvalidRequest, "absolute"),
    ] {
        let error = fork(&hm, &made.id, &request).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(words), "{error} does not say {words:?}");
    }
    assert_eq!(fork(&hm, "nope", &ForkSnapshot::new("b")).unwrap_err().kind(), Kind::NotFound);
    let after = tree(world.temp.path())
        .into_iter()
        .filter(|name| !name.contains("/locks/") && *name != "data/guests");
    assert_eq!(
        after.collect::<Vec<_>>(),
        before.0.into_iter().filter(|name| !name.contains("/locks/")).collect::<Vec<_>>()
    );
    assert!(contents(&source) == before.1);
    assert_eq!(hm.snapshots().inspect(&made.id).unwrap().generation, 0);
    assert_eq!(hm.instances().list().unwrap().len(), 1);
}

#[test]
fn every_copy_of_a_memory_has_its_own_generation_and_deny_wants_it_to_be_the_first() {
    let world = World::new();
    let hm = world.open();
    let (source, made) = asleep(&world, &hm, &standby());
    let deny = || RestoreSnapshot { duplicates: Duplicates::Deny, ..RestoreSnapshot::default() };
    let denied = |name: &str| ForkSnapshot { restore: deny(), ..ForkSnapshot::new(name) };
    assert_eq!(hm.snapshots().inspect(&made.id).unwrap().generation, 0);
    assert_eq!(fork(&hm, &made.id, &denied("a")).unwrap().generation, Some(1));
    let before = contents(&source);
    for refused in
        [fork(&hm, &made.id, &denied("b")).unwrap_err(), restore(&hm, &made.id, "web", &deny()).unwrap_err()]
    {
        assert_eq!((refused.kind(), refused.id()), (Kind::Conflict, Some(made.id.as_str())), "{refused}");
    }
    assert!(contents(&source) == before);
    assert_eq!(hm.instances().list().unwrap().len(), 2);

    assert_eq!(restore(&hm, &made.id, "web", &RestoreSnapshot::default()).unwrap().generation, Some(2));
    hm.close();
    let hm = world.open();
    let forked = fork(&hm, &made.id, &ForkSnapshot::new("c")).unwrap();
    assert_eq!(forked.generation, Some(3));
    assert_eq!(hm.snapshots().inspect(&made.id).unwrap().generation, 3);

    // Many at once: each number once.
    let numbers: Vec<_> = std::thread::scope(|scope| {
        let forks: Vec<_> = (0..8)
            .map(|n| {
                let (hm, id) = (&hm, &made.id);
                scope.spawn(move || fork(hm, id, &ForkSnapshot::new(format!("many-{n}"))).unwrap().generation)
            })
            .collect();
        forks.into_iter().map(|fork| fork.join().unwrap().unwrap()).collect()
    });
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [4, 5, 6, 7, 8, 9, 10, 11]);

    let counter = world.data().join("snapshots").join(&made.id).join("libhypeman.generation");
    fs::write(&counter, "many\n").unwrap();
    assert_eq!(fork(&hm, &made.id, &ForkSnapshot::new("d")).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_fork_takes_no_links_out_of_its_directory_but_those_of_its_living_source() {
    let world = World::new();
    let hm = world.open();
    let vm = world.vm("web", InstanceState::Standby);
    let source = vm.directory.clone().unwrap();
    std::os::unix::fs::symlink("/images/base.raw", source.join("base.raw")).unwrap();
    hm.instances().register(&vm).unwrap();
    let made = create(&hm, "web", &standby()).unwrap();
    let forked = fork(&hm, &made.id, &ForkSnapshot::new("a")).unwrap();
    let link = forked.directory.unwrap().join("base.raw");
    assert_eq!(fs::read_link(link).unwrap(), Path::new("/images/base.raw"));

    hm.instances().unregister("web").unwrap();
    let refused = fork(&hm, &made.id, &ForkSnapshot::new("b")).unwrap_err();
    assert_eq!(refused.kind(), Kind::Corrupt, "{refused}");
    assert_eq!(hm.instances().list().unwrap().len(), 1);
}
