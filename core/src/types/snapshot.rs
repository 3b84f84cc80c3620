//! The Snapshot of the API pages, and what is asked to make and find one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::tags::check_tags;
use super::{CompressionConfig, HypervisorKind, Timestamp, check_name};
use crate::error::{Error, Kind, Result};

/// What a snapshot captures. On reading, kinds from newer versions are kept as [`SnapshotKind::Other`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum SnapshotKind {
    /// `Standby`: guest memory, device state and disks. The source is Running, Paused or Standby.
    Standby,
    /// `Stopped`: disks only. The source is Stopped.
    Stopped,
    /// A kind that this version does not know.
    Other(String),
}

impl SnapshotKind {
    /// Every kind that can be asked for.
    pub const KNOWN: [Self; 2] = [Self::Standby, Self::Stopped];

    /// The name as in the API pages. Case matters.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Standby => "Standby",
            Self::Stopped => "Stopped",
            Self::Other(name) => name,
        }
    }

    pub(crate) fn check_known(&self) -> Result<()> {
        let Self::Other(name) = self else { return Ok(()) };
        Err(Error::new(Kind::InvalidRequest, format!("kind must be one of Standby, Stopped, got {name:?}")))
    }
}

impl From<&str> for SnapshotKind {
    fn from(name: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|known| known.as_str() == name)
            .unwrap_or_else(|| Self::Other(name.to_owned()))
    }
}

impl From<String> for SnapshotKind {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<SnapshotKind> for String {
    fn from(kind: SnapshotKind) -> Self {
        kind.as_str().to_owned()
    }
}

impl fmt::Display for SnapshotKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the compression of a snapshot's guest memory stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum CompressionState {
    /// `none`: not compressed, and no job will.
    None,
    /// `compressing`: a job has it, or the next opener will resume it.
    Compressing,
    /// `compressed`
    Compressed,
    /// `error`: see `compression_error`; the raw memory is there.
    Error,
    /// A state that this version does not know.
    Other(String),
}

impl CompressionState {
    /// Every state of the API pages.
    pub const KNOWN: [Self; 4] = [Self::None, Self::Compressing, Self::Compressed, Self::Error];

    /// The name as in the API pages.
    pub fn as_str(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Compressing => "compressing",
            Self::Compressed => "compressed",
            Self::Error => "error",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for CompressionState {
    fn from(name: String) -> Self {
        Self::KNOWN.into_iter().find(|known| known.as_str() == name).unwrap_or(Self::Other(name))
    }
}

impl From<CompressionState> for String {
    fn from(state: CompressionState) -> Self {
        state.as_str().to_owned()
    }
}

impl fmt::Display for CompressionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A snapshot: exactly the 14 fields of the API pages, with their names, types and optionality.
///
/// As JSON, an absent optional field is left out, never null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Unique id: 24 characters.
    pub id: String,
    /// When the capture ended.
    pub created_at: Timestamp,
    /// What was captured.
    pub kind: SnapshotKind,
    /// Total payload size: the apparent sizes of its files, in bytes.
    pub size_bytes: u64,
    /// The source's hypervisor at capture.
    pub source_hypervisor: HypervisorKind,
    /// The source's id at capture.
    pub source_instance_id: String,
    /// The source's name at capture.
    pub source_instance_name: String,
    /// Size of the compressed memory in bytes; only in state `compressed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressed_size_bytes: Option<u64>,
    /// The settings that run or ran; absent when off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<CompressionConfig>,
    /// Why compression failed; only in state `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_error: Option<String>,
    /// Where compression stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_state: Option<CompressionState>,
    /// Name, unique per source instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The user's tags; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Apparent size of the memory before compression in bytes; only in state `compressed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncompressed_size_bytes: Option<u64>,
}

/// What to capture, and how to call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSnapshot {
    /// Required: what to capture.
    pub kind: SnapshotKind,
    /// A name: 1-63 of `[a-z0-9-]`, no dash at either end, unique per source instance.
    pub name: Option<String>,
    /// At most 50 tags; keys of 1-128, values of 0-256 characters, of `[A-Za-z0-9 _.:/=+@-]`.
    pub tags: Option<BTreeMap<String, String>>,
    /// Compression of guest memory; overrides the defaults of instance and library. Refused with `Stopped`.
    pub compression: Option<CompressionConfig>,
}

