//! The catalogue: every good record of the directory, in memory, so that listing does not parse them on each call.
//!
//! A cache, never the truth. It is made when first asked for and kept fresh by three looks:
//! 1. *Our own writers*, in any process, append the id that they changed to `catalogue/changes`; the part of that
//!    file that is new is read on each call, and those records are read again.
//! 2. *Foreign adds and removes* change the mtime of `snapshots/`; then the directory is read and compared.
//! 3. *Foreign rewrites* leave no such trace: each call looks at the next [`SWEEP`] records and reads those again
//!    whose inode, size or times differ. A store of n records is swept whole by n / 512 calls.
//!
//! `get` reads its record from the disk and needs none of this.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::sync::{Arc, PoisonError};

use super::record::Record;
use super::{RECORD, Store};
use crate::error::{Error, Kind, Result};
use crate::sys::dir::{Dir, EntryKind, Stat};
use crate::types::{Snapshot, SnapshotFilter, is_safe_id};

/// The file that lists ids, a line each, as their snapshots change.
pub(super) const CHANGES: &str = "changes";

/// Records looked at for foreign rewrites on each call: under a millisecond.
const SWEEP: usize = 512;

/// About 160,000 changes.
const LONG_CHANGES_BYTES: u64 = 4 << 20;

/// Times on a file system advance in steps of up to 10 ms: what changed this recently may change again unseen.
const RACY_NS: i128 = 20_000_000;

#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// By id. Damaged records are here too, without a snapshot, so that they are not parsed on each call.
    entries: BTreeMap<String, Entry>,
    /// Those among them without a good record: its writer may be about to finish it, so each call looks.
    pending: BTreeSet<String>,
    /// What `snapshots/` was when it was last read, unless it had changed just before.
    directory: Option<Stat>,
    /// How much of which `changes` file was read.
    changes: Option<(u64, u64)>,
    /// The id after which the sweep goes on.
    swept: String,
}

#[derive(Debug)]
struct Entry {
    file: Option<Stat>,
    snapshot: Option<Arc<Snapshot>>,
}

impl Store {
    /// The snapshots that match, newest first, then by id.
    pub(crate) fn list(&self, filter: &SnapshotFilter) -> Result<Vec<Arc<Snapshot>>> {
        let Some(snapshots) = &self.snapshots else { return Ok(Vec::new()) };
        // A panic in another call left a cache, which is checked below as ever.
        let mut catalogue = self.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.refresh(&mut catalogue, snapshots) {
            // What was noted and not read yet is found by looking at everything.
            catalogue.changes = None;
            return Err(error);
        }
        let mut found: Vec<_> = catalogue
            .entries
            .values()
            .filter_map(|entry| entry.snapshot.as_ref())
            .filter(|snapshot| filter.matches(snapshot))
            .map(Arc::clone)
            .collect();
        drop(catalogue);
        found.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }

    /// Tells the catalogues of all handles that snapshot `id` was added, changed or removed.
    pub(super) fn note_change(&self, id: &str) {
        // A note that cannot be written delays what others see until their sweep comes by; it loses nothing.
        let noted = self.private().and_then(|private| private.catalogue.append(CHANGES));
        if let Ok(mut file) = noted {
            // One write of a short line is atomic at the end of a file.
            let _ = file.write_all(format!("{id}\n").as_bytes());
        }
    }

    /// Begins the list of changes anew once it is long; other handles then look at everything once.
    pub(crate) fn trim_changes(&self) -> Result<()> {
        let catalogue = &self.private()?.catalogue;
        match catalogue.stat(CHANGES)? {
            Some(stat) if stat.size_bytes > LONG_CHANGES_BYTES => catalogue.unlink(CHANGES),
            _ => Ok(()),
        }
    }

    fn refresh(&self, catalogue: &mut Catalogue, snapshots: &Dir) -> Result<()> {
        for id in self.changed_ids(catalogue)? {
            reread(catalogue, snapshots, &id)?;
        }
        let now = snapshots.stat_self()?;
        if catalogue.directory != Some(now) {
            self.compare(catalogue, snapshots)?;
            let clock = crate::types::Timestamp::now().unix_nanos();
            catalogue.directory = Some(now).filter(|stat| clock - stat.modified_ns > RACY_NS);
        }
        sweep(catalogue, snapshots)
    }

