//! Journals of restores and forks: which siblings were built, which are being put into place, and in which direction.
//! One whose owner died is carried on from its journal, forward or back, by the next opener.
//!
//! And what a restore or a fork has put into place, so that a later load can tell that it is still there and untouched.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::durable::{Durable, UNFLUSHED};
use super::{Store, json};
use crate::error::{Error, Kind, Result};
use crate::sys::dir::Dir;

/// The journal of one restore or fork. There is at most one for an instance, whose turn its owner has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub(crate) instance_id: String,
    #[serde(default)]
    pub(crate) purpose: Purpose,
    pub(crate) step: Step,
    pub(crate) exchanges: Vec<Exchange>,
}

/// What the siblings are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// They take the place of the live ones of an instance.
    #[default]
    Restore,
    /// They become a new instance, of which nothing is there before. Its registration is what makes it one.
    Fork,
}

/// How far a restore is: what is to be done with its siblings if no one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Being built: they are removed.
    Building,
    /// Whole and on the disk: they are exchanged with the live ones, and those are removed. Of a fork that is not
    /// registered yet, all are removed.
    Forward,
    /// An exchange failed: those that were made are undone.
    Back,
}

/// A sibling that takes the place of a live directory or disk, or an empty one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// The directory that holds both.
    pub(crate) parent: PathBuf,
    /// The inode of that: another one is what a file system that is not mounted leaves there. `None` in a fork, of which
    /// nothing is ever taken back.
    #[serde(default)]
    pub(crate) parent_inode: Option<u64>,
    pub(crate) staged: String,
    pub(crate) target: String,
    /// The inode of what was built: where that is the target's, the exchange was made. 0 while building.
    pub(crate) inode: u64,
}

/// What a restore put into place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    pub(crate) instance_id: String,
    pub(crate) snapshot_id: String,
    /// When, in clock ticks of this boot: a VMM that started earlier has other files open.
    pub(crate) boot_id: String,
    pub(crate) ticks: u64,
    pub(crate) files: Vec<PlacedFile>,
    /// Whether guest memory is among the files. Without it, only a page server can give it to the VMM.
    #[serde(default = "yes")]
    pub(crate) has_memory: bool,
    /// Which copy of the memory this is; `None` where that is counted when the guest runs.
    #[serde(default)]
    pub(crate) generation: Option<u64>,
}

fn yes() -> bool {
    true
}

/// A file as it was put into place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlacedFile {
    pub(crate) path: PathBuf,
    pub(crate) inode: u64,
    pub(crate) size_bytes: u64,
    pub(crate) modified_ns: i128,
}

impl Store {
    /// Makes a journal, or its next step, durable. The caller has the turn of its instance.
    pub(crate) fn write_journal(&self, journal: &Journal) -> Result<()> {
        write_note(self.durable, &self.private()?.journals, &journal.instance_id, journal)
    }

    /// Forgets a journal: nothing of its restore is left to do.
    pub(crate) fn end_journal(&self, instance_id: &str) -> Result<()> {
        let journals = &self.private()?.journals;
        journals.unlink(file_name(instance_id))?;
        self.durable.dir(journals)
    }

    /// The instances whose restore has not come to its end.
    pub(crate) fn journals(&self) -> Result<Vec<String>> {
        let entries = self.private()?.journals.entries()?;
        let names = entries.iter().filter_map(|entry| entry.name.to_str()?.strip_suffix(".json"));
        Ok(names.filter(|name| !name.starts_with('.')).map(str::to_owned).collect())
    }

    pub(crate) fn journal(&self, instance_id: &str) -> Result<Option<Journal>> {
        read_note(&self.private()?.journals, instance_id)
    }

    /// Where the journal of an instance is, for messages.
    pub(crate) fn journal_path(&self, instance_id: &str) -> Result<PathBuf> {
        Ok(self.private()?.journals.join(file_name(instance_id)))
    }

    /// Remembers what was put into place for an instance. The caller has its turn. Not flushed: it says nothing after
    /// the boot in which it was written.
    pub(crate) fn write_placed(&self, placed: &Placed) -> Result<()> {
        write_note(UNFLUSHED, &self.private()?.placed, &placed.instance_id, placed)
    }

    /// What was put into place. A power cut may have left no more than a piece of it, which says as little as none.
    pub(crate) fn placed(&self, instance_id: &str) -> Result<Option<Placed>> {
        match read_note(&self.private()?.placed, instance_id) {
            Err(error) if error.kind() == Kind::Corrupt => Ok(None),
            placed => placed,
        }
    }

    /// Forgets what was put into place: from now on a guest may write to it.
    pub(crate) fn end_placed(&self, instance_id: &str) -> Result<()> {
        self.private()?.placed.unlink(file_name(instance_id))
    }

    /// Removes notes that dead writers had not finished.
    pub(crate) fn clear_dead_notes(&self) -> Result<()> {
        let private = self.private()?;
        for dir in [&private.journals, &private.placed] {
            for entry in dir.entries()? {
                let Some(instance) = entry.name.to_str().and_then(|name| name.strip_prefix('.')) else {
                    continue;
                };
                // Held while removing: whoever writes one has the turn.
                if let Ok(Some(_turn)) = self.try_turn(instance) {
                    dir.unlink(&entry.name)?;
                }
            }
        }
        Ok(())
    }
}

fn write_note<T: Serialize>(durable: Durable, dir: &Dir, instance_id: &str, note: &T) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(note)
        .map_err(|e| Error::new(Kind::Internal, format!("cannot write a note of a restore: {e}")))?;
    durable.replace(dir, &file_name(instance_id), &bytes, dir, &format!(".{instance_id}"))
}

fn read_note<T: DeserializeOwned>(dir: &Dir, instance_id: &str) -> Result<Option<T>> {
    let name = file_name(instance_id);
    let Some(file) = dir.read_if_any(&name)? else { return Ok(None) };
    let path = dir.join(&name);
    serde_json::from_value(json::read(&file, &path)?).map(Some).map_err(|e| json::damaged(&path, e))
}

fn file_name(instance_id: &str) -> String {
    format!("{instance_id}.json")
}
