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

use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name};

use super::file::defect;
use super::format::Standard;
use crate::error::Result;

/// The magic number of a zstd frame.
const MAGIC: u32 = 0xFD2F_B528;
/// Frames that need a larger window than this (128 MiB) are refused, as `zstd -d` does.
pub(super) const WINDOW_LOG_MAX: u32 = 27;

/// Up to here zstd encodes nearly as fast as it decodes.
pub(super) const LAST_FAST_LEVEL: i32 = 3;

/// The most memory in a block, the part of a frame that zstd makes and decodes at once.
pub(super) const BLOCK_BYTES: usize = 128 << 10;

/// The same at `level`: less where a block of that size would take longer than a cancel may (some 7 ms at level 9). From
/// level 10 on size matters more.
fn block_bytes(level: i32) -> usize {
    if level <= 9 { BLOCK_BYTES / 2 } else { BLOCK_BYTES }
}

/// Memory in a data frame at `level`: the smaller, the sooner a page is there; the larger, the better it compresses,
/// which matters the more, the more time a level takes to look (docs/performance.md has the measurements). From level 10 on
/// a longer frame would take more than the 16 MiB that a thread may have.
pub(super) fn frame_bytes(level: i32) -> usize {
    match level {
        ..=LAST_FAST_LEVEL => 32 << 10,
        4..=6 => 256 << 10,
        7..=9 => 2 << 20,
        _ => 1 << 20,
    }
}

/// The most bytes that a frame with `raw_bytes` of memory can take.
pub(super) fn stored_bound(raw_bytes: usize) -> usize {
    zstd_safe::compress_bound(raw_bytes)
}

/// Compresses frames at one level.
pub(super) struct Encoder {
    context: CCtx<'static>,
    block_bytes: usize,
}

impl Encoder {
    pub(super) fn new(level: i32) -> Result<Self> {
        let mut context = CCtx::try_create().ok_or_else(|| defect("zstd got no memory"))?;
        let block_bytes = block_bytes(level);
        for parameter in [
            CParameter::CompressionLevel(level),
            CParameter::ChecksumFlag(true),
            CParameter::MaxBlockSize(block_bytes as u32),
        ] {
            context.set_parameter(parameter).map_err(|code| defect(get_error_name(code)))?;
        }
        Ok(Self { context, block_bytes })
    }

    /// Writes `raw` as one frame to the front of `out`, and returns its length; asks `check` before each block of a longer
    /// frame whether to go on.
    pub(super) fn encode(
        &mut self,
        raw: &[u8],
        out: &mut [u8],
        check: &dyn Fn() -> Result<()>,
    ) -> Result<usize> {
        let failed = |code| defect(format_args!("zstd: {}", get_error_name(code)));
        if raw.len() <= self.block_bytes {
            return self.context.compress2(out, raw).map_err(failed);
        }
        // One that was ended in the middle left a frame without an end.
        self.context.reset(ResetDirective::SessionOnly).map_err(failed)?;
        self.context.set_pledged_src_size(Some(raw.len() as u64)).map_err(failed)?;
        let mut output = OutBuffer::around(out);
        let mut rest = raw;
        while !rest.is_empty() {
            check()?;
            let (block, after) = rest.split_at(rest.len().min(self.block_bytes));
            let directive = match after {
                [] => ZSTD_EndDirective::ZSTD_e_end,
                _ => ZSTD_EndDirective::ZSTD_e_continue,
            };
            let mut input = InBuffer::around(block);
            let unwritten =
                self.context.compress_stream2(&mut output, &mut input, directive).map_err(failed)?;
            if input.pos() < block.len() || (after.is_empty() && unwritten > 0) {
                return Err(defect("the buffer for a zstd frame is too small"));
            }
            rest = after;
        }
        Ok(output.pos())
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
        self.set(standard)?;
        match self.context.decompress(raw, stored) {
            Ok(decoded) if decoded == raw.len() => Ok(()),
            Ok(_) => Err("a frame holds less than it declares"),
            Err(code) => Err(get_error_name(code)),
        }
    }

    /// Decodes `stored`, a whole frame, until `raw` is full.
    pub(super) fn decode_front(&mut self, stored: &[u8], raw: &mut [u8]) -> Result<(), &'static str> {
        self.context.reset(ResetDirective::SessionOnly).map_err(get_error_name)?;
        self.set(Standard::Skipped)?;
        let (wanted, mut input) = (raw.len(), InBuffer::around(stored));
        let mut output = OutBuffer::around(raw);
        let decoded = loop {
            let before = (output.pos(), input.pos());
            let decoded = self.context.decompress_stream(&mut output, &mut input).map_err(get_error_name);
            let is_over = output.pos() == wanted || before == (output.pos(), input.pos());
            if decoded.is_err() || is_over {
                break decoded;
            }
        };
        let filled = output.pos();
        // Else the next frame would be taken for the rest of this one.
        self.context.reset(ResetDirective::SessionOnly).map_err(get_error_name)?;
        decoded?;
        if filled == wanted { Ok(()) } else { Err("a frame holds less than it declares") }
    }

    fn set(&mut self, standard: Standard) -> Result<(), &'static str> {
        if self.standard != standard {
            let ignore = DParameter::ForceIgnoreChecksum(standard == Standard::Skipped);
            self.context.set_parameter(ignore).map_err(get_error_name)?;
            self.standard = standard;
        }
        Ok(())
    }
}
