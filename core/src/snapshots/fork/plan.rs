//! What a fork consists of and where it goes. Everything that can be refused is refused here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::instances::{Found, all};
use crate::snapshots::restore::copy::{Target, max_memory_bytes};
use crate::snapshots::restore::moved;
use crate::snapshots::restore::place::sibling;
use crate::store::Store;
use crate::store::journals::Exchange;
use crate::store::json;
use crate::store::record::Record;
use crate::store::registry::{ForkedFrom, Registration, SERVER_METADATA};
use crate::store::sidecar::{OutsideDisk, Sidecar};
use crate::sys::dir::Dir;
use crate::types::{Disk, ForkSnapshot, Timestamp};

pub(super) struct Plan {
    pub(super) registration: Registration,
    pub(super) targets: Vec<Target>,
    /// The siblings in which these are built, each beside its place.
    pub(super) exchanges: Vec<Exchange>,
}

impl Plan {
    pub(super) fn make(store: &Store, record: &Record, request: &ForkSnapshot, id: &str) -> Result<Self> {
        let snapshot = &record.snapshot;
        snapshot.source_hypervisor.check_known()?;
        let sidecar = Sidecar::read(&store.snapshot_dir(&snapshot.id)?)?;
        let (outside, inside) =
            sidecar.map(|sidecar| (sidecar.disks, sidecar.inside_disks)).unwrap_or_default();
        let directory = directory(store, request, id)?;
        check_disks(request, &outside, &directory)?;

        let mut disks: Vec<_> = inside
            .into_iter()
            .map(|disk| Disk { path: directory.join(&disk.path), readonly: disk.readonly })
            .collect();
        let (mut mapped, mut elsewhere, mut targets) = (BTreeMap::new(), Vec::new(), Vec::new());
        for disk in &outside {
            let source = PathBuf::from(&disk.source);
            let path = match request.disks.get(&source) {
                None => directory.join(&disk.payload),
                Some(to) => {
                    elsewhere.push(PathBuf::from(&disk.payload));
                    // One that is there is read-only, and used as it is.
                    if !to.exists() {
                        targets.push(Target::disk(to.clone(), &disk.payload));
                    }
                    mapped.insert(source, to.clone());
                    to.clone()
                }
            };
            disks.push(Disk { path, readonly: disk.readonly });
        }
        if is_identity(&store.guest(&snapshot.id)?, &snapshot.source_instance_id) {
            elsewhere.push(PathBuf::from(SERVER_METADATA));
        }
        let registration = Registration {
            id: id.to_owned(),
            name: request.name.clone(),
            hypervisor: snapshot.source_hypervisor.clone(),
            created_at: Timestamp::now(),
            api_socket: request.restore.api_socket.clone(),
            directory: Some(directory.clone()),
            disks,
            compression: None,
            staging_directory: None,
            staging_directory_in_vmm: None,
            exclusive_snapshots: false,
            forked_from: Some(ForkedFrom { snapshot_id: snapshot.id.clone(), disks: mapped }),
        };
        let moved = moved::since_capture(&Found::registered(registration.clone()), record, &outside);
        let source = all(store)?.into_iter().find(|one| one.id == snapshot.source_instance_id);
        let trusted_links = source.and_then(|source| source.directory.clone());
        targets.insert(
            0,
            Target {
                path: directory,
                disk: None,
                elsewhere,
                trusted_links,
                moved,
                max_memory_bytes: max_memory_bytes(snapshot),
            },
        );
        let exchanges = targets.iter().map(|target| exchange(&target.path, id)).collect::<Result<_>>()?;
        Ok(Self { registration, targets, exchanges })
    }
}

/// The sibling in which what goes to `path`, where nothing may be, is built.
fn exchange(path: &Path, suffix: &str) -> Result<Exchange> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        let why = format!("{} is no place for a fork", path.display());
        return Err(Error::new(Kind::InvalidRequest, why).at(path));
    };
    let directory = Dir::open(parent).map_err(|error| match error.errno() {
        Some(libc::ENOENT | libc::ENOTDIR) => {
            let why = format!("the directory {} must be there", parent.display());
            Error::new(Kind::InvalidRequest, why).at(parent)
        }
        _ => error,
    })?;
    if directory.stat(name)?.is_some() { Err(taken(path)) } else { Ok(sibling(parent, name, suffix)) }
}

pub(super) fn taken(path: &Path) -> Error {
    let why = format!("{} is there already; a fork makes it, so choose another place", path.display());
    Error::new(Kind::Conflict, why).at(path)
}

fn directory(store: &Store, request: &ForkSnapshot, id: &str) -> Result<PathBuf> {
    let Some(given) = &request.directory else { return Ok(store.ensure_guests()?.join(id)) };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let snapshots = real(&store.path().join("snapshots"));
    if given.parent().is_some_and(|parent| real(parent).starts_with(&snapshots)) {
        let why = format!("{} is where snapshots are; choose another directory", given.display());
        return Err(Error::new(Kind::InvalidRequest, why).at(given));
    }
    Ok(given.clone())
}

/// Refuses places for disks that the snapshot does not have, and places that are taken.
fn check_disks(request: &ForkSnapshot, outside: &[OutsideDisk], directory: &Path) -> Result<()> {
    let refuse = |path: &Path, why: String| Err(Error::new(Kind::InvalidRequest, why).at(path));
    for (from, to) in &request.disks {
        let Some(disk) = outside.iter().find(|disk| Path::new(&disk.source) == from) else {
            let known: Vec<_> = outside.iter().map(|disk| disk.source.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return refuse(
                from,
                format!(
                    "disks: the snapshot has no disk {} from outside the instance directory; it has: {known}",
                    from.display()
                ),
            );
        };
        if to.starts_with(directory) {
            return refuse(
                to,
                format!(
                    "disks: {} is in the fork's directory; leave it out, and the disk goes there",
                    to.display()
                ),
            );
        }
        match to.metadata() {
            Err(_) => {}
            Ok(found) if disk.readonly && found.is_file() => {}
            Ok(_) if disk.readonly => {
                return refuse(to, format!("disks: {} must be a regular file", to.display()));
            }
            Ok(_) => return Err(taken(to)),
        }
    }
    Ok(())
}

/// Tells whether the payload says, to the vendor's server, that it is the instance `source`: a fork is another one.
fn is_identity(guest: &Dir, source: &str) -> bool {
    let Ok(Some(file)) = guest.read_if_any(SERVER_METADATA) else { return false };
    let metadata = json::read(&file, &guest.join(SERVER_METADATA));
    metadata.is_ok_and(|metadata| metadata.get("Id").is_some_and(|id| id == source))
}
