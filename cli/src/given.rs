//! Values that several subcommands take, and what they mean.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use hypeman_core::{
    CompressionConfig, Disk, Duplicates, Error, InstanceState, Kind, RestoreSnapshot, SnapshotFilter,
    SnapshotKind,
};

/// Reads `KEY=VALUE`; the value may hold more of them.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Reads a disk: a path, with `:ro` behind it where the guest can only read it.
pub(crate) fn disk(text: &str) -> Result<Disk, String> {
    let (path, readonly) = match text.strip_suffix(":ro") {
        Some(path) => (path, true),
        None => (text, false),
    };
    absolute(path).map(|path| Disk { path, readonly })
}

/// Reads a path of the shell's: relative to its working directory.
pub(crate) fn absolute(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|error| error.to_string())
}

/// What is given as pairs, each key once: of two values for one, either could be meant.
pub(crate) fn once<K: Ord + fmt::Debug, V>(
    what: &str,
    pairs: Vec<(K, V)>,
) -> hypeman_core::Result<BTreeMap<K, V>> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.contains_key(&key) {
            return Err(Error::new(Kind::InvalidRequest, format!("{what} {key:?} is given twice")));
        }
        map.insert(key, value);
    }
    Ok(map)
}

/// Reads `FROM=TO`, two paths.
pub(crate) fn moved(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let (from, to) = text.split_once('=').ok_or_else(|| "must be FROM=TO".to_owned())?;
    Ok((absolute(from)?, absolute(to)?))
}

/// What an instance is to be after a restore or fork, and how its image is loaded.
#[derive(Args)]
pub(crate) struct Loading {
    /// Running, Standby or Stopped [default: Running where an API socket is given, else Standby; Stopped for a Stopped
    /// snapshot]
    #[arg(long, value_name = "STATE")]
    target_state: Option<String>,
    /// API socket of a VMM that was started for this and has no VM yet
    #[arg(long, value_name = "SOCKET", value_parser = absolute)]
    api_socket: Option<PathBuf>,
    /// Give a network interface of the guest another device of the host (cloud-hypervisor, firecracker); may be repeated
    #[arg(long = "network-override", value_name = "INTERFACE=DEVICE", value_parser = pair)]
    network_overrides: Vec<(String, String)>,
    /// Let the VMM read memory while the guest runs already (cloud-hypervisor 52 and later)
    #[arg(long)]
    on_demand: bool,
    /// Let the VMM get memory from the userfaultfd server at this socket (firecracker)
    #[arg(long, value_name = "SOCKET", value_parser = absolute)]
    uffd_socket: Option<PathBuf>,
    /// Load although the VMM's version or the host differs from what was recorded
    #[arg(long)]
    allow_incompatible: bool,
    /// allow, or deny: refuse if this memory was handed out before
    #[arg(long, default_value = "allow", value_name = "POLICY")]
    duplicates: String,
}

impl Loading {
    pub(crate) fn request(self) -> hypeman_core::Result<RestoreSnapshot> {
        Ok(RestoreSnapshot {
            target_state: self.target_state.as_deref().map(InstanceState::parse).transpose()?,
            api_socket: self.api_socket,
            network_overrides: once("network interface", self.network_overrides)?,
            on_demand: self.on_demand,
            uffd_socket: self.uffd_socket,
            allow_incompatible: self.allow_incompatible,
            duplicates: Duplicates::parse(&self.duplicates)?,
        })
    }
}

/// Compression, in the flags of the vendor's command: the algorithm or the level alone means on.
#[derive(Args)]
pub(crate) struct Compression {
    /// Compress guest memory; `=false` beats the defaults of instance and library
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    compression_enabled: Option<bool>,
    /// zstd (the default) or lz4
    #[arg(long, value_name = "ALGORITHM")]
    compression_algorithm: Option<String>,
    /// zstd: 1 to 19 [default: 1]; lz4: 0 to 9 [default: 0]
    #[arg(long, value_name = "LEVEL")]
    compression_level: Option<i64>,
}

impl Compression {
    /// What was asked for; `None` where nothing was.
    pub(crate) fn config(self) -> Option<CompressionConfig> {
        let Self { compression_enabled, compression_algorithm: algorithm, compression_level: level } = self;
        let is_asked = algorithm.is_some() || level.is_some();
        let enabled = compression_enabled.or(is_asked.then_some(true))?;
        Some(CompressionConfig { enabled, algorithm, level })
    }
}

/// Which snapshots are meant: what is given must match, exactly.
#[derive(Args)]
pub(crate) struct Filter {
    /// Of this kind: Standby or Stopped
    #[arg(long)]
    kind: Option<String>,
    /// Of this name
    #[arg(long)]
    name: Option<String>,
    /// Of the instance with this id, which may be gone
    #[arg(long, value_name = "ID")]
    source_instance_id: Option<String>,
    /// With this tag; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
}

impl Filter {
    pub(crate) fn filter(self) -> hypeman_core::Result<SnapshotFilter> {
        let Self { kind, name, source_instance_id, tags } = self;
        Ok(SnapshotFilter {
            kind: kind.as_deref().map(SnapshotKind::from),
            name,
            source_instance_id,
            tags: once("tag", tags)?,
        })
    }
}

/// How long the call may take.
#[derive(Args, Clone, Copy)]
pub(crate) struct Limits {
    /// Give up after so many seconds; a VM that is paused by then runs again
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compression(
        enabled: Option<bool>,
        algorithm: Option<&str>,
        level: Option<i64>,
    ) -> Option<CompressionConfig> {
        let algorithm = algorithm.map(str::to_owned);
        Compression {
            compression_enabled: enabled,
            compression_algorithm: algorithm,
            compression_level: level,
        }
        .config()
    }

    #[test]
    fn an_algorithm_or_a_level_alone_turns_compression_on() {
        assert_eq!(compression(None, None, None), None);
        assert_eq!(compression(None, Some("lz4"), None), Some(CompressionConfig::with("lz4", None)));
        assert!(compression(None, None, Some(3)).unwrap().enabled);
        assert_eq!(compression(Some(false), None, None), Some(CompressionConfig::off()));
    }

    #[test]
    fn a_value_may_hold_the_sign_that_ends_its_key() {
        assert_eq!(pair("url=a=b"), Ok(("url".into(), "a=b".into())));
        assert_eq!(pair("empty="), Ok(("empty".into(), String::new())));
        pair("=x").unwrap_err();
        pair("x").unwrap_err();
    }

    #[test]
    fn a_disk_may_be_readonly() {
        assert_eq!(disk("/a.raw:ro"), Ok(Disk { path: "/a.raw".into(), readonly: true }));
        assert_eq!(disk("/a:b.raw"), Ok(Disk { path: "/a:b.raw".into(), readonly: false }));
    }
}
