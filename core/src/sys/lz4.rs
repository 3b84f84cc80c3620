//! liblz4, one block at a time: the fast coder, LZ4 HC, and the decoder, which is made for blocks that no one vouches for.

use std::ffi::{c_char, c_int, c_void};

// What `lz4-sys` does not declare: high compression with a caller's state, and decoders of more or less than a block.
// SAFETY: names and types are those of lz4.h and lz4hc.h of the liblz4 that `lz4-sys` builds and links.
unsafe extern "C" {
    fn LZ4_decompress_safe_partial(
        source: *const c_char,
        target: *mut c_char,
        source_bytes: c_int,
        wanted_bytes: c_int,
        target_bytes: c_int,
    ) -> c_int;
    fn LZ4_decompress_safe_usingDict(
        source: *const c_char,
        target: *mut c_char,
        source_bytes: c_int,
        target_bytes: c_int,
        before: *const c_char,
        before_bytes: c_int,
    ) -> c_int;
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

/// The most bytes that `raw_bytes` take, however little they can be compressed; 0 for more than liblz4 takes at once.
pub(crate) fn compress_bound(raw_bytes: usize) -> usize {
    // SAFETY: takes an integer and returns one.
    c_int::try_from(raw_bytes).map_or(0, |bytes| unsafe { lz4_sys::LZ4_compressBound(bytes) } as usize)
}

/// Decodes the block `data` to the front of `raw` and returns its length; `before` is the memory in front of it that a
/// linked block refers to. `None` where it is damaged, or holds more than `raw`.
pub(crate) fn decompress(data: &[u8], before: &[u8], raw: &mut [u8]) -> Option<usize> {
    let data_bytes = c_int::try_from(data.len()).ok()?;
    let raw_bytes = c_int::try_from(raw.len()).ok()?;
    let before_bytes = c_int::try_from(before.len()).ok()?;
    // SAFETY: the three slices are valid for the lengths passed, and `raw` overlaps none since it is borrowed mutably.
    // Whatever `data` holds, liblz4 reads nothing outside of `data`, `before` and what it wrote, and writes nothing outside
    // of `raw`.
    let decoded = unsafe {
        LZ4_decompress_safe_usingDict(
            data.as_ptr().cast(),
            raw.as_mut_ptr().cast(),
            data_bytes,
            raw_bytes,
            before.as_ptr().cast(),
            before_bytes,
        )
    };
    usize::try_from(decoded).ok()
}

/// Decodes the block `data`, which needs no other, until `raw` is full, and returns how much of it is. Of damage only that is
/// found which was met on the way.
pub(crate) fn decompress_front(data: &[u8], raw: &mut [u8]) -> Option<usize> {
    let data_bytes = c_int::try_from(data.len()).ok()?;
    let raw_bytes = c_int::try_from(raw.len()).ok()?;
    // SAFETY: as in `decompress`; what is wanted is all that there is room for.
    let decoded = unsafe {
        LZ4_decompress_safe_partial(
            data.as_ptr().cast(),
            raw.as_mut_ptr().cast(),
            data_bytes,
            raw_bytes,
            raw_bytes,
        )
    };
    usize::try_from(decoded).ok()
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

    fn memory() -> Vec<u8> {
        (0..60_000u32).map(|i| (i % 251 * (i / 1000)) as u8).collect()
    }

    fn decoded(data: &[u8], raw_bytes: usize) -> Vec<u8> {
        let mut raw = vec![0; raw_bytes];
        assert_eq!(decompress(data, &[], &mut raw), Some(raw_bytes));
        raw
    }

    #[test]
    fn a_fast_block_comes_back_and_one_that_does_not_fit_is_none() {
        let raw = memory();
        let mut out = vec![0; compress_bound(raw.len())];
        assert_eq!(compress_fast(&raw, &mut out[..10]), None);
        let written = compress_fast(&raw, &mut out).unwrap();
        assert!(written < raw.len() / 2);
        assert_eq!(decoded(&out[..written], raw.len()), raw);
    }

    #[test]
    fn a_block_comes_back_even_after_one_that_did_not_fit() {
        let raw = memory();
        for level in 2..=9 {
            let mut coder = HighCompression::new(level);
            let mut out = vec![0; compress_bound(raw.len())];
            assert_eq!(coder.compress(&raw, &mut out[..10]), None);
            let written = coder.compress(&raw, &mut out).unwrap();
            assert!(written < raw.len() / 2);
            assert_eq!(decoded(&out[..written], raw.len()), raw, "level {level}");
        }
    }

    #[test]
    fn the_front_of_a_block_is_the_same_as_in_the_whole() {
        let raw = memory();
        let mut out = vec![0; compress_bound(raw.len())];
        let written = compress_fast(&raw, &mut out).unwrap();
        for wanted in [1, 4096, 4097, 59_999, 60_000] {
            let mut front = vec![0; wanted];
            assert_eq!(decompress_front(&out[..written], &mut front), Some(wanted));
            assert_eq!(front, raw[..wanted], "{wanted}");
        }
        let mut more = vec![0; 60_001];
        assert_eq!(decompress_front(&out[..written], &mut more), Some(60_000));
    }

    #[test]
    fn damage_is_none_or_other_memory_and_never_out_of_bounds() {
        let raw = memory();
        let mut out = vec![0; compress_bound(raw.len())];
        let written = compress_fast(&raw, &mut out).unwrap();
        assert_eq!(decompress(&out[..written], &[], &mut vec![0; raw.len() - 1]), None, "no room");
        for at in 0..written {
            let mut damaged = out[..written].to_vec();
            damaged[at] ^= 0xFF;
            // In a box of its own: a write behind its end is one that the allocator's checks can see.
            let mut room = vec![0; raw.len()].into_boxed_slice();
            assert!(decompress(&damaged, &[], &mut room).is_none_or(|bytes| bytes <= raw.len()));
            assert!(decompress_front(&damaged, &mut room).is_none_or(|bytes| bytes <= raw.len()));
            assert!(decompress(&damaged[..at], &[], &mut room).is_none_or(|bytes| bytes <= raw.len()));
        }
    }
}
