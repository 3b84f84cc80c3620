//! What is asked of a fork.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{RestoreSnapshot, check_name, check_path};
use crate::error::{Error, Kind, Result};

/// How to make a new instance of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForkSnapshot {
    /// Its name: 1-63 of `[a-z0-9-]`, no dash at either end, unique among instances.
    pub name: String,
    /// Its directory, which is made; the one around it must be there. Default: `guests/{id}` in the data directory.
    pub directory: Option<PathBuf>,
    /// Where disks from outside the source's directory go, by their paths at capture. One that is not named goes into
    /// `disks/` of the new directory. A read-only one may be given a file that is there: it is used as it is.
    pub disks: BTreeMap<PathBuf, PathBuf>,
    /// What it is to be then, and how it is loaded: the rules of a restore.
    pub restore: RestoreSnapshot,
}

impl ForkSnapshot {
    /// A fork of that name, with the defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Checks every rule that needs no file.
    pub(crate) fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        if let Some(directory) = &self.directory {
            check_place("directory", directory)?;
        }
        for (from, to) in &self.disks {
            check_place("disks: the path at capture", from)?;
            check_place("disks: the new path", to)?;
            if self.disks.iter().any(|(other, same)| other != from && same == to) {
                let why = format!("disks: two of them cannot go to {}", to.display());
                return Err(Error::new(Kind::InvalidRequest, why).at(to));
            }
        }
        Ok(())
    }
}

/// Refuses what cannot be kept in a record, or would mean another place elsewhere.
fn check_place(what: &str, path: &Path) -> Result<()> {
    check_path(what, path)?;
    let is_plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if is_plain && path.to_str().is_some() {
        return Ok(());
    }
    let why = format!("{what} must be an absolute UTF-8 path without .., got {:?}", path.display());
    Err(Error::new(Kind::InvalidRequest, why).at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_is_checked_before_anything_is_touched() {
        let good = || ForkSnapshot {
            directory: Some("/vms/b".into()),
            disks: BTreeMap::from([("/a.raw".into(), "/b.raw".into())]),
            ..ForkSnapshot::new("b")
        };
        good().check().unwrap();
        let twice = BTreeMap::from([("/a".into(), "/x".into()), ("/b".into(), "/x".into())]);
        for bad in [
            ForkSnapshot::new(""),
            ForkSnapshot::new("B"),
            ForkSnapshot { directory: Some("b".into()), ..good() },
            ForkSnapshot { directory: Some("/vms/b\0".into()), ..good() },
            ForkSnapshot { directory: Some("/vms/../etc".into()), ..good() },
            ForkSnapshot { disks: BTreeMap::from([("a.raw".into(), "/b".into())]), ..good() },
            ForkSnapshot { disks: BTreeMap::from([("/a.raw".into(), "b".into())]), ..good() },
            ForkSnapshot { disks: twice, ..good() },
        ] {
            assert_eq!(bad.check().unwrap_err().kind(), Kind::InvalidRequest, "{bad:?}");
        }
    }
}
