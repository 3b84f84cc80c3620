//! Which program runs a VM.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// A hypervisor. On reading, names from newer versions are kept as [`HypervisorKind::Other`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum HypervisorKind {
    /// `cloud-hypervisor`
    CloudHypervisor,
    /// `firecracker`
    Firecracker,
    /// `qemu`
    Qemu,
    /// `qemu-microvm`: QEMU's microvm machine, in the vendor's records since August 2026
    QemuMicrovm,
    /// `vz`: Apple's Virtualization framework
    Vz,
    /// A name that this version does not know
    Other(String),
}

impl HypervisorKind {
    /// Every hypervisor that can be registered.
    pub const KNOWN: [Self; 5] =
        [Self::CloudHypervisor, Self::Firecracker, Self::Qemu, Self::QemuMicrovm, Self::Vz];

    /// The name as in the API pages.
    pub fn as_str(&self) -> &str {
        match self {
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Firecracker => "firecracker",
            Self::Qemu => "qemu",
            Self::QemuMicrovm => "qemu-microvm",
            Self::Vz => "vz",
            Self::Other(name) => name,
        }
    }

    /// Refuses a name that this version does not know.
    pub(crate) fn check_known(&self) -> Result<()> {
        let Self::Other(name) = self else { return Ok(()) };
        let known: Vec<_> = Self::KNOWN.iter().map(Self::as_str).collect();
        Err(Error::new(
            Kind::InvalidRequest,
            format!("hypervisor must be one of {}, got {name:?}", known.join(", ")),
        ))
    }
}

impl From<&str> for HypervisorKind {
    fn from(name: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|known| known.as_str() == name)
            .unwrap_or_else(|| Self::Other(name.to_owned()))
    }
}

impl From<String> for HypervisorKind {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl FromStr for HypervisorKind {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::from(name))
    }
}

impl From<HypervisorKind> for String {
    fn from(kind: HypervisorKind) -> Self {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for HypervisorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_hypervisors_are_kept_on_reading_and_refused_on_registering() {
        let kind: HypervisorKind = serde_json::from_str("\"bhyve\"").unwrap();
        assert_eq!(serde_json::to_string(&kind).unwrap(), "\"bhyve\"");
        assert_eq!(kind.check_known().unwrap_err().kind(), Kind::InvalidRequest);
        for known in HypervisorKind::KNOWN {
            assert_eq!(HypervisorKind::from(known.as_str()), known);
            known.check_known().unwrap();
        }
    }
}
