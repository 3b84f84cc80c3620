//! The data directory: where everything lies, and the only code that changes it.
//!
//! ```text
//! guests/{instance}/metadata.json      the vendor's instances
//! snapshots/{id}/snapshot.json         the record (vendor's keys)
//! snapshots/{id}/guest/                the payload
//! snapshots/{id}/libhypeman.json       our sidecar
//! snapshots/{id}/libhypeman.generation how often its memory was handed out
//! snapshots/.libhypeman/
//!     staging/{id}/                    a snapshot that is being made; staging/{id}.json: a record being rewritten
//!     names/{sha256}                   name claims
//!     locks/{id}.snapshot, {id}.instance, processes, registry
//!     intents/{id}.json                a VM that is paused for snapshot {id}
//!     images/{pid}.json                the last image of a VMM process
//!     jobs/{id}                        a compression, or checksums, that must come to an end
//!     instances/{id}.json              registered instances
//!     journals/{instance}.json            a restore or fork under way; placed/{instance}.json: what the last one left
//!     trash/                           what is being deleted
//!     catalogue/changes                ids that changed, for the caches of other handles
//! ```
//!
//! Records are the truth; names, jobs and the catalogue follow from them.

mod catalogue;
pub(crate) mod checksums;
mod durable;
mod generation;
pub(crate) mod handover;
pub(crate) mod images;
pub(crate) mod intents;
mod jobs;
pub(crate) mod journals;
pub(crate) mod json;
pub(crate) mod locks;
mod names;
pub(crate) mod payload;
pub(crate) mod record;
mod records;
pub(crate) mod registry;
pub(crate) mod sidecar;
pub(crate) mod staging;
mod trash;

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::hypeman::Durability;
use crate::log::Log;
use crate::sys::dir::Dir;
use crate::sys::host::is_network_fs;
use crate::types::is_safe_id;

pub(crate) use durable::Durable;

/// The name of a snapshot's record, sidecar and payload within its directory.
pub(crate) const RECORD: &str = "snapshot.json";
pub(crate) const SIDECAR: &str = "libhypeman.json";
pub(crate) const GUEST: &str = "guest";

/// An open data directory.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    root: Dir,
    /// `snapshots/`; absent only in a read-only open of a directory that has none.
    snapshots: Option<Dir>,
    private: Option<Private>,
    durable: Durable,
    /// Nothing may be made here, not even a lock file.
    read_only: bool,
    catalogue: catalogue::Catalogue,
    /// A file that changed has other times, by the clock of this host, and the kernel here hears of every change.
    trusts_times: bool,
    log: Log,
}

/// The directories beneath `snapshots/.libhypeman`, which only libhypeman uses.
#[derive(Debug)]
struct Private {
    staging: Dir,
    names: Dir,
    locks: Dir,
    intents: Dir,
    images: Dir,
    jobs: Dir,
    instances: Dir,
    journals: Dir,
    placed: Dir,
    trash: Dir,
    catalogue: Dir,
}

const PRIVATE: &str = ".libhypeman";

impl Private {
    /// Opens each directory as `open` does.
    fn with(open: impl Fn(&str) -> Result<Dir>) -> Result<Self> {
        Ok(Self {
            staging: open("staging")?,
            names: open("names")?,
            locks: open("locks")?,
            intents: open("intents")?,
            images: open("images")?,
            jobs: open("jobs")?,
            instances: open("instances")?,
            journals: open("journals")?,
            placed: open("placed")?,
            trash: open("trash")?,
            catalogue: open("catalogue")?,
        })
    }
}

impl Store {
    /// Opens `path` for writing, making what is missing.
    pub(crate) fn open(
        path: &Path,
        durability: Durability,
        allow_network_fs: bool,
        log: Log,
    ) -> Result<Self> {
        let advice = |error: Error| match error.kind() {
            Kind::Permission => error.note("or open the data directory read-only"),
            _ => error,
        };
        let (root, above) = Dir::create_root(path).map_err(|error| match error.errno() {
            Some(libc::EEXIST | libc::ENOTDIR) => error.note("the data directory must be a directory"),
            _ => advice(error),
        })?;
        if !allow_network_fs && is_network_fs(path)? {
            return Err(Error::new(
                Kind::NotSupported,
                format!(
                    "{} is on a network file system, where locks cannot be trusted; open it read-only, or set allow_network_fs if this host alone uses it",
                    path.display()
                ),
            )
            .at(path));
        }
        let snapshots = root.ensure_dir("snapshots").map_err(advice)?;
        let own = snapshots.ensure_dir(PRIVATE).map_err(advice)?;
        let private = Private::with(|name| own.ensure_dir(name)).map_err(advice)?;
        let durable = Durable(durability);
        // What was just made must not vanish under the snapshots that will be put into it.
        for dir in [&own, &snapshots, &root].into_iter().chain(&above) {
            durable.dir(dir).map_err(advice)?;
        }
        // A read-only bind mount lets us come this far.
        private.catalogue.append(catalogue::CHANGES).map_err(advice)?;
        Ok(Self {
            path: path.to_owned(),
            trusts_times: !is_network_fs(snapshots.path())?,
            root,
            snapshots: Some(snapshots),
            private: Some(private),
            durable,
            read_only: false,
            catalogue: catalogue::Catalogue::default(),
            log,
        })
    }

