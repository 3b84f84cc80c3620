//! The first step: the files of a snapshot take the place of the instance's, which stays as it was until they are
//! whole and on the disk.

use std::path::{Path, PathBuf};

use super::copy::{self, Target};
use super::exchange::{exchange_all, finish};
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::instances::Found;
use crate::store::Store;
use crate::store::journals::{Exchange, Journal, Placed, PlacedFile, Step};
use crate::store::sidecar::Sidecar;
use crate::sys::dir::Dir;
use crate::sys::process;
use crate::types::{RestoreTarget, Snapshot, new_id};

pub(super) fn place(
    hm: &Hypeman,
    found: &Found,
    snapshot: &Snapshot,
    target: RestoreTarget,
    is_paged: bool,
    call: &mut Call<'_>,
) -> Result<()> {
    let store = hm.writable_store()?;
    let disks =
        Sidecar::read(&store.snapshot_dir(&snapshot.id)?)?.map(|sidecar| sidecar.disks).unwrap_or_default();
    let places = copy::targets(found, &disks, is_paged)?;
    let suffix = new_id()?;
    let mut journal = Journal { instance_id: found.id.clone(), step: Step::Building, exchanges: Vec::new() };
    for place in &places {
        journal.exchanges.push(exchange_for(place, &suffix)?);
    }

    store.end_placed(&found.id)?;
    store.write_journal(&journal)?;
    let built = build(hm, snapshot, &places, &mut journal, target, call).and_then(|files| {
        call.check()?;
        exchange_all(store, &mut journal)?;
        Ok(files)
    });
    match built {
        Ok(files) => remember(store, found, snapshot, &journal, files),
        Err(error) => {
            // What an exchange left is brought to its end by it; what was only built is removed here.
            if journal.step == Step::Building {
                let _ = finish(store, &journal);
            }
            Err(error.about(&found.id))
        }
    }
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
    match directory.stat(name)? {
        None => return refuse("is missing; make it, empty, so that it can be restored"),
        Some(stat) if stat.device != directory.stat_self()?.device => {
            return refuse(
                "is a mount point, which cannot be exchanged; restore into a directory beneath it",
            );
        }
        Some(_) => {}
    }
    let staged = format!(".{name}.libhypeman-{suffix}");
    Ok(Exchange { parent: parent.to_owned(), staged, target: name.to_owned(), inode: 0 })
}

/// Builds every sibling, flushes it, and notes its inode. Returns the files of the guest, by their final paths.
fn build(
    hm: &Hypeman,
    snapshot: &Snapshot,
    places: &[Target],
    journal: &mut Journal,
    target: RestoreTarget,
    call: &mut Call<'_>,
) -> Result<Vec<PathBuf>> {
    let store = hm.writable_store()?;
    let guest = store.guest(&snapshot.id)?;
    let mut files = Vec::new();
    for (place, exchange) in places.iter().zip(&mut journal.exchanges) {
        let parent = Dir::open(&exchange.parent)?;
        files.extend(copy::build(hm, &guest, place, &parent, &exchange.staged, target, call)?);
        let built = parent.stat(&exchange.staged)?;
        exchange.inode = built.map(|stat| stat.inode).ok_or_else(|| {
            Error::new(Kind::Internal, format!("{} vanished", parent.join(&exchange.staged).display()))
        })?;
        store.durable().dir(&parent)?;
    }
    Ok(files)
}

/// Notes what lies in place now, so that a load can tell whether it still does.
fn remember(
    store: &Store,
    found: &Found,
    snapshot: &Snapshot,
    journal: &Journal,
    files: Vec<PathBuf>,
) -> Result<()> {
    debug_assert_eq!(journal.instance_id, found.id);
    let stat = |path: &Path| -> Result<PlacedFile> {
        let (parent, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let stat = Dir::open(parent)?.stat(Path::new(name))?;
        let stat =
            stat.ok_or_else(|| Error::new(Kind::Io, format!("{} vanished", path.display())).at(path))?;
        let (inode, size_bytes, modified_ns) = (stat.inode, stat.size_bytes, stat.modified_ns);
        Ok(PlacedFile { path: path.to_owned(), inode, size_bytes, modified_ns })
    };
    let failed = |e: std::io::Error| Error::io("read", "/proc", &e);
    store.write_placed(&Placed {
        instance_id: found.id.clone(),
        snapshot_id: snapshot.id.clone(),
        boot_id: process::boot_id().map_err(failed)?,
        ticks: process::now_ticks().map_err(failed)?,
        files: files.iter().map(|path| stat(path)).collect::<Result<_>>()?,
    })
}
