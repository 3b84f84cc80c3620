//! Keeping the catalogue fresh: what to look at, and looking at it.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Arc, PoisonError};

use super::read::{Found, read_all};
use super::{CHANGES, Catalogue};
use crate::error::{Error, Result};
use crate::store::{RECORD, Store};
use crate::sys::dir::{Dir, EntryKind};
use crate::sys::version::Version;
use crate::sys::watch::Watch;
use crate::types::{Snapshot, Timestamp, is_safe_id};

/// Records looked at for foreign rewrites on each call: under half a millisecond.
const SWEEP: usize = 512;

/// So many entries are read and compared in half a millisecond, which is not worth one of a user's watches.
const WORTH_A_WATCH: usize = 1000;

/// How far the disk was looked at.
#[derive(Debug, Default)]
pub(super) struct Looks {
    directory: Directory,
    /// How much of which `changes` file was read.
    changes: Option<(u64, u64)>,
    /// Snapshots without a good record, or with one that just changed: each call looks at them.
    pending: BTreeSet<String>,
    /// The snapshot after which the sweep goes on.
    swept: Option<Arc<Snapshot>>,
}

/// How it shows that snapshots were added or removed since the directory was read.
#[derive(Debug, Default)]
enum Directory {
    /// It does not.
    #[default]
    Unknown,
    /// The kernel tells.
    Watched(Watch),
    /// It has another version: where there is no watch, or none to be had.
    Seen(Version),
}

impl Store {
    /// Brings the catalogue up to date with the disk.
    pub(super) fn refresh(&self, snapshots: &Dir) -> Result<()> {
        let catalogue = &self.catalogue;
        // A panic in another call left a cache, which is checked below as ever.
        let mut looks = catalogue.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let refreshed = self.look(&mut looks, snapshots);
        if refreshed.is_err() {
            // What was noted and not read yet is found by looking at everything.
            looks.changes = None;
            looks.directory = Directory::Unknown;
            catalogue.table_mut().doubt_all();
        }
        if !catalogue.table().is_arranged() {
            catalogue.table_mut().arrange();
        }
        refreshed
    }

    fn look(&self, looks: &mut Looks, snapshots: &Dir) -> Result<()> {
        let catalogue = &self.catalogue;
        let mut ids = self.noted(looks)?;
        if let Some(came_and_went) = looks.directory.news(snapshots)? {
            let safe = came_and_went.into_iter().filter_map(|name| name.into_string().ok());
            ids.extend(safe.filter(|id| is_safe_id(id)));
        } else {
            ids.extend(self.compare(looks, snapshots)?);
        }
        let read = ids.clone();
        catalogue.take_in(looks, read_all(snapshots, ids.into_iter().collect()))?;
        let mut doubtful = catalogue.sweep(looks, snapshots);
        doubtful.retain(|id| !read.contains(id));
        catalogue.take_in(looks, read_all(snapshots, doubtful))
    }

    /// The ids that were noted since the last call. An unknown `changes` file means that everything is looked at.
    fn noted(&self, looks: &mut Looks) -> Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        let Some(private) = &self.private else { return Ok(ids) };
        let file = private.catalogue.stat(CHANGES)?;
        let now = file.map(|file| (file.inode, file.size_bytes));
        let (Some((inode, from)), Some((same, size))) = (looks.changes, now) else {
            if looks.changes != now {
                self.forget(looks, now);
            }
            return Ok(ids);
        };
        if inode != same || from > size {
            self.forget(looks, now);
            return Ok(ids);
        }
        if from == size {
            return Ok(ids);
        }
        let path = private.catalogue.join(CHANGES);
        let failed = |e: std::io::Error| Error::io("read", &path, &e);
        let mut file = private.catalogue.read(CHANGES)?;
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        // Only whole lines: the rest is being written.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        looks.changes = Some((inode, from + whole as u64));
        let lines = text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n');
        let noted = lines.filter_map(|line| std::str::from_utf8(line).ok());
        ids.extend(noted.filter(|id| is_safe_id(id)).map(str::to_owned));
        Ok(ids)
    }

    /// Begins anew with another `changes` file. Records are read after this, so its notes up to here say nothing new.
    fn forget(&self, looks: &mut Looks, changes: Option<(u64, u64)>) {
        looks.changes = changes;
        looks.directory = Directory::Unknown;
        self.catalogue.table_mut().doubt_all();
    }

    /// Reads the directory, and returns the ids that are new, gone, or to be read again.
    fn compare(&self, looks: &mut Looks, snapshots: &Dir) -> Result<Vec<String>> {
        // Before reading: what happens meanwhile is looked at twice.
        let is_worth_a_watch = self.catalogue.table().len() >= WORTH_A_WATCH;
        looks.directory = Directory::look(snapshots, self.trusts_times && is_worth_a_watch)?;
        let entries = snapshots.entries()?.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
        let names = entries.filter_map(|entry| entry.name.into_string().ok());
        let listed: HashSet<String> = names.filter(|id| is_safe_id(id)).collect();
        let table = self.catalogue.table();
        let mut ids = table.missing_from(&listed);
        ids.extend(listed.into_iter().filter(|id| table.version(id).is_none()));
        Ok(ids)
    }
}

