//! An instance: a VM that the host, or the vendor's server, told us of.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CompressionConfig, HypervisorKind, Timestamp, check_name, check_path, is_safe_id};
use crate::error::{Error, Kind, Result};

/// What a VM does now. Always derived by asking its VMM, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstanceState {
    /// The VMM is there, the VM was not booted.
    Created,
    /// The guest runs, but the vendor's server has not seen its program start.
    Initializing,
    /// The guest runs.
    Running,
    /// The VM is there and its guest is paused.
    Paused,
    /// The VMM is there, the VM was shut down.
    Shutdown,
    /// No VMM answers, and the instance directory holds a standby image.
    Standby,
    /// No VMM answers.
    Stopped,
    /// The VMM is there, but did not say what it does.
    Unknown,
}

impl InstanceState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Initializing,
        Self::Running,
        Self::Paused,
        Self::Shutdown,
        Self::Standby,
        Self::Stopped,
        Self::Unknown,
    ];

    /// The name as the vendor writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Initializing => "Initializing",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Shutdown => "Shutdown",
            Self::Standby => "Standby",
            Self::Stopped => "Stopped",
            Self::Unknown => "Unknown",
        }
    }

    /// Parses the name of a target of a restore, or of any other state: which of them can be one, the restore says.
    ///
    /// # Errors
    /// `invalid_request` for a name that is none of [`InstanceState::ALL`].
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| {
            let why = format!("target_state must be one of Stopped, Standby, Running, got {name:?}");
            Error::new(Kind::InvalidRequest, why)
        })
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for InstanceState {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Who told us of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `registered`: the host, by `instances.register`.
    Registered,
    /// `server`: the vendor's server, by its `guests/{id}/metadata.json`.
    Server,
}

impl Origin {
    /// The name in every language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Server => "server",
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A disk of a VM: a regular file on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Absolute path of the file.
    pub path: PathBuf,
    /// Whether the guest can only read it; then it is copied before the pause.
    #[serde(default)]
    pub readonly: bool,
}

/// A VM, where it is and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Unique id.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// The program that runs it.
    pub hypervisor: HypervisorKind,
    /// What it does now.
    pub state: InstanceState,
    /// Who told us of it.
    pub origin: Origin,
    /// When it was registered, or created by the vendor's server.
    pub created_at: Timestamp,
    /// The VMM's API socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_socket: Option<PathBuf>,
    /// The instance directory, all of which is captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// The disks, inside the directory or not.
    pub disks: Vec<Disk>,
    /// Default compression of its snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<CompressionConfig>,
    /// Which copy of its snapshot's memory it has, counted from 1: told by the restore or fork that gave it that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The directory through which files pass between us and its VMM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staging_directory: Option<PathBuf>,
    /// That directory as the VMM sees it, where it has another path there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staging_directory_in_vmm: Option<PathBuf>,
}

/// What the host tells us of a VM that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterInstance {
    /// A name: 1-63 of `[a-z0-9-]`, no dash at either end, unique among instances.
    pub name: String,
    /// The program that runs it.
    pub hypervisor: HypervisorKind,
    /// An id to keep; else one is made.
    pub id: Option<String>,
    /// The VMM's API socket (QEMU: a `-qmp` socket that no one else uses). Absolute.
    pub api_socket: Option<PathBuf>,
    /// The instance directory: all of it is captured, but for sockets and `logs/`. Absolute; it must exist.
    pub directory: Option<PathBuf>,
    /// Its disks, inside the directory or not. Where none is named, every file of the directory is taken for one. A
    /// create refuses (`invalid_state`) a VM that writes to a disk that is not among them, as far as its VMM tells.
    pub disks: Vec<Disk>,
    /// Default compression of its snapshots.
    pub compression: Option<CompressionConfig>,
    /// For a VMM that runs as another user or in a jail: a directory that it can reach, too. What it writes is moved
    /// from there into the snapshot, and what it loads is put there. Absolute; it must exist, outside the instance
    /// directory and the data directory. QEMU is given descriptors and needs none.
    pub staging_directory: Option<PathBuf>,
    /// The path of that directory as the VMM sees it. Default: the same.
    pub staging_directory_in_vmm: Option<PathBuf>,
    /// Your promise that no other program, and no other data directory, takes snapshots of this VM as long as its VMM
    /// lives. Then firecracker, where it tracks dirty pages, writes only what changed since its last snapshot, over a
    /// copy of that one. Were the promise broken, such a snapshot would lack changes, and nothing could show it.
    pub exclusive_snapshots: bool,
}

impl RegisterInstance {
    /// A VM of that name and hypervisor, of which nothing else is known yet.
    pub fn new(name: impl Into<String>, hypervisor: impl Into<HypervisorKind>) -> Self {
        Self {
            name: name.into(),
            hypervisor: hypervisor.into(),
            id: None,
            api_socket: None,
            directory: None,
            disks: Vec::new(),
            compression: None,
            staging_directory: None,
            staging_directory_in_vmm: None,
            exclusive_snapshots: false,
        }
    }

    /// Checks every rule that needs no file.
    pub(crate) fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        self.hypervisor.check_known()?;
        if let Some(id) = &self.id
            && !is_safe_id(id)
        {
            return Err(Error::new(
                Kind::InvalidRequest,
                format!("id must be 1 to 128 of [A-Za-z0-9._-] and not start with a dot, got {id:?}"),
            ));
        }
        if let Some(compression) = &self.compression {
            compression.settings()?;
        }
        if self.staging_directory_in_vmm.is_some() && self.staging_directory.is_none() {
            let why = "staging_directory_in_vmm is the VMM's path of staging_directory; give that, too";
            return Err(Error::new(Kind::InvalidRequest, why));
        }
        let paths = [
            ("api_socket", &self.api_socket),
            ("directory", &self.directory),
            ("staging_directory", &self.staging_directory),
            ("staging_directory_in_vmm", &self.staging_directory_in_vmm),
        ];
        let paths = paths.into_iter().filter_map(|(what, path)| path.as_ref().map(|path| (what, path)));
        for (what, path) in paths.chain(self.disks.iter().map(|disk| ("disk", &disk.path))) {
            check_path(what, path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_checked_before_anything_is_touched() {
        let good = || RegisterInstance::new("nginx1", "qemu");
        good().check().unwrap();
        let bad = [
            RegisterInstance::new("Nginx", "qemu"),
            RegisterInstance::new("nginx1", "bhyve"),
            RegisterInstance { id: Some("../x".into()), ..good() },
            RegisterInstance { api_socket: Some("qmp.sock".into()), ..good() },
            RegisterInstance { api_socket: Some("/qmp\0.sock".into()), ..good() },
            RegisterInstance { disks: vec![Disk { path: "a.raw".into(), readonly: false }], ..good() },
            RegisterInstance { staging_directory: Some("stage".into()), ..good() },
            RegisterInstance { staging_directory_in_vmm: Some("/stage".into()), ..good() },
            RegisterInstance { compression: Some(CompressionConfig::with("zstd", Some(20))), ..good() },
        ];
        for request in bad {
            assert_eq!(request.check().unwrap_err().kind(), Kind::InvalidRequest, "{request:?}");
        }
    }
}
