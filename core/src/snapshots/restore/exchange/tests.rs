use std::fs;

use super::*;
use crate::hypeman::Durability;
use crate::log::Log;
use crate::store::journals::Purpose;

struct Scene {
    store: Store,
    root: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let store = Store::open(&data, Durability::Full, false, Log::default()).unwrap();
        Self { store, root }
    }

    /// A live directory, and what was built beside it.
    fn exchange(&self, name: &str) -> Exchange {
        let staged = format!(".{name}.new");
        for (name, text) in [(name, "old"), (staged.as_str(), "new")] {
            fs::create_dir(self.root.path().join(name)).unwrap();
            fs::write(self.root.path().join(name).join("file"), text).unwrap();
        }
        let parent = self.root.path().to_owned();
        let dir = Dir::open(&parent).unwrap();
        let inode = dir.stat(&staged).unwrap().unwrap().inode;
        let parent_inode = Some(dir.stat_self().unwrap().inode);
        Exchange { parent, parent_inode, staged, target: name.to_owned(), inode }
    }

    fn journal(&self, step: Step, exchanges: Vec<Exchange>) -> Journal {
        let journal = Journal { instance_id: "web".to_owned(), purpose: Purpose::Restore, step, exchanges };
        self.store.write_journal(&journal).unwrap();
        journal
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.path().join(name).join("file")).unwrap()
    }
}

#[test]
fn exchanges_are_undone_even_where_that_cannot_be_written_down() {
    let scene = Scene::new();
    let made = scene.exchange("web-dir");
    // Puts a directory where the next step of the journal is written.
    let journals = scene.root.path().join("data/snapshots/.libhypeman/journals");
    fs::write(journals.join(".web"), "").unwrap();
    fs::create_dir(journals.join("obstacle")).unwrap();
    let inode = Dir::open(&journals).unwrap().stat("obstacle").unwrap().unwrap().inode;
    let obstacle = Exchange {
        parent: journals,
        parent_inode: None,
        staged: "obstacle".to_owned(),
        target: ".web".to_owned(),
        inode,
    };
    let failing = Exchange { target: "not there".to_owned(), ..scene.exchange("other") };
    let mut journal = Journal {
        instance_id: "web".to_owned(),
        purpose: Purpose::Restore,
        step: Step::Building,
        exchanges: vec![made, obstacle, failing],
    };
    let failed = forward(&scene.store, &journal).unwrap_err();
    assert_eq!(failed.errno(), Some(libc::ENOENT), "{failed}");
    assert_eq!(scene.read("web-dir"), "new");
    assert!(scene.store.write_journal(&journal).is_err(), "nothing is in its way");
    undo(&scene.store, &mut journal).unwrap();
    assert_eq!(scene.read("web-dir"), "old");
    assert!(!scene.root.path().join(".web-dir.new").exists());
}

#[test]
fn what_was_copied_in_the_middle_of_a_restore_is_not_exchanged_again() {
    for is_made in [false, true] {
        let scene = Scene::new();
        let exchange = scene.exchange("web-dir");
        let journal = scene.journal(Step::Forward, vec![exchange.clone()]);
        if is_made {
            Dir::open(scene.root.path()).unwrap().exchange(".web-dir.new", "web-dir").unwrap();
        }
        // A copy has the same names and bytes, and other inodes.
        for name in ["web-dir", ".web-dir.new"] {
            let (from, to) = (scene.root.path().join(name), scene.root.path().join("copy"));
            fs::create_dir(&to).unwrap();
            fs::copy(from.join("file"), to.join("file")).unwrap();
            fs::rename(&from, scene.root.path().join(format!("{name}.original"))).unwrap();
            fs::rename(&to, &from).unwrap();
        }
        let before = scene.read("web-dir");
        let refused = recover(&scene.store, journal.clone()).unwrap_err();
        assert_eq!(refused.kind(), Kind::Corrupt, "{refused}");
        assert_eq!(scene.read("web-dir"), before);
        assert!(scene.root.path().join(".web-dir.new").exists(), "what may be needed was removed");
        assert_eq!(scene.store.journal("web").unwrap(), Some(journal));
    }
}