impl Directory {
    /// Looks at the directory as it is now.
    fn look(snapshots: &Dir, may_watch: bool) -> Result<Self> {
        if let Some(watch) = may_watch.then(|| Watch::on(snapshots)).flatten() {
            return Ok(Self::Watched(watch));
        }
        let now_ns = Timestamp::now().unix_nanos();
        let version = snapshots.own_version()?;
        Ok(if version.is_settled(now_ns) { Self::Seen(version) } else { Self::Unknown })
    }

    /// The names that came and went since, or none where the directory must be read to know.
    fn news(&self, snapshots: &Dir) -> Result<Option<Vec<OsString>>> {
        match self {
            Self::Unknown => Ok(None),
            Self::Watched(watch) => Ok(watch.news()),
            Self::Seen(version) => Ok((snapshots.own_version()? == *version).then(Vec::new)),
        }
    }
}

impl Catalogue {
    /// Takes in what was read.
    ///
    /// # Errors
    /// Only where this process is out of descriptors or memory: then nothing can be said of any record. A record that
    /// is damaged, or cannot be read, is left out until it can.
    fn take_in(&self, looks: &mut Looks, read: Vec<(String, Found)>) -> Result<()> {
        if read.is_empty() {
            return Ok(());
        }
        let mut table = self.table_mut();
        let mut out = None;
        for (id, found) in read {
            match found {
                Found::Nothing => {
                    looks.pending.remove(&id);
                    table.remove(&id);
                }
                Found::Record(version, snapshot) => {
                    if version.is_some() && snapshot.is_some() {
                        looks.pending.remove(&id);
                    } else {
                        looks.pending.insert(id.clone());
                    }
                    table.put(id, version, snapshot);
                }
                Found::Unreadable(error) => {
                    table.doubt(&id);
                    looks.pending.insert(id);
                    let is_out = matches!(error.errno(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM));
                    out = out.or(Some(error).filter(|_| is_out));
                }
            }
        }
        out.map_or(Ok(()), Err)
    }

    /// Looks at the next records for foreign rewrites, and at those that are pending; returns whose are to be read.
    fn sweep(&self, looks: &mut Looks, snapshots: &Dir) -> Vec<String> {
        if !self.table().is_arranged() {
            self.table_mut().arrange();
        }
        let table = self.table();
        let next = table.after(looks.swept.as_deref(), SWEEP);
        looks.swept = next.last().filter(|_| next.len() == SWEEP).map(Arc::clone);
        let ids = looks.pending.iter().chain(next.iter().map(|snapshot| &snapshot.id));
        let known: Vec<_> = ids.map(|id| (id.clone(), table.version(id))).collect();
        drop(table);
        let has_changed = |(id, known): &(String, Option<Version>)| match snapshots
            .version_at_a_glance(format!("{id}/{RECORD}"))
        {
            Ok(now) => known.is_none() || now != *known,
            // What cannot be looked at now is no change.
            Err(_) => false,
        };
        known.into_iter().filter(has_changed).map(|(id, _)| id).collect()
    }
}
