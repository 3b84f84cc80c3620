//! The first step: the files of a snapshot take the place of the instance's, which stays as it was until they are
//! whole and on the disk.

use std::path::{Path, PathBuf};

use super::compare;
use super::copy::{self, Extent, Payload, Target};
use super::exchange::{exchange_all, finish};
use super::moved;
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::instances::Found;
use crate::store::Store;
use crate::store::checksums::Checksums;
use crate::store::journals::{Exchange, Journal, Placed, PlacedFile, Purpose, Step};
use crate::store::sidecar::Sidecar;
use crate::sys::dir::Dir;
use crate::sys::process;
use crate::types::{Duplicates, Snapshot, new_id};

/// Puts them there, and returns which copy of the memory that is, if any is among them.
pub(super) fn place(
    hm: &Hypeman,
    found: &Found,
    snapshot: &Snapshot,
    extent: Extent,
    duplicates: Duplicates,
    call: &mut Call<'_>,
) -> Result<Option<u64>> {
    let store = hm.writable_store()?;
    let dir = store.snapshot_dir(&snapshot.id)?;
    let disks = Sidecar::read_sealed(&dir)?.map(|sidecar| sidecar.disks).unwrap_or_default();
    let checksums = compare::lists(&snapshot.id, &dir)?;
    let moved = moved::since_capture(found, &store.record(&snapshot.id)?, &disks);
    let places = copy::targets(found, snapshot, &disks, moved)?;
    let suffix = new_id()?;
    let mut journal = Journal {
        instance_id: found.id.clone(),
        purpose: Purpose::Restore,
        step: Step::Building,
        exchanges: Vec::new(),
    };
    for place in &places {
        journal.exchanges.push(exchange_for(place, &suffix)?);
    }

    store.end_placed(&found.id)?;
    store.write_journal(&journal)?;
    let placed =
        build(hm, snapshot, checksums.as_ref(), &places, &mut journal, extent, call).and_then(|files| {
            call.check()?;
            let generation = match extent {
                Extent::WithoutImage => None,
                Extent::WithoutMemory | Extent::Whole => {
                    Some(store.next_generation(&snapshot.id, duplicates, call.limit())?)
                }
            };
            // Noted before it is so: a note of files that did not come into place says nothing of those that are there.
            remember(store, &journal, snapshot, files, extent, generation)?;
            exchange_all(store, &mut journal)?;
            Ok(generation)
        });
    placed.map_err(|error| {
        // What an exchange left is brought to its end by it; what was only built is removed here.
        if journal.step == Step::Building {
            let _ = finish(store, &journal);
        }
        error.about(&found.id)
    })
}

/// The sibling that will be built for `target`, on its own file system.
fn exchange_for(target: &Target, suffix: &str) -> Result<Exchange> {
    let path = &target.path;
    let refuse =
        |what: &str| Err(Error::new(Kind::InvalidState, format!("{} {what}", path.display())).at(path));
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return refuse("cannot be restored: it has no parent directory");
    };
    let directory = Dir::open(parent)?;
    let parent_stat = directory.stat_self()?;
    match directory.stat(name)? {
        None => return refuse("is missing; make it, empty, so that it can be restored"),
        Some(stat) if stat.device != parent_stat.device => {
            return refuse(
                "is a mount point, which cannot be exchanged; restore into a directory beneath it",
            );
        }
        Some(_) => {}
    }
    Ok(Exchange { parent_inode: Some(parent_stat.inode), ..sibling(parent, name, suffix) })
}

/// The hidden sibling of `name` in `parent` in which what is to be there is built.
pub(in crate::snapshots) fn sibling(parent: &Path, name: &str, suffix: &str) -> Exchange {
    let staged = format!(".{name}.libhypeman-{suffix}");
    Exchange { parent: parent.to_owned(), parent_inode: None, staged, target: name.to_owned(), inode: 0 }
}

/// Builds every sibling, flushes it, and notes its inode. Its entry is flushed when it has been exchanged: one that a
/// power cut takes before that leaves the instance as it was.
///
/// Returns the files of the guest, by their final paths.
pub(in crate::snapshots) fn build(
    hm: &Hypeman,
    snapshot: &Snapshot,
    checksums: Option<&Checksums>,
    places: &[Target],
    journal: &mut Journal,
    extent: Extent,
    call: &mut Call<'_>,
) -> Result<Vec<PathBuf>> {
    let store = hm.writable_store()?;
    let guest = store.guest(&snapshot.id)?;
    let payload = Payload { guest: &guest, checksums };
    let mut files = Vec::new();
    for (place, exchange) in places.iter().zip(&mut journal.exchanges) {
        let parent = Dir::open(&exchange.parent)?;
        files.extend(copy::build(hm, payload, place, &parent, &exchange.staged, extent, call)?);
        let built = parent.stat(&exchange.staged)?;
        exchange.inode = built.map(|stat| stat.inode).ok_or_else(|| {
            Error::new(Kind::Internal, format!("{} vanished", parent.join(&exchange.staged).display()))
        })?;
    }
    Ok(files)
}

/// Notes what is about to be in place, by what was built, so that a load can tell whether it still is.
pub(in crate::snapshots) fn remember(
    store: &Store,
    journal: &Journal,
    snapshot: &Snapshot,
    files: Vec<PathBuf>,
    extent: Extent,
    generation: Option<u64>,
) -> Result<()> {
    let stat = |path: PathBuf| -> Result<PlacedFile> {
        let staged = journal.exchanges.iter().find_map(|exchange| {
            let rest = path.strip_prefix(exchange.parent.join(&exchange.target)).ok()?;
            Some((&exchange.parent, Path::new(&exchange.staged).join(rest)))
        });
        let stat = match staged {
            Some((parent, staged)) => Dir::open(parent)?.stat(staged)?,
            None => None,
        };
        let stat =
            stat.ok_or_else(|| Error::new(Kind::Io, format!("{} vanished", path.display())).at(&path))?;
        let (inode, size_bytes, modified_ns) = (stat.inode, stat.size_bytes, stat.modified_ns);
        Ok(PlacedFile { path, inode, size_bytes, modified_ns })
    };
    store.write_placed(&Placed {
        instance_id: journal.instance_id.clone(),
        snapshot_id: snapshot.id.clone(),
        boot_id: process::boot_id()?,
        ticks: process::now_ticks()?,
        files: files.into_iter().map(stat).collect::<Result<_>>()?,
        has_memory: extent == Extent::Whole,
        generation,
    })
}