impl CreateSnapshot {
    /// A snapshot of `kind` without name and tags, compressed as the defaults say.
    pub fn new(kind: SnapshotKind) -> Self {
        Self { kind, name: None, tags: None, compression: None }
    }

    /// Checks every rule that needs neither the store nor the VM.
    pub(crate) fn check(&self) -> Result<()> {
        self.kind.check_known()?;
        if let Some(compression) = &self.compression {
            if self.kind == SnapshotKind::Stopped && compression.enabled {
                return Err(Error::new(
                    Kind::InvalidRequest,
                    "compression is only supported for standby snapshots; leave it out or set enabled to false",
                ));
            }
            compression.settings()?;
        }
        if let Some(tags) = &self.tags {
            check_tags(tags)?;
        }
        match &self.name {
            Some(name) => check_name(name),
            None => Ok(()),
        }
    }
}

/// Which snapshots to list: what is given must match, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Snapshots of this kind.
    pub kind: Option<SnapshotKind>,
    /// Snapshots of this name; an empty one stands for unnamed snapshots.
    pub name: Option<String>,
    /// Snapshots of this source id. It is not resolved and may name an instance that is gone.
    pub source_instance_id: Option<String>,
    /// Snapshots with each of these tags, keys and values.
    pub tags: BTreeMap<String, String>,
}

impl SnapshotFilter {
    pub(crate) fn check(&self) -> Result<()> {
        self.kind.as_ref().map_or(Ok(()), SnapshotKind::check_known)
    }

    pub(crate) fn matches(&self, snapshot: &Snapshot) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == snapshot.kind)
            && self.name.as_deref().is_none_or(|name| name == snapshot.name.as_deref().unwrap_or_default())
            && self.source_instance_id.as_ref().is_none_or(|id| *id == snapshot.source_instance_id)
            && self
                .tags
                .iter()
                .all(|(key, value)| snapshot.tags.as_ref().is_some_and(|tags| tags.get(key) == Some(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            id: "q7z1w7l2af4l8y7q1h7g2m3s".into(),
            created_at: "2026-03-06T13:56:11Z".parse().unwrap(),
            kind: SnapshotKind::Standby,
            size_bytes: 104_857_600,
            source_hypervisor: HypervisorKind::CloudHypervisor,
            source_instance_id: "qilviffnqzck2jrim1x6s2b1".into(),
            source_instance_name: "nginx1".into(),
            compressed_size_bytes: None,
            compression: None,
            compression_error: None,
            compression_state: None,
            name: None,
            tags: None,
            uncompressed_size_bytes: None,
        }
    }

    #[test]
    fn absent_fields_are_left_out_of_the_json() {
        let json = serde_json::to_value(snapshot()).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        let always = [
            "id",
            "created_at",
            "kind",
            "size_bytes",
            "source_hypervisor",
            "source_instance_id",
            "source_instance_name",
        ];
        assert_eq!(keys, always);
    }

    #[test]
    fn filters_are_anded_and_exact() {
        let mut s = snapshot();
        s.tags = Some(BTreeMap::from([("team".into(), "backend".into()), ("env".into(), "x".into())]));
        let tag = |k: &str, v: &str| BTreeMap::from([(k.to_owned(), v.to_owned())]);
        let with = |edit: &dyn Fn(&mut SnapshotFilter)| {
            let mut filter = SnapshotFilter::default();
            edit(&mut filter);
            filter.matches(&s)
        };
        assert!(with(&|_| ()));
        assert!(with(&|f| f.tags = tag("team", "backend")));
        assert!(!with(&|f| f.tags = tag("team", "Backend")));
        assert!(with(&|f| f.name = Some(String::new())));
        assert!(!with(&|f| f.name = Some("n".into())));
        assert!(!with(&|f| {
            f.tags = tag("team", "backend");
            f.kind = Some(SnapshotKind::Stopped);
        }));
    }

    #[test]
    fn compression_with_stopped_is_refused_unless_it_is_off() {
        let mut request = CreateSnapshot::new(SnapshotKind::Stopped);
        request.compression = Some(CompressionConfig::on());
        assert_eq!(request.check().unwrap_err().kind(), Kind::InvalidRequest);
        request.compression = Some(CompressionConfig::off());
        request.check().unwrap();
        assert!(CreateSnapshot::new("standby".into()).check().is_err());
    }
}
