//! Exchanging what was built with what is live, all or nothing, whatever is killed.
//!
//! ```text
//! journal: building -> siblings on the disk -> journal: forward -> exchanges -> old ones removed -> journal gone
//!                                                          \ failed -> journal: back -> exchanges undone
//! ```

use std::path::Path;
use std::time::Duration;

use crate::call::Call;
use crate::error::Result;
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
        journal.step = Step::Back;
        // Where even that fails, the next opener finds the journal and goes forward: the siblings are whole.
        store.write_journal(journal)?;
        finish(store, journal)?;
        return Err(error);
    }
    // All is in place, and stays so: what cannot be tidied up now, the next opener does by the journal.
    let _ = finish(store, journal);
    Ok(())
}

/// Brings the restore of `journal`, whose owner is dead, to its end. The caller has the turn.
pub(in crate::snapshots) fn recover(store: &Store, mut journal: Journal) -> Result<()> {
    if journal.step != Step::Forward {
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
