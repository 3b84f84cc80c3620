//! The operations that are tried, and what each promises at which moment.
//!
//! A scene lives in one directory, `$SCENE`: the data directory `data`, the instance `vms/a` and its disk
//! `disks/extra.raw`. All paths lead through the working directory of the process, so that a crash state can be
//! looked at elsewhere, by many processes at once. `before.rs` is what is there, `act.rs` what is tried.

mod act;
mod before;
mod mark;
mod place;

use hypeman_core::SnapshotKind;

use self::Before::{Left, Made};
use self::act::*;
use self::before::*;
pub use self::mark::{Mark, Say};
pub use self::place::{IS_LIVE, MEMORY, SCENE, VM, bytes, extra, files, kind, open, path, settle};

/// A scene: what is there before, and the operations that are tried. Both say what holds from then on.
pub struct Scene {
    pub name: &'static str,
    pub before: Before,
    pub act: fn(&mut Say),
}

/// How what is there before a scene came to be.
#[derive(Clone, Copy)]
pub enum Before {
    /// All of it is on the disk.
    Made(fn(&mut Say)),
    /// A host was killed: what it had done is there, whether it had flushed it or not.
    Left(Killed<'static>),
}

/// A host that plays the scene `host` until it makes `call` for the `time`th time.
#[derive(Clone, Copy)]
pub struct Killed<'k> {
    pub host: &'k str,
    pub call: &'k str,
    pub time: u32,
}

impl Scene {
    /// Makes what is there before.
    pub fn prepare(&self, say: &mut Say) {
        match self.before {
            Made(make) => make(say),
            Left(killed) => leave(say, killed),
        }
    }
}

pub static SCENES: [Scene; 20] = [
    Scene { name: "first-open", before: Made(with_files), act: first_open },
    Scene { name: "create-stopped", before: Made(|say| with_instance(say, 1, false)), act: create_stopped },
    Scene {
        name: "create-zstd",
        before: Made(|say| with_instance(say, 1, true)),
        act: |say| create_standby(say, "zstd"),
    },
    Scene {
        name: "create-lz4",
        before: Made(|say| with_instance(say, 1, true)),
        act: |say| create_standby(say, "lz4"),
    },
    Scene { name: "compress", before: Made(|say| with_snapshots(say, true)), act: compress },
    Scene { name: "delete", before: Made(|say| with_snapshots(say, false)), act: delete },
    Scene { name: "restore", before: Made(with_compressed), act: restore },
    Scene { name: "restore-stopped", before: Made(with_stopped), act: restore_stopped },
    Scene { name: "register", before: Made(|say| with_instance(say, 1, false)), act: register },
    Scene { name: "fork", before: Made(with_compressed), act: fork },
    Scene { name: "create-live", before: Made(with_vm), act: create_live_alone },
    // A host that is killed, and an opener that makes good what it left and goes on, until its power goes.
    Scene {
        name: "recover-open",
        before: Left(Killed { host: "first-open", call: "fsync", time: 1 }),
        act: |say| recover(say, begin),
    },
    Scene {
        name: "recover-create",
        before: Left(Killed { host: "create-zstd", call: "renameat2", time: 1 }),
        act: |say| recover(say, |hm, say| create_again(hm, say, SnapshotKind::Standby)),
    },
    Scene {
        name: "recover-compress",
        before: Left(Killed { host: "compress", call: "renameat", time: 2 }),
        act: |say| recover(say, |hm, say| create_again(hm, say, SnapshotKind::Standby)),
    },
    Scene {
        name: "recover-delete",
        before: Left(Killed { host: "delete", call: "fsync", time: 5 }),
        act: |say| recover(say, |hm, say| create_again(hm, say, SnapshotKind::Stopped)),
    },
    Scene {
        name: "recover-restore",
        before: Left(Killed { host: "restore", call: "renameat2", time: 1 }),
        act: |say| recover(say, |_, say| replace_instance(say, 3)),
    },
    // Before it had flushed that its restore goes forward.
    Scene {
        name: "recover-restore-noted",
        before: Left(Killed { host: "restore", call: "fsync", time: 19 }),
        act: |say| recover(say, |_, say| replace_instance(say, 3)),
    },
    Scene {
        name: "recover-fork",
        before: Left(Killed { host: "fork", call: "renameat2", time: 2 }),
        act: |say| recover(say, fork_by),
    },
    // And what a host makes in the place of the dead one's fork is its own.
    Scene {
        name: "recover-fork-anew",
        before: Left(Killed { host: "fork", call: "renameat2", time: 2 }),
        act: |say| recover(say, |_, say| put_fork(say)),
    },
    // Before it had flushed that its fork is registered.
    Scene {
        name: "recover-fork-registered",
        before: Left(Killed { host: "fork", call: "fsync", time: 23 }),
        act: |say| recover(say, |_, _| ()),
    },
];

/// The positive control: what the vendor's server does to compress. It promises what no flush made sure.
pub static VENDOR: Scene =
    Scene { name: "vendor", before: Made(|say| with_snapshots(say, true)), act: compress_as_the_vendor };

/// Nothing but the recovery from a host that was killed anywhere; [`Before`] is what the recorder is told.
pub static RECOVER: Scene =
    Scene { name: "recover", before: Made(|_| ()), act: |say| recover(say, |_, _| ()) };

/// A VM that runs, beneath a VMM of paper at `api.sock` that outlives its host.
pub static LIVE: Scene = Scene { name: "create-live-outlived", before: Made(with_vm), act: create_live };

/// The scenes that may be played in a copy of what was before: a restore or fork under way knows its directories by
/// their inodes.
pub fn copied() -> impl Iterator<Item = &'static Scene> {
    let is_of_inodes = |killed: &Killed<'_>| ["restore", "fork"].contains(&killed.host);
    SCENES.iter().filter(move |scene| !matches!(&scene.before, Left(killed) if is_of_inodes(killed)))
}

/// The scene `name`.
pub fn scene(name: &str) -> &'static Scene {
    SCENES
        .iter()
        .chain([&VENDOR, &LIVE, &RECOVER])
        .find(|scene| scene.name == name)
        .unwrap_or_else(|| panic!("no scene {name}"))
}