    /// The ids that were noted since the last call. An unknown `changes` file means that everything is looked at.
    fn changed_ids(&self, catalogue: &mut Catalogue) -> Result<Vec<String>> {
        let Some(private) = &self.private else { return Ok(Vec::new()) };
        let Some(mut file) = private.catalogue.read_if_any(CHANGES)? else {
            catalogue.changes = None;
            catalogue.directory = None;
            return Ok(Vec::new());
        };
        let path = private.catalogue.join(CHANGES);
        let failed = |e: std::io::Error| Error::io("read", &path, &e);
        let Some(stat) = private.catalogue.stat(CHANGES)? else { return Ok(Vec::new()) };
        let from = match catalogue.changes {
            Some((inode, read)) if inode == stat.inode && read <= stat.size_bytes => read,
            _ => {
                // Records are read after this, so the notes up to here say nothing new.
                catalogue.changes = Some((stat.inode, stat.size_bytes));
                catalogue.directory = None;
                catalogue.entries.values_mut().for_each(|entry| entry.file = None);
                return Ok(Vec::new());
            }
        };
        if from == stat.size_bytes {
            return Ok(Vec::new());
        }
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        // Only whole lines: the rest is being written.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        catalogue.changes = Some((stat.inode, from + whole as u64));
        let lines = text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
        Ok(lines
            .filter_map(|line| std::str::from_utf8(line).ok())
            .filter(|id| is_safe_id(id))
            .map(str::to_owned)
            .collect())
    }

    /// Reads the directory: drops what is gone, reads what is new or was marked.
    fn compare(&self, catalogue: &mut Catalogue, snapshots: &Dir) -> Result<()> {
        let mut old = std::mem::take(&mut catalogue.entries);
        let mut fresh = Vec::new();
        for entry in snapshots.entries()? {
            let Some(id) = entry.name.to_str().filter(|id| is_safe_id(id)) else { continue };
            if entry.kind != EntryKind::Directory {
                continue;
            }
            let known = old.remove(id);
            if known.as_ref().is_none_or(|known| known.file.is_none()) {
                fresh.push(id.to_owned());
            }
            if let Some(known) = known {
                catalogue.entries.insert(id.to_owned(), known);
            }
        }
        for id in old.into_keys() {
            catalogue.pending.remove(&id);
        }
        for id in fresh {
            reread(catalogue, snapshots, &id)?;
        }
        Ok(())
    }
}

/// Looks at the next records for foreign rewrites, and at those that are not good yet.
fn sweep(catalogue: &mut Catalogue, snapshots: &Dir) -> Result<()> {
    let after = (Bound::Excluded(catalogue.swept.clone()), Bound::Unbounded);
    let next: Vec<String> =
        catalogue.entries.range::<String, _>(after).take(SWEEP).map(|(id, _)| id.clone()).collect();
    catalogue.swept =
        if next.len() < SWEEP { String::new() } else { next.last().cloned().unwrap_or_default() };
    for id in catalogue.pending.iter().cloned().chain(next).collect::<Vec<_>>() {
        // What cannot be looked at now is no change.
        let Ok(now) = snapshots.stat(format!("{id}/{RECORD}")) else { continue };
        if catalogue.entries.get(&id).and_then(|entry| entry.file) != now {
            reread(catalogue, snapshots, &id)?;
        }
    }
    Ok(())
}

/// Reads one record again; removes the entry when its directory is gone.
///
/// # Errors
/// Only where this process is out of descriptors or memory: then nothing can be said of any record. A record that
/// is damaged, or cannot be read, is left out until it can.
fn reread(catalogue: &mut Catalogue, snapshots: &Dir, id: &str) -> Result<()> {
    let read = snapshots.dir(id).and_then(|dir| {
        // Looked at before reading: a change in between shows as a difference later.
        let file = dir.stat(RECORD)?;
        Ok((file, Record::read(&dir, id)))
    });
    let (file, snapshot, failure) = match read {
        Ok((file, Ok(record))) => (file, Some(Arc::new(record.snapshot)), None),
        Ok((file, Err(error))) if error.kind() == Kind::Corrupt => (file, None, None),
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            catalogue.entries.remove(id);
            catalogue.pending.remove(id);
            return Ok(());
        }
        // Not known to be damaged: what was known stays, and the next call looks again.
        Ok((_, Err(error))) | Err(error) => {
            let known = catalogue.entries.remove(id).and_then(|entry| entry.snapshot);
            (None, known, Some(error))
        }
    };
    match (&file, &snapshot) {
        (Some(_), Some(_)) => catalogue.pending.remove(id),
        _ => catalogue.pending.insert(id.to_owned()),
    };
    catalogue.entries.insert(id.to_owned(), Entry { file, snapshot });
    let is_out = |error: &Error| matches!(error.errno(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM));
    failure.filter(is_out).map_or(Ok(()), Err)
}
