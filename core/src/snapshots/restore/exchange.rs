//! Exchanging what was built with what is live, all or nothing, whatever is killed.
//!
//! ```text
//! journal: building -> siblings on the disk -> journal: forward -> exchanges -> old ones removed -> journal gone
//!                                                          \ failed -> journal: back -> exchanges undone
//! ```

use std::path::Path;
use std::time::Duration;

use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::instances::{find, source};
use crate::store::Store;
use crate::store::journals::{Exchange, Journal, Step};
use crate::sys::dir::{Dir, EntryKind};
use crate::types::InstanceState;

/// A VMM that does not say within this time what it does counts as one that runs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes all exchanges, or none.
pub(super) fn exchange_all(store: &Store, journal: &mut Journal) -> Result<()> {
    journal.step = Step::Forward;
    if let Err(error) = store.write_journal(journal).and_then(|()| forward(store, journal)) {
        // Whatever of it fails, the next opener does by the journal.
        return Err(match undo(store, journal) {
            Ok(()) => error,
            Err(undone) => error.note(format!(
                "and what it had put into place could not be taken back yet ({undone}); open the data directory anew before you start the VM"
            )),
        });
    }
    // All is in place, and stays so: what cannot be tidied up now, the next opener does by the journal.
    let _ = finish(store, journal);
    Ok(())
}

/// Takes back the exchanges that were made. That it is so is written down first; where that cannot be done, an opener
/// after a crash in the middle of it goes forward, and after the end of it finds nothing to exchange.
fn undo(store: &Store, journal: &mut Journal) -> Result<()> {
    journal.step = Step::Back;
    let _ = store.write_journal(journal);
    finish(store, journal)
}

/// Brings the restore of `journal`, whose owner is dead, to its end. The caller has the turn.
pub(in crate::snapshots) fn recover(store: &Store, mut journal: Journal) -> Result<()> {
    if journal.step == Step::Building {
        return finish(store, &journal);
    }
    refuse_strangers(&journal)?;
    if journal.step == Step::Back {
        return finish(store, &journal);
    }
    // A guest that was started meanwhile has the old files open; they must stay under it.
    if all_made(&journal)? || is_asleep(store, &journal.instance_id) {
        return exchange_all(store, &mut journal);
    }
    journal.step = Step::Back;
    store.write_journal(&journal)?;
    finish(store, &journal)
}

/// Refuses a journal that says nothing of what is there: what was built lies neither in its target's place nor beside it,
/// as where all of it was copied, so that the inodes are others. To exchange on a guess could put back what was replaced.
fn refuse_strangers(journal: &Journal) -> Result<()> {
    for exchange in &journal.exchanges {
        let Some(parent) = parent_if_any(exchange)? else { continue };
        if let Some(staged) = parent.stat(&exchange.staged)?
            && staged.inode != exchange.inode
            && !is_made(&parent, exchange)?
        {
            let (live, staged) = (parent.join(&exchange.target), parent.join(&exchange.staged));
            let why = format!(
                "a restore of instance {} was cut off, and {} and {} were replaced or copied since, so that it cannot be told which is which: keep the one that you want at {}, remove the other, and restore again",
                journal.instance_id,
                live.display(),
                staged.display(),
                live.display()
            );
            return Err(Error::new(Kind::Corrupt, why).at(staged).about(&journal.instance_id));
        }
    }
    Ok(())
}

fn all_made(journal: &Journal) -> Result<bool> {
    for exchange in &journal.exchanges {
        if !is_made(&Dir::open(&exchange.parent)?, exchange)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_asleep(store: &Store, instance_id: &str) -> bool {
    let call = Call::default().timeout(PATIENCE);
    let found = find(store, instance_id).and_then(|found| source(&found, call.limit()));
    found.is_ok_and(|source| matches!(source.state, InstanceState::Standby | InstanceState::Stopped))
}

/// Makes the exchanges that were not made yet.
fn forward(store: &Store, journal: &Journal) -> Result<()> {
    for exchange in &journal.exchanges {
        let parent = Dir::open(&exchange.parent)?;
        if !is_made(&parent, exchange)? {
            parent.exchange(&exchange.staged, &exchange.target)?;
        }
        store.durable().dir(&parent)?;
    }
    Ok(())
}

/// Undoes what must be undone, removes what is left over, and forgets the journal.
pub(super) fn finish(store: &Store, journal: &Journal) -> Result<()> {
    for exchange in &journal.exchanges {
        let Some(parent) = parent_if_any(exchange)? else { continue };
        match journal.step {
            Step::Building => {}
            Step::Forward => keep_what_was_not_captured(&parent, exchange)?,
            Step::Back => {
                if is_made(&parent, exchange)? {
                    parent.exchange(&exchange.staged, &exchange.target)?;
                    store.durable().dir(&parent)?;
                }
            }
        }
    }
    for exchange in &journal.exchanges {
        if let Some(parent) = parent_if_any(exchange)? {
            parent.remove_tree(&exchange.staged)?;
            // Before the journal goes: without it no one would know of what a power cut leaves.
            store.durable().dir(&parent)?;
        }
    }
    store.end_journal(&journal.instance_id)
}

pub(in crate::snapshots) fn parent_if_any(exchange: &Exchange) -> Result<Option<Dir>> {
    match Dir::open(&exchange.parent) {
        Ok(parent) => Ok(Some(parent)),
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(in crate::snapshots) fn is_made(parent: &Dir, exchange: &Exchange) -> Result<bool> {
    Ok(parent.stat(&exchange.target)?.is_some_and(|stat| stat.inode == exchange.inode))
}

/// Moves logs and sockets, which no snapshot holds, from the old directory into the one that took its place.
fn keep_what_was_not_captured(parent: &Dir, exchange: &Exchange) -> Result<()> {
    let is_directory = |name: &str| -> Result<bool> {
        Ok(parent.stat(name)?.is_some_and(|stat| stat.kind == EntryKind::Directory))
    };
    if !is_directory(&exchange.staged)? || !is_directory(&exchange.target)? {
        return Ok(());
    }
    let (old, new) = (parent.dir(&exchange.staged)?, parent.dir(&exchange.target)?);
    for entry in old.entries()? {
        let kept = entry.name == "logs" || entry.kind == EntryKind::Socket;
        if kept && new.stat(Path::new(&entry.name))?.is_none() {
            old.rename(&entry.name, &new, &entry.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
            let inode = Dir::open(&parent).unwrap().stat(&staged).unwrap().unwrap().inode;
            Exchange { parent, staged, target: name.to_owned(), inode }
        }

        fn journal(&self, step: Step, exchanges: Vec<Exchange>) -> Journal {
            let journal =
                Journal { instance_id: "web".to_owned(), purpose: Purpose::Restore, step, exchanges };
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
        let obstacle =
            Exchange { parent: journals, staged: "obstacle".to_owned(), target: ".web".to_owned(), inode };
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
}
