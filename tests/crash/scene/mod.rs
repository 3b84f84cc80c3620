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

use self::act::*;
use self::before::*;
pub use self::mark::{Mark, Say};
pub use self::place::{IS_LIVE, MEMORY, SCENE, VM, bytes, extra, files, kind, open, path, settle};

/// A scene: what is there before, and the operations that are tried. Both say what holds from then on.
pub struct Scene {
    pub name: &'static str,
    pub before: fn(&mut Say),
    pub act: fn(&mut Say),
}

pub static SCENES: [Scene; 16] = [
    Scene { name: "first-open", before: with_files, act: first_open },
    Scene { name: "create-stopped", before: |say| with_instance(say, 1, false), act: create_stopped },
    Scene {
        name: "create-zstd",
        before: |say| with_instance(say, 1, true),
        act: |say| create_standby(say, "zstd"),
    },
    Scene {
        name: "create-lz4",
        before: |say| with_instance(say, 1, true),
        act: |say| create_standby(say, "lz4"),
    },
    Scene { name: "compress", before: |say| with_snapshots(say, true), act: compress },
    Scene { name: "delete", before: |say| with_snapshots(say, false), act: delete },
    Scene { name: "restore", before: with_compressed, act: restore },
    Scene { name: "restore-stopped", before: with_stopped, act: restore_stopped },
    Scene { name: "register", before: |say| with_instance(say, 1, false), act: register },
    Scene { name: "fork", before: with_compressed, act: fork },
    Scene { name: "create-live", before: with_vm, act: create_live_alone },
    // A host that is killed, and an opener that makes good what it left and goes on, until its power goes.
    Scene {
        name: "recover-create",
        before: |say| killed(say, "create-zstd", "renameat2", 1),
        act: |say| recover(say, |say| create_again(say, SnapshotKind::Standby)),
    },
    Scene {
        name: "recover-compress",
        before: |say| killed(say, "compress", "renameat", 2),
        act: |say| recover(say, |say| create_again(say, SnapshotKind::Standby)),
    },
    Scene {
        name: "recover-delete",
        before: |say| killed(say, "delete", "fsync", 5),
        act: |say| recover(say, |say| create_again(say, SnapshotKind::Stopped)),
    },
    Scene {
        name: "recover-restore",
        before: |say| killed(say, "restore", "renameat2", 1),
        act: |say| recover(say, |say| replace_instance(say, 3)),
    },
    Scene {
        name: "recover-fork",
        before: |say| killed(say, "fork", "renameat2", 2),
        act: |say| recover(say, fork),
    },
];

/// The positive control: what the vendor's server does to compress. It promises what no flush made sure.
pub static VENDOR: Scene =
    Scene { name: "vendor", before: |say| with_snapshots(say, true), act: compress_as_the_vendor };

/// A VM that runs, beneath a VMM of paper at `api.sock` that outlives its host.
pub static LIVE: Scene = Scene { name: "create-live-outlived", before: with_vm, act: create_live };

/// The scenes that may be played in a copy of what was before: a restore or fork under way knows its directories by
/// their inodes.
pub fn copied() -> impl Iterator<Item = &'static Scene> {
    SCENES.iter().filter(|scene| !["recover-restore", "recover-fork"].contains(&scene.name))
}

/// The scene `name`.
pub fn scene(name: &str) -> &'static Scene {
    SCENES
        .iter()
        .chain([&VENDOR, &LIVE])
        .find(|scene| scene.name == name)
        .unwrap_or_else(|| panic!("no scene {name}"))
}
