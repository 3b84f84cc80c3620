//! The handle: a data directory, opened.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::instances::Instances;
use crate::snapshots::Snapshots;
use crate::types::CompressionConfig;

/// How to open a data directory.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Open for reading only: nothing is created, recovered or resumed, and every write is refused.
    pub read_only: bool,
    /// Compression of snapshots for which neither the request nor the instance says anything. Default: off.
    pub compression: Option<CompressionConfig>,
    /// How much is flushed to the disk before a call returns.
    pub durability: Durability,
    /// Most threads for one call or job, at least 1. Default: the number of CPUs that this process may use.
    pub threads: Option<NonZeroUsize>,
    /// Write to a data directory on a network file system, where locks cannot be trusted. Default: refuse.
    pub allow_network_fs: bool,
    /// No server of the vendor's runs on this data directory, so that running instances of its making may be
    /// paused and captured. Default: they are refused.
    pub owns_server_instances: bool,
}

/// How much is flushed to the disk before a call returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `full`: what is acknowledged survives a power cut.
    #[default]
    Full,
    /// `relaxed`: survives the end of the process, but not a power cut. For stores that can be made anew.
    Relaxed,
}

impl Durability {
    /// The name in every language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Relaxed => "relaxed",
        }
    }

    /// Finds a durability by its name.
    ///
    /// # Errors
    /// `invalid_request` for any other name.
    pub fn parse(name: &str) -> Result<Self> {
        [Self::Full, Self::Relaxed].into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
            Error::new(Kind::InvalidRequest, format!("durability must be one of full, relaxed, got {name:?}"))
        })
    }
}

/// An open data directory. Clones share it; any thread may use it.
#[derive(Clone, Debug)]
pub struct Hypeman {}

impl Hypeman {
    /// Opens `data_dir` with the default [`Options`], creating it (0700) where it is missing.
    ///
    /// Finishes what a dead opener left: resumes VMs that it had paused, clears its stages, resumes its compression
    /// jobs.
    ///
    /// # Errors
    /// `permission` when it cannot be written (open it read-only), `not_supported` on a network file system,
    /// `io`, `no_space`.
    pub fn open(data_dir: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(data_dir, Options::default())
    }

    /// Opens `data_dir`.
    ///
    /// # Errors
    /// As [`Hypeman::open`]; `invalid_request` when an option is wrong; `not_found` when it is missing and
    /// `read_only` is set.
    pub fn open_with(_data_dir: impl AsRef<Path>, _options: Options) -> Result<Self> {
        Err(Error::new(Kind::NotSupported, "not there yet"))
    }

    /// The data directory that is used when the host names none: `$HYPEMAN_DATA_DIR`, else the vendor's
    /// `/var/lib/hypeman`.
    pub fn default_data_dir() -> PathBuf {
        std::env::var_os("HYPEMAN_DATA_DIR").map_or_else(|| PathBuf::from("/var/lib/hypeman"), PathBuf::from)
    }

    /// The data directory, as an absolute path.
    pub fn data_dir(&self) -> &Path {
        Path::new("")
    }

    /// The instances of this data directory.
    pub fn instances(&self) -> Instances<'_> {
        Instances { hm: self }
    }

    /// The snapshots of this data directory.
    pub fn snapshots(&self) -> Snapshots<'_> {
        Snapshots { hm: self }
    }

    /// Closes this handle and all its clones: later calls answer `closed`. Compression jobs stop and are resumed by
    /// the next opener. Closing twice is fine.
    pub fn close(&self) {}
}
