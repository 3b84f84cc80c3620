//! From Python's arguments to core's requests. Types are checked here, rules in core.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use hypeman_core::{CompressionConfig, Disk, Error, Kind, Result};

/// `enabled, algorithm, level` of a `CompressionConfig`.
pub(crate) type Compression = (bool, Option<String>, Option<i64>);

pub(crate) fn compression((enabled, algorithm, level): Compression) -> CompressionConfig {
    CompressionConfig { enabled, algorithm, level }
}

/// Path and `readonly` of each `Disk`.
pub(crate) fn disks(disks: Vec<(PathBuf, bool)>) -> Vec<Disk> {
    disks.into_iter().map(|(path, readonly)| Disk { path, readonly }).collect()
}

/// Seconds, in fractions too; more than a clock can count is no limit.
pub(crate) fn timeout(seconds: Option<f64>) -> Result<Option<Duration>> {
    match seconds {
        Some(seconds) if seconds >= 0.0 => Ok(Duration::try_from_secs_f64(seconds).ok()),
        Some(seconds) => Err(Error::new(
            Kind::InvalidRequest,
            format!("timeout must be a number of seconds, 0 or more, got {seconds}"),
        )),
        None => Ok(None),
    }
}

pub(crate) fn threads(threads: Option<i64>) -> Result<Option<NonZeroUsize>> {
    let Some(threads) = threads else { return Ok(None) };
    let some = usize::try_from(threads).ok().and_then(NonZeroUsize::new);
    some.map(Some)
        .ok_or_else(|| Error::new(Kind::InvalidRequest, format!("threads must be 1 or more, got {threads}")))
}