    /// Opens `path` for reading. Nothing is made; an empty directory is a store without snapshots.
    pub(crate) fn open_read_only(path: &Path, log: Log) -> Result<Self> {
        let root = Dir::open(path).map_err(|error| match error.errno() {
            Some(libc::ENOENT) => {
                let advice = "check the path: only a handle that may write makes one";
                Error::new(
                    Kind::NotFound,
                    format!("there is no data directory at {}; {advice}", path.display()),
                )
                .at(path)
            }
            _ => error,
        })?;
        let snapshots = root.dir_if_any("snapshots")?;
        let own = snapshots.as_ref().map(|dir| dir.dir_if_any(PRIVATE)).transpose()?.flatten();
        let private = own.and_then(|own| Private::with(|name| own.dir(name)).ok());
        Ok(Self {
            path: path.to_owned(),
            trusts_times: snapshots.as_ref().is_some_and(|dir| is_network_fs(dir.path()).is_ok_and(|is| !is)),
            root,
            snapshots,
            private,
            durable: Durable(Durability::Full),
            read_only: true,
            catalogue: catalogue::Catalogue::default(),
            log,
        })
    }

    /// Who hears of what no call reports.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn durable(&self) -> Durable {
        self.durable
    }

    fn snapshots(&self) -> Result<&Dir> {
        self.snapshots.as_ref().ok_or_else(|| {
            Error::new(Kind::NotFound, format!("{} holds no snapshots yet", self.path.display()))
                .at(&self.path)
        })
    }

    fn private(&self) -> Result<&Private> {
        self.private.as_ref().ok_or_else(|| {
            let why =
                format!("{} was opened read-only and libhypeman never wrote to it", self.path.display());
            Error::new(Kind::Permission, why).at(&self.path)
        })
    }

    /// Tells whether there is certainly no snapshot `id`.
    pub(crate) fn is_gone(&self, id: &str) -> bool {
        self.snapshot_dir(id).is_err_and(|error| error.kind() == Kind::NotFound)
    }

    /// Opens the directory of snapshot `id`, whether or not its record is good.
    ///
    /// # Errors
    /// `not_found`, for unsafe ids as well.
    pub(crate) fn snapshot_dir(&self, id: &str) -> Result<Dir> {
        let found = match &self.snapshots {
            Some(snapshots) if is_safe_id(id) => snapshots.dir_if_any(id),
            _ => Ok(None),
        };
        match found {
            Ok(dir) => dir.ok_or_else(|| no_snapshot(id)),
            // A file that lies among the snapshots is none.
            Err(error) if error.errno() == Some(libc::ENOTDIR) => Err(no_snapshot(id)),
            Err(error) => Err(error.about(id)),
        }
    }

    /// Opens the directory of the vendor's instance `id`, if there is one.
    pub(crate) fn guest_dir(&self, id: &str) -> Result<Option<Dir>> {
        if is_safe_id(id) { self.root.dir_if_any(Path::new("guests").join(id)) } else { Ok(None) }
    }

    /// Opens `guests/`, making it where it is missing.
    pub(crate) fn ensure_guests(&self) -> Result<Dir> {
        let guests = self.root.ensure_dir("guests")?;
        self.durable.dir(&self.root)?;
        Ok(guests)
    }

    /// The ids of the vendor's instances.
    pub(crate) fn guest_ids(&self) -> Result<Vec<String>> {
        let Some(guests) = self.root.dir_if_any("guests")? else { return Ok(Vec::new()) };
        let names = guests.entries()?.into_iter().filter_map(|entry| entry.name.into_string().ok());
        Ok(names.filter(|name| is_safe_id(name)).collect())
    }
}

/// The answer to an id that stands for nothing.
pub(crate) fn no_snapshot(id: &str) -> Error {
    Error::new(
        Kind::NotFound,
        format!("snapshot not found: {id:?}; snapshots are found by their full id only"),
    )
    .about(id)
}
