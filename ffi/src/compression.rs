//! Compression settings, in and out.

use std::ffi::{CString, c_char};

use hypeman_core::{CompressionConfig, Result};

use crate::border::{c_string, invalid, lend, text};
use crate::options::{self, Options};

/// Compression of a snapshot's guest memory. Start from HYPEMAN_COMPRESSION_INIT, which is on, with the default
/// algorithm at its default level. Where a function takes a pointer to this, NULL says nothing and leaves the
/// choice to the next default; enabled == 0 says no.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Compression {
    /// sizeof(hypeman_compression)
    pub struct_size: usize,
    /// Not 0: compress. 0: do not, whatever the defaults say; the other fields are ignored then.
    pub enabled: i32,
    /// Not 0: level counts. 0: the default level of the algorithm, and level must be 0.
    pub has_level: i32,
    /// zstd: 1 to 19, default 1. lz4: 0 to 9, default 0.
    pub level: i64,
    /// "zstd" or "lz4"; NULL for the default, zstd.
    pub algorithm: *const c_char,
}

// SAFETY: repr(C), the size first; two ints together fill a word; integers and a pointer.
unsafe impl Options for Compression {
    const FIRST_BYTES: usize =
        size_of::<usize>() + 2 * size_of::<i32>() + size_of::<i64>() + size_of::<*const c_char>();
}

/// Reads settings, `None` for NULL.
///
/// # Safety
/// `given` is NULL or valid settings, whose algorithm is NULL or a valid text.
pub(crate) unsafe fn compression(given: *const Compression) -> Result<Option<CompressionConfig>> {
    // SAFETY: what the caller promises.
    let Some(given) = (unsafe { options::read_given(given) })? else { return Ok(None) };
    let Compression { struct_size: _, enabled, has_level, level, algorithm } = given;
    if has_level == 0 && level != 0 {
        return Err(invalid(format!(
            "compression has level {level}, but has_level is 0; set has_level to 1"
        )));
    }
    Ok(Some(CompressionConfig {
        enabled: enabled != 0,
        // SAFETY: what the caller promises.
        algorithm: unsafe { text(algorithm, "compression algorithm") }?.map(str::to_owned),
        level: (has_level != 0).then_some(level),
    }))
}

/// Settings as an object lends them to C.
pub(crate) struct Lent {
    settings: Compression,
    /// What `settings.algorithm` points to.
    _algorithm: Option<CString>,
}

impl Lent {
    pub(crate) fn settings(&self) -> &Compression {
        &self.settings
    }
}

impl From<CompressionConfig> for Lent {
    fn from(config: CompressionConfig) -> Self {
        let CompressionConfig { enabled, algorithm, level } = config;
        let algorithm = algorithm.map(c_string);
        let settings = Compression {
            struct_size: size_of::<Compression>(),
            enabled: enabled.into(),
            has_level: level.is_some().into(),
            level: level.unwrap_or(0),
            algorithm: lend(algorithm.as_ref()),
        };
        Self { settings, _algorithm: algorithm }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_can_be_given_back() {
        let configs =
            [CompressionConfig::on(), CompressionConfig::off(), CompressionConfig::with("lz4", Some(0))];
        for config in configs {
            let lent = Lent::from(config.clone());
            // SAFETY: `lent` lives and is valid.
            assert_eq!(unsafe { compression(lent.settings()) }.unwrap(), Some(config));
        }
        // SAFETY: NULL.
        assert_eq!(unsafe { compression(std::ptr::null()) }.unwrap(), None);
    }

    #[test]
    fn a_level_that_would_be_ignored_is_refused() {
        let mut settings = *Lent::from(CompressionConfig::on()).settings();
        settings.level = 3;
        // SAFETY: valid settings; their algorithm is NULL.
        let refused = unsafe { compression(&raw const settings) }.unwrap_err();
        assert!(refused.message().contains("has_level"), "{refused}");
    }
}
