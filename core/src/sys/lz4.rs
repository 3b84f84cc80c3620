//! The coders of liblz4, one block at a time: the fast one, and LZ4 HC for the levels that lz4_flex does not have.

use std::ffi::{c_char, c_int, c_void};

// High compression with a caller's state, which `lz4-sys` does not declare.
// SAFETY: names and types are those of lz4hc.h of the liblz4 that `lz4-sys` builds and links.
unsafe extern "C" {
    fn LZ4_sizeofStateHC() -> c_int;
    fn LZ4_initStreamHC(state: *mut c_void, size: usize) -> *mut c_void;
    fn LZ4_compress_HC_extStateHC_fastReset(
        state: *mut c_void,
        source: *const c_char,
        target: *mut c_char,
        source_bytes: c_int,
        target_bytes: c_int,
        level: c_int,
    ) -> c_int;
}

/// Compresses `raw` into `out` as one block that needs no other, fast, and returns its length; `None` where it does not
/// fit.
pub(crate) fn compress_fast(raw: &[u8], out: &mut [u8]) -> Option<usize> {
    let raw_bytes = c_int::try_from(raw.len()).ok()?;
    let out_bytes = c_int::try_from(out.len()).ok()?;
    // SAFETY: both slices are valid for the lengths passed, and cannot overlap since one of them is borrowed mutably;
    // the tables are on liblz4's stack.
    let written = unsafe {
        lz4_sys::LZ4_compress_default(raw.as_ptr().cast(), out.as_mut_ptr().cast(), raw_bytes, out_bytes)
    };
    usize::try_from(written).ok().filter(|&written| written > 0)
}

/// The hash tables of the high-compression coder (256 KiB), kept from block to block.
pub(crate) struct HighCompression {
    /// Words, because liblz4 wants an alignment of 8.
    state: Vec<u64>,
    level: c_int,
}

impl HighCompression {
    /// Tables for `level`: 2 is LZ4MID, 3 to 9 are LZ4HC.
    pub(crate) fn new(level: i32) -> Self {
        // SAFETY: takes nothing and returns a constant.
        let bytes = usize::try_from(unsafe { LZ4_sizeofStateHC() }).unwrap_or_default();
        let mut state = vec![0_u64; bytes.div_ceil(size_of::<u64>())];
        // SAFETY: `state` is aligned to 8 and as long as liblz4 asked for, which is also what it is told.
        unsafe { LZ4_initStreamHC(state.as_mut_ptr().cast(), bytes) };
        Self { state, level }
    }

    /// Compresses `raw` into `out` as one block that needs no other, and returns its length; `None` where it does
    /// not fit.
    pub(crate) fn compress(&mut self, raw: &[u8], out: &mut [u8]) -> Option<usize> {
        let raw_bytes = c_int::try_from(raw.len()).ok()?;
        let out_bytes = c_int::try_from(out.len()).ok()?;
        // SAFETY: `state` was initialised by LZ4_initStreamHC, and liblz4 does so again after a call that failed; both
        // slices are valid for the lengths passed, and cannot overlap since one of them is borrowed mutably.
        let written = unsafe {
            LZ4_compress_HC_extStateHC_fastReset(
                self.state.as_mut_ptr().cast(),
                raw.as_ptr().cast(),
                out.as_mut_ptr().cast(),
                raw_bytes,
                out_bytes,
                self.level,
            )
        };
        usize::try_from(written).ok().filter(|&written| written > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_block_comes_back_and_one_that_does_not_fit_is_none() {
        let raw: Vec<u8> = (0..60_000u32).map(|i| (i % 251 * (i / 1000)) as u8).collect();
        let mut out = vec![0; 70_000];
        assert_eq!(compress_fast(&raw, &mut out[..10]), None);
        let written = compress_fast(&raw, &mut out).unwrap();
        assert!(written < raw.len() / 2);
        assert_eq!(lz4_flex::block::decompress(&out[..written], raw.len()).unwrap(), raw);
    }

    #[test]
    fn a_block_comes_back_even_after_one_that_did_not_fit() {
        let raw: Vec<u8> = (0..60_000u32).map(|i| (i % 251 * (i / 1000)) as u8).collect();
        for level in 2..=9 {
            let mut coder = HighCompression::new(level);
            let mut out = vec![0; 70_000];
            assert_eq!(coder.compress(&raw, &mut out[..10]), None);
            let written = coder.compress(&raw, &mut out).unwrap();
            assert!(written < raw.len() / 2);
            assert_eq!(
                lz4_flex::block::decompress(&out[..written], raw.len()).unwrap(),
                raw,
                "level {level}"
            );
        }
    }
}
