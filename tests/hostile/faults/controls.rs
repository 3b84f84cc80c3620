//! What is done to a store behind the back of an operation that meets no fault, to see that the oracle notices.

use std::fs;

use super::leftovers::{DEATHS, forget, make_instance, remove_files_of_fork};
use super::operations::Scene;

pub struct Control {
    pub name: String,
    /// What is done beside it.
    pub operation: &'static str,
    /// Whether it is done before the operation, and not after it.
    pub is_before: bool,
    pub harm: fn(&Scene),
}

pub fn controls() -> Vec<Control> {
    let after =
        |operation, name: &str, harm| Control { name: name.to_owned(), operation, is_before: false, harm };
    let mut controls = vec![
        after("list", "a snapshot that loses its memory", |scene| {
            let guest = scene.data().join("snapshots").join(&scene.raw).join("guest");
            fs::remove_file(guest.join("snapshots/snapshot-latest/memory")).unwrap();
        }),
        after("list", "a VM that stays paused", |scene| super::oracle::ask(&scene.socket(), "vm.pause")),
        after("list", "a journal that is left", |scene| {
            fs::write(scene.own().join("journals/web.json"), "{}").unwrap();
        }),
        after("list", "a bit of a record", |scene| {
            let path = scene.data().join("snapshots").join(&scene.raw).join("snapshot.json");
            let record = fs::read_to_string(&path).unwrap();
            fs::write(path, record.replace("\"Standby\"", "\"Standbx\"")).unwrap();
        }),
        after("list", "files of a fork that there is not", |scene| {
            fs::create_dir_all(scene.data().join("guests/stranger")).unwrap();
        }),
        after("list", "an instance that is restored though no one asked", |scene| make_instance(scene, true)),
        after(
            "open after a restore that was removing the old files",
            "a restore that is undone when there is no way back",
            |scene| make_instance(scene, false),
        ),
        after(
            "open after a restore that was taking back",
            "a restore that was taken back and is done",
            |scene| {
                make_instance(scene, true);
            },
        ),
        after(
            "open after a fork that was registered",
            "a fork that was registered and is gone",
            remove_files_of_fork,
        ),
    ];
    // Of a fork that is registered nothing is left to do but to forget its journal.
    let deaths = DEATHS.iter().map(|(name, _)| *name).filter(|name| !name.contains("was registered"));
    controls.extend(deaths.map(|operation| Control {
        name: format!("{operation}, whose journal is lost"),
        operation,
        is_before: true,
        harm: forget,
    }));
    controls
}
