//! Compression settings: what may be asked for, what wins, what will run.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// Compression of a snapshot's guest memory, as in the API pages (`SnapshotCompressionConfig`).
///
/// `algorithm` is `zstd` (level 1-19, default 1; the default algorithm) or `lz4` (level 0-9, default 0). Both are
/// ignored, right or wrong, when `enabled` is false. Snapshots of vz are never compressed, whatever is asked: their memory
/// is inside a file of Apple's that does not shrink; their state is `none`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompressionConfig {
    /// Whether guest memory is compressed.
    pub enabled: bool,
    /// `zstd` or `lz4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The level of the algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i64>,
}

impl CompressionConfig {
    /// Compression with the default algorithm at its default level.
    pub fn on() -> Self {
        Self { enabled: true, algorithm: None, level: None }
    }

    /// An explicit "no compression", which beats the defaults of instance and library.
    pub fn off() -> Self {
        Self { enabled: false, algorithm: None, level: None }
    }

    /// Compression with `algorithm`, at its default level where `level` is `None`.
    pub fn with(algorithm: impl Into<String>, level: Option<i64>) -> Self {
        Self { enabled: true, algorithm: Some(algorithm.into()), level }
    }

    /// The settings that will run: `None` when off.
    pub(crate) fn settings(&self) -> Result<Option<CompressionSettings>> {
        if !self.enabled {
            return Ok(None);
        }
        let algorithm = match self.algorithm.as_deref() {
            None | Some("zstd") => Algorithm::Zstd,
            Some("lz4") => Algorithm::Lz4,
            Some(other) => {
                return Err(Error::new(
                    Kind::InvalidRequest,
                    format!("unsupported compression algorithm {other:?}: must be one of zstd or lz4"),
                ));
            }
        };
        let levels = algorithm.levels();
        let level = self.level.unwrap_or(i64::from(*algorithm.default_level()));
        match i32::try_from(level) {
            Ok(level) if levels.contains(&level) => Ok(Some(CompressionSettings { algorithm, level })),
            _ => Err(Error::new(
                Kind::InvalidRequest,
                format!(
                    "invalid {} level {level} (must be between {} and {})",
                    algorithm.as_str(),
                    levels.start(),
                    levels.end()
                ),
            )),
        }
    }

    /// The settings that win among `candidates`, strongest first: the first one that is given, even if it says off.
    pub(crate) fn resolve(candidates: [Option<&Self>; 3]) -> Result<Option<CompressionSettings>> {
        // A bad default is refused before the capture, even where a stronger candidate hides it today.
        let mut settings =
            candidates.into_iter().flatten().map(Self::settings).collect::<Result<Vec<_>>>()?.into_iter();
        Ok(settings.next().flatten())
    }
}

/// A codec for guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Zstd,
    Lz4,
}

impl Algorithm {
    /// In the order in which the vendor looks for compressed files.
    pub(crate) const ALL: [Self; 2] = [Self::Zstd, Self::Lz4];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// The suffix of a compressed memory file, without the dot.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Zstd => "zst",
            Self::Lz4 => "lz4",
        }
    }

    fn levels(self) -> RangeInclusive<i32> {
        match self {
            Self::Zstd => 1..=19,
            Self::Lz4 => 0..=9,
        }
    }

    fn default_level(self) -> &'static i32 {
        match self {
            Self::Zstd => &1,
            Self::Lz4 => &0,
        }
    }
}

/// An algorithm and a level in its range: what really runs, and what is written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompressionSettings {
    pub(crate) algorithm: Algorithm,
    pub(crate) level: i32,
}

impl From<CompressionSettings> for CompressionConfig {
    fn from(settings: CompressionSettings) -> Self {
        Self::with(settings.algorithm.as_str(), Some(settings.level.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zstd(level: i32) -> Option<CompressionSettings> {
        Some(CompressionSettings { algorithm: Algorithm::Zstd, level })
    }

    #[test]
    fn zstd_1_and_lz4_0_are_the_defaults() {
        assert_eq!(CompressionConfig::on().settings().unwrap(), zstd(1));
        let lz4 = CompressionConfig::with("lz4", None).settings().unwrap().unwrap();
        assert_eq!(CompressionConfig::from(lz4), CompressionConfig::with("lz4", Some(0)));
    }

    #[test]
    fn levels_have_a_range_and_off_ignores_them() {
        for (algorithm, good, bad) in [("zstd", [1, 19], [0, 20]), ("lz4", [0, 9], [-1, 10])] {
            for level in good {
                CompressionConfig::with(algorithm, Some(level)).settings().unwrap();
            }
            for level in bad {
                let error = CompressionConfig::with(algorithm, Some(level)).settings().unwrap_err();
                assert_eq!(error.kind(), Kind::InvalidRequest);
            }
        }
        assert!(CompressionConfig::with("gzip", None).settings().is_err());
        let off = CompressionConfig { enabled: false, algorithm: Some("gzip".into()), level: Some(30) };
        assert_eq!(off.settings().unwrap(), None);
    }

    #[test]
    fn the_first_one_given_wins_and_an_explicit_off_stops_the_search() {
        let (on, off, three) =
            (CompressionConfig::on(), CompressionConfig::off(), CompressionConfig::with("zstd", Some(3)));
        assert_eq!(CompressionConfig::resolve([None, None, None]).unwrap(), None);
        assert_eq!(CompressionConfig::resolve([None, None, Some(&on)]).unwrap(), zstd(1));
        assert_eq!(CompressionConfig::resolve([None, Some(&three), Some(&on)]).unwrap(), zstd(3));
        assert_eq!(CompressionConfig::resolve([Some(&off), Some(&three), Some(&on)]).unwrap(), None);
    }
}