/// Puts something in the way of whoever writes the next step of the journal of `web`.
fn obstruct(scene: &Scene) {
    fs::create_dir(scene.root.path().join("data/snapshots/.libhypeman/journals/.web")).unwrap();
}

#[test]
fn what_came_into_place_is_not_taken_back_once_the_old_files_go() {
    let scene = Scene::new();
    let exchange = scene.exchange("web-dir");
    Dir::open(scene.root.path()).unwrap().exchange(".web-dir.new", "web-dir").unwrap();
    let journal = scene.journal(Step::Forward, vec![exchange]);
    fs::remove_file(scene.root.path().join(".web-dir.new/file")).unwrap();
    obstruct(&scene);
    recover(&scene.store, journal).unwrap();
    assert_eq!(scene.read("web-dir"), "new");
    assert!(!scene.root.path().join(".web-dir.new").exists());
    assert_eq!(scene.store.journal("web").unwrap(), None);
}

#[test]
fn what_is_half_removed_is_not_exchanged_though_the_journal_says_forward() {
    for is_half_removed in [false, true] {
        let scene = Scene::new();
        let journal = scene.journal(Step::Forward, vec![scene.exchange("web-dir"), scene.exchange("disk")]);
        set_aside(&scene.store, &journal).unwrap();
        if is_half_removed {
            fs::remove_file(scene.root.path().join(".web-dir.new.undone/file")).unwrap();
        }
        recover(&scene.store, journal).unwrap();
        for name in ["web-dir", "disk"] {
            assert_eq!(scene.read(name), "old");
            assert!(!scene.root.path().join(format!(".{name}.new.undone")).exists());
        }
        assert_eq!(scene.store.journal("web").unwrap(), None);
    }
}

#[test]
fn nothing_is_taken_back_while_the_file_system_of_a_disk_is_not_mounted() {
    for (step, is_directory_left) in
        [(Step::Forward, true), (Step::Forward, false), (Step::Back, true), (Step::Back, false)]
    {
        let scene = Scene::new();
        let (root, away) = (scene.root.path().join("mnt"), scene.root.path().join("away"));
        fs::create_dir(&root).unwrap();
        let parent_inode = Some(Dir::open(&root).unwrap().stat_self().unwrap().inode);
        let outside = Exchange { parent: root.clone(), parent_inode, ..scene.exchange("disk") };
        for name in [&outside.staged, &outside.target] {
            fs::rename(scene.root.path().join(name), root.join(name)).unwrap();
        }
        let journal = scene.journal(step, vec![scene.exchange("web-dir"), outside]);
        Dir::open(scene.root.path()).unwrap().exchange(".web-dir.new", "web-dir").unwrap();
        // What is unmounted leaves an empty directory, or none.
        fs::rename(&root, &away).unwrap();
        if is_directory_left {
            fs::create_dir(&root).unwrap();
        }
        let refused = recover(&scene.store, journal.clone()).unwrap_err();
        assert_eq!(refused.kind(), Kind::InvalidState, "{refused}");
        assert!(refused.to_string().contains("mount the file system"), "{refused}");
        assert_eq!((scene.read("web-dir"), scene.read(".web-dir.new")), ("new".to_owned(), "old".to_owned()));
        assert_eq!(scene.store.journal("web").unwrap().as_ref(), Some(&journal));

        // Mounted again, both are of one moment.
        if is_directory_left {
            fs::remove_dir(&root).unwrap();
        }
        fs::rename(&away, &root).unwrap();
        recover(&scene.store, journal).unwrap();
        assert_eq!(scene.read("web-dir"), "old");
        assert_eq!(scene.read("mnt/disk"), "old");
        assert_eq!(scene.store.journal("web").unwrap(), None);
    }
}

#[test]
fn the_journal_of_an_instance_that_is_removed_goes() {
    for step in [Step::Building, Step::Forward, Step::Back] {
        let scene = Scene::new();
        let gone = Exchange { parent: scene.root.path().join("gone"), ..scene.exchange("web-dir") };
        let journal = scene.journal(step, vec![gone]);
        recover(&scene.store, journal).unwrap();
        assert_eq!(scene.store.journal("web").unwrap(), None);
    }
}
