//! Points in time: RFC 3339 with any offset in, UTC out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Kind, Result};

/// Seconds to 0000-01-01T00:00:00Z: RFC 3339 can write no earlier time, and no later one than clocks here can.
const YEAR_ZERO: i64 = -62_167_219_200;

/// A point in time with nanoseconds, written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The wall clock now.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now())
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z, negative before it.
    pub fn unix_nanos(self) -> i128 {
        self.0.as_nanosecond()
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse =
            |why: String| Error::new(Kind::Corrupt, format!("{text:?} is not an RFC 3339 time: {why}"));
        let parsed: jiff::Timestamp = text.parse().map_err(|e: jiff::Error| refuse(e.to_string()))?;
        if parsed.as_second() < YEAR_ZERO {
            return Err(refuse("it is before the year 0".to_owned()));
        }
        Ok(Self(parsed))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_local_time_is_read_and_utc_is_written() {
        let time: Timestamp = "2026-08-17T11:25:15.123456789-04:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-08-17T15:25:15.123456789Z");
        assert_eq!("2026-03-06T13:56:11Z".parse::<Timestamp>().unwrap().to_string(), "2026-03-06T13:56:11Z");
        assert!("yesterday".parse::<Timestamp>().is_err());
    }

    #[test]
    fn a_time_that_rfc_3339_could_not_write_is_none() {
        let first: Timestamp = "0000-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(first.to_string(), "0000-01-01T00:00:00Z");
        for early in ["-000001-12-31T23:59:59Z", "0000-01-01T00:00:00+01:00"] {
            assert_eq!(early.parse::<Timestamp>().unwrap_err().kind(), Kind::Corrupt, "{early}");
        }
    }
}
