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
/// after a crash in the middle of it goes forward while all that was built is whole, and finds none of it after that.
fn undo(store: &Store, journal: &mut Journal) -> Result<()> {
    journal.step = Step::Back;
    if store.write_journal(journal).is_err() {
        take_back(store, journal)?;
        set_aside(store, journal)?;
    }
    finish(store, journal)
}

/// Brings the restore of `journal`, whose owner is dead, to its end. The caller has the turn.
pub(in crate::snapshots) fn recover(store: &Store, mut journal: Journal) -> Result<()> {
    if journal.step == Step::Building {
        return finish(store, &journal);
    }
    refuse_strangers(&journal)?;
    let states = journal.exchanges.iter().map(state).collect::<Result<Vec<_>>>()?;
    if journal.step == Step::Forward && states.iter().all(|state| *state == State::Made) {
        // The old files may be half gone: whatever fails from here on, they are not put back.
        forward(store, &journal)?;
        return finish(store, &journal);
    }
    refuse_what_is_away(store, &journal, &states)?;
    if journal.step == Step::Forward {
        // A guest that was started meanwhile has the old files open; they must stay under it.
        let is_all_there = states.iter().all(|state| matches!(state, State::Made | State::Staged));
        if is_all_there && is_asleep(store, &journal.instance_id) {
            return exchange_all(store, &mut journal);
        }
        journal.step = Step::Back;
        store.write_journal(&journal)?;
    }
    finish(store, &journal)
}

/// Where what was built for an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the place of its target.
    Made,
    /// Beside it: to be put there, or taken back from there.
    Staged,
    /// Beside it, being removed after all was taken back.
    Aside,
    /// Nowhere.
    Gone,
    /// Not to be seen: its directory is not there, or is another one, as where a file system is not mounted.
    Away,
}

fn state(exchange: &Exchange) -> Result<State> {
    let Some(parent) = parent_if_any(exchange)? else { return Ok(State::Away) };
    if is_made(&parent, exchange)? {
        Ok(State::Made)
    } else if parent.stat(&exchange.staged)?.is_some() {
        Ok(State::Staged)
    } else if parent.stat(aside(exchange))?.is_some() {
        Ok(State::Aside)
    } else if let Some(inode) = exchange.parent_inode
        && parent.stat_self()?.inode != inode
    {
        Ok(State::Away)
    } else {
        Ok(State::Gone)
    }
}

/// Refuses a journal of which a part is away: to take back the rest would leave an instance of two moments.
fn refuse_what_is_away(store: &Store, journal: &Journal, states: &[State]) -> Result<()> {
    if states.iter().all(|state| matches!(state, State::Gone | State::Away)) {
        return Ok(());
    }
    let mut all = journal.exchanges.iter().zip(states);
    let Some((exchange, _)) = all.find(|(_, state)| **state == State::Away) else { return Ok(()) };
    let target = exchange.parent.join(&exchange.target);
    let why = format!(
        "a restore of instance {} was cut off, and {} is not to be seen: mount the file system that holds it and open the data directory anew; if it is gone for good, remove {} and restore again",
        journal.instance_id,
        target.display(),
        store.journal_path(&journal.instance_id)?.display()
    );
    Err(Error::new(Kind::InvalidState, why).at(target).about(&journal.instance_id))
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
    match journal.step {
        Step::Building => {}
        Step::Forward => {
            for exchange in &journal.exchanges {
                if let Some(parent) = parent_if_any(exchange)? {
                    keep_what_was_not_captured(&parent, exchange)?;
                }
            }
        }
        Step::Back => take_back(store, journal)?,
    }
    for exchange in &journal.exchanges {
        if let Some(parent) = parent_if_any(exchange)? {
            parent.remove_tree(&exchange.staged)?;
            parent.remove_tree(aside(exchange))?;
            // Before the journal goes: without it no one would know of what a power cut leaves.
            store.durable().dir(&parent)?;
        }
    }
    store.end_journal(&journal.instance_id)
}

/// Undoes the exchanges that were made.
fn take_back(store: &Store, journal: &Journal) -> Result<()> {
    for exchange in &journal.exchanges {
        let Some(parent) = parent_if_any(exchange)? else { continue };
        if is_made(&parent, exchange)? {
            parent.exchange(&exchange.staged, &exchange.target)?;
            store.durable().dir(&parent)?;
        }
    }
    Ok(())
}

/// Renames what was built, so that a journal that says forward leads to none of it while it is removed: what is half
/// gone would be exchanged as if it were whole.
fn set_aside(store: &Store, journal: &Journal) -> Result<()> {
    for exchange in &journal.exchanges {
        let Some(parent) = parent_if_any(exchange)? else { continue };
        if parent.stat(&exchange.staged)?.is_some() {
            parent.rename(&exchange.staged, &parent, aside(exchange))?;
            store.durable().dir(&parent)?;
        }
    }
    Ok(())
}

/// The name of what was built and is not to be put into place any more.
fn aside(exchange: &Exchange) -> String {
    format!("{}.undone", exchange.staged)
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
mod tests;
