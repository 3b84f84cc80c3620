//! What is asked of a restore.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{InstanceState, SnapshotKind, check_path};
use crate::error::{Error, Kind, Result};

/// How to restore a snapshot onto the instance that it was taken of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreSnapshot {
    /// What the instance is to be then. A `Standby` snapshot: `Running` (the default where `api_socket` is given),
    /// `Standby` (else) or `Stopped`. A `Stopped` snapshot: `Stopped`.
    pub target_state: Option<InstanceState>,
    /// The API socket of a VMM that the host started for this and that has no VM yet. Default: the instance's own.
    pub api_socket: Option<PathBuf>,
    /// Network interfaces that get another device of the host, by their id in the guest's configuration
    /// (cloud-hypervisor, firecracker).
    pub network_overrides: BTreeMap<String, String>,
    /// Let the VMM read guest memory page by page while the guest runs already (cloud-hypervisor 52 and later). Its
    /// memory file stays open for as long as that takes.
    pub on_demand: bool,
    /// Let the VMM get guest memory from the page server that listens at this socket: no memory file is put into place
    /// then. For firecracker any server that answers its userfaultfd; for cloud-hypervisor (54 and later, VMs with
    /// `shared` memory) a [`crate::Pager`].
    pub uffd_socket: Option<PathBuf>,
    /// Restore although the VMM or the host differs from what was recorded.
    pub allow_incompatible: bool,
    /// Whether memory that was handed out before may be so again.
    pub duplicates: Duplicates,
}

/// Whether two VMs may come of one memory: they share random numbers, keys and clocks until their guests draw new
/// ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// `allow`: any number of them.
    #[default]
    Allow,
    /// `deny`: a restore or fork is refused (`conflict`) when there was one before.
    Deny,
}

impl Duplicates {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Allow, Self::Deny];

    /// The name in every language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    /// Finds one by its name.
    ///
    /// # Errors
    /// `invalid_request` for any other name.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| {
            Error::new(Kind::InvalidRequest, format!("duplicates must be one of allow, deny, got {name:?}"))
        })
    }
}

/// What a restore brings about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestoreTarget {
    Running,
    Standby,
    Stopped,
}

impl RestoreSnapshot {
    /// The target for a snapshot of `kind`, by the vendor's rules (upstream.md 1.6).
    pub(crate) fn target(&self, kind: &SnapshotKind) -> Result<RestoreTarget> {
        let refuse = |what: String| Err(Error::new(Kind::InvalidRequest, what));
        if self.on_demand && self.uffd_socket.is_some() {
            return refuse("on_demand and uffd_socket are two ways of one thing; choose one".to_owned());
        }
        for (what, socket) in [("api_socket", &self.api_socket), ("uffd_socket", &self.uffd_socket)] {
            if let Some(socket) = socket {
                check_path(what, socket)?;
            }
        }
        let asked = match self.target_state {
            None => None,
            Some(InstanceState::Running) => Some(RestoreTarget::Running),
            Some(InstanceState::Standby) => Some(RestoreTarget::Standby),
            Some(InstanceState::Stopped) => Some(RestoreTarget::Stopped),
            Some(
                other @ (InstanceState::Created
                | InstanceState::Initializing
                | InstanceState::Paused
                | InstanceState::Shutdown
                | InstanceState::Unknown),
            ) => {
                return refuse(format!("target_state must be one of Stopped, Standby, Running, got {other}"));
            }
        };
        match (kind, asked) {
            (SnapshotKind::Standby, Some(target)) => Ok(target),
            (SnapshotKind::Standby, None) if self.api_socket.is_some() => Ok(RestoreTarget::Running),
            (SnapshotKind::Standby, None) => Ok(RestoreTarget::Standby),
            (SnapshotKind::Stopped, None | Some(RestoreTarget::Stopped)) => Ok(RestoreTarget::Stopped),
            (SnapshotKind::Stopped, Some(RestoreTarget::Standby)) => refuse(
                "a stopped snapshot has no memory to stand by with; target_state must be Stopped".to_owned(),
            ),
            (SnapshotKind::Stopped, Some(RestoreTarget::Running)) => Err(Error::new(
                Kind::NotSupported,
                "libhypeman does not boot VMs; restore the stopped snapshot to Stopped and start the VM yourself",
            )),
            (SnapshotKind::Other(name), _) => Err(Error::new(
                Kind::NotSupported,
                format!("snapshots of kind {name:?} are newer than this version of libhypeman"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_follow_the_kind_of_the_snapshot() {
        let with = |target_state| RestoreSnapshot { target_state, ..RestoreSnapshot::default() };
        let standby = |request: &RestoreSnapshot| request.target(&SnapshotKind::Standby);
        assert_eq!(standby(&with(None)).unwrap(), RestoreTarget::Standby);
        let waiting =
            RestoreSnapshot { api_socket: Some("/run/vm.sock".into()), ..RestoreSnapshot::default() };
        assert_eq!(standby(&waiting).unwrap(), RestoreTarget::Running);
        assert_eq!(standby(&with(Some(InstanceState::Stopped))).unwrap(), RestoreTarget::Stopped);
        assert_eq!(standby(&with(Some(InstanceState::Paused))).unwrap_err().kind(), Kind::InvalidRequest);
        let stopped = |request: &RestoreSnapshot| request.target(&SnapshotKind::Stopped);
        assert_eq!(stopped(&with(None)).unwrap(), RestoreTarget::Stopped);
        assert_eq!(stopped(&with(Some(InstanceState::Standby))).unwrap_err().kind(), Kind::InvalidRequest);
        assert_eq!(stopped(&with(Some(InstanceState::Running))).unwrap_err().kind(), Kind::NotSupported);
    }
}
