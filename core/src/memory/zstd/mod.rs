//! zstd: independent frames, each with its content size and checksum, in the seekable format.
//!
//! ```text
//! head         skippable frame of ours: the length of the image
//! frames       data frames, and frames of RLE blocks for long runs of zeros
//! index        skippable frame of ours (memory/index.rs)
//! seek table   skippable frame of the seekable format, its magic number last in the file
//! ```
//! The head is there because nothing else in a zstd file says how much there should be: without it, a file cut
//! between two frames would be a valid, shorter image.

pub(super) mod head;
pub(super) mod seek_table;
pub(super) mod stream;
pub(super) mod walk;
pub(super) mod zeros;

use zstd_safe::{CCtx, CParameter, DCtx, DParameter, get_error_name};

use super::file::defect;
use super::format::Standard;
use crate::error::Result;

/// The magic number of a zstd frame.
const MAGIC: u32 = 0xFD2F_B528;
/// Frames that need a larger window than this (128 MiB) are refused, as `zstd -d` does.
pub(super) const WINDOW_LOG_MAX: u32 = 27;

/// Memory in a data frame at `level`: the smaller, the sooner a page is there; the larger, the better it compresses,
/// which matters the more, the more time a level takes to look.
pub(super) fn frame_bytes(level: i32) -> usize {
    match level {
        ..=3 => 64 << 10,
        4..=9 => 256 << 10,
        _ => 1 << 20,
    }
}

/// The most bytes that a frame with `raw_bytes` of memory can take.
pub(super) fn stored_bound(raw_bytes: usize) -> usize {
    zstd_safe::compress_bound(raw_bytes)
}

/// Compresses frames at one level.
pub(super) struct Encoder(CCtx<'static>);

impl Encoder {
    pub(super) fn new(level: i32) -> Result<Self> {
        let mut context = CCtx::try_create().ok_or_else(|| defect("zstd got no memory"))?;
        for parameter in [CParameter::CompressionLevel(level), CParameter::ChecksumFlag(true)] {
            context.set_parameter(parameter).map_err(|code| defect(get_error_name(code)))?;
        }
        Ok(Self(context))
    }

    /// Writes `raw` as one frame to the front of `out`, and returns its length.
    pub(super) fn encode(&mut self, raw: &[u8], out: &mut [u8]) -> Result<usize> {
        self.0.compress2(out, raw).map_err(|code| defect(format_args!("zstd: {}", get_error_name(code))))
    }
}

/// Decompresses frames.
pub(super) struct Decoder {
    context: DCtx<'static>,
    standard: Standard,
}

impl Decoder {
    pub(super) fn new() -> Result<Self> {
        let context = DCtx::try_create().ok_or_else(|| defect("zstd got no memory"))?;
        Ok(Self { context, standard: Standard::Checked })
    }

    /// Decodes `stored`, whole frames, into `raw`, which they have to fill; says what is wrong where they do not.
    pub(super) fn decode(
        &mut self,
        stored: &[u8],
        raw: &mut [u8],
        standard: Standard,
    ) -> Result<(), &'static str> {
        if self.standard != standard {
            let ignore = DParameter::ForceIgnoreChecksum(standard == Standard::Skipped);
            self.context.set_parameter(ignore).map_err(get_error_name)?;
            self.standard = standard;
        }
        match self.context.decompress(raw, stored) {
            Ok(decoded) if decoded == raw.len() => Ok(()),
            Ok(_) => Err("a frame holds less than it declares"),
            Err(code) => Err(get_error_name(code)),
        }
    }
}
