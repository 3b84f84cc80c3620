//! Several processes in one data directory.

mod world;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use hypeman_core::{CreateSnapshot, InstanceState, Kind, SnapshotFilter};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, pipe};
use world::{World, create, stopped, tree};

const WON: i32 = 0;
const TAKEN: i32 = 1;
const OTHER: i32 = 2;

#[test]
fn of_eight_processes_that_want_one_name_one_has_it() {
    let world = World::new();
    world.open().instances().register(&world.vm("web", InstanceState::Stopped)).unwrap();
    let (start, go) = pipe().unwrap();
    let mut go = Some(go);
    let mut racers = Vec::new();
    for _ in 0..8 {
        // SAFETY: this program has one test, so no other thread holds a lock that the child would wait for.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => racers.push(child),
            ForkResult::Child => {
                drop(go.take());
                let raced = std::panic::catch_unwind(|| race(&world, &start));
                // SAFETY: ends this process at once; the test and its temporary directory are the parent's.
                unsafe { libc::_exit(raced.unwrap_or(OTHER)) }
            }
        }
    }
    // Each of them reads from the pipe until its last writer, which is us, is gone.
    drop(go);
    let code = |racer| match waitpid(racer, None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        _ => OTHER,
    };
    let mut codes: Vec<_> = racers.into_iter().map(code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [WON, TAKEN, TAKEN, TAKEN, TAKEN, TAKEN, TAKEN, TAKEN]);

    let hm = world.open();
    let list = hm.snapshots().list(&SnapshotFilter::default()).unwrap();
    assert_eq!(list.iter().map(|snapshot| snapshot.name.as_deref()).collect::<Vec<_>>(), [Some("n")]);
    assert_eq!(tree(&world.data().join("snapshots/.libhypeman/staging")), [""; 0]);
    assert_eq!(tree(&world.data().join("snapshots/.libhypeman/names")).len(), 1);
}

fn race(world: &World, start: &OwnedFd) -> i32 {
    let hm = world.open();
    let named = CreateSnapshot { name: Some("n".into()), ..stopped() };
    File::from(start.try_clone().unwrap()).read_to_end(&mut Vec::new()).unwrap();
    match create(&hm, "web", &named) {
        Ok(_) => WON,
        Err(error) if error.kind() == Kind::Conflict => TAKEN,
        Err(_) => OTHER,
    }
}
