//! What lies elsewhere now than at capture: of a fork all, of an instance that was registered anew perhaps some.

use std::path::PathBuf;

use crate::error::Result;
use crate::hypervisor;
use crate::instances::Found;
use crate::store::record::Record;
use crate::store::sidecar::OutsideDisk;
use crate::sys::dir::Dir;
use crate::types::HypervisorKind;

/// Paths in a VMM's configuration that lie elsewhere now.
#[derive(Clone, Debug, Default)]
pub(in crate::snapshots) struct Moved {
    /// (path or leading directories at capture, path now), none where nothing moved.
    pub(in crate::snapshots) paths: Vec<(PathBuf, PathBuf)>,
    pub(in crate::snapshots) hypervisor: Option<HypervisorKind>,
}

/// Where what the snapshot of `record`, with these disks, was captured from lies for `found`.
pub(in crate::snapshots) fn since_capture(found: &Found, record: &Record, disks: &[OutsideDisk]) -> Moved {
    let Some(here) = &found.directory else { return Moved::default() };
    let mut paths: Vec<_> =
        record.source_directory().into_iter().map(|source| (source, here.clone())).collect();
    for disk in disks {
        let source = PathBuf::from(&disk.source);
        let now = found.outside_path(&source).unwrap_or_else(|| here.join(&disk.payload));
        paths.push((source, now));
    }
    paths.retain(|(then, now)| then != now);
    Moved { paths, hypervisor: Some(record.snapshot.source_hypervisor.clone()) }
}

impl Moved {
    /// Rewrites the image in `instance`, a directory that is being built, where its VMM allows that.
    pub(super) fn apply(&self, instance: &Dir) -> Result<()> {
        match &self.hypervisor {
            Some(hypervisor) if !self.paths.is_empty() => {
                hypervisor::relocate(hypervisor, instance, &self.paths)
            }
            _ => Ok(()),
        }
    }

    /// What a VMM has to be told, or to find where it was, because its image cannot be rewritten.
    pub(super) fn unwritten(&self) -> &[(PathBuf, PathBuf)] {
        match self.hypervisor {
            Some(HypervisorKind::Firecracker) => &self.paths,
            _ => &[],
        }
    }
}
