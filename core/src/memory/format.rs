//! What both formats have in common, so that everything else need not know which one it writes or reads.

use std::fs::File;

use twox_hash::XxHash3_64;

use super::index::{self, Frame, Index};
use super::{file, lz4, zstd};
use crate::error::{Error, Result};
use crate::types::{Algorithm, CompressionSettings};

/// Memory in a data frame, and the grid on which frames begin in the image.
pub(super) fn frame_bytes(settings: CompressionSettings) -> usize {
    match settings.algorithm {
        Algorithm::Zstd => zstd::frame_bytes(settings.level),
        Algorithm::Lz4 => lz4::BLOCK_BYTES,
    }
}

/// The most bytes that a data frame with `raw_bytes` of memory takes.
pub(super) fn stored_bound(algorithm: Algorithm, raw_bytes: usize) -> usize {
    match algorithm {
        Algorithm::Zstd => zstd::stored_bound(raw_bytes),
        Algorithm::Lz4 => lz4::stored_bound(raw_bytes),
    }
}

/// One frame in this many is decoded and compared with its memory as soon as it is made.
///
/// Where encoding is slow every one is. Where it is fast, decoding all would take a quarter to a third more CPU time; a codec
/// or a CPU that is at fault is at fault often, and the checksums of both sides are in each frame and in the index
/// anyway (docs/performance.md has the measurement).
pub(super) fn frames_per_proof(settings: CompressionSettings) -> u64 {
    let is_fast = match settings.algorithm {
        Algorithm::Zstd => settings.level <= zstd::LAST_FAST_LEVEL,
        Algorithm::Lz4 => settings.level < lz4::FIRST_HIGH_LEVEL,
    };
    if is_fast { 16 } else { 1 }
}

/// How much of the front of a frame is decoded where bytes before `wanted` are needed: what costs no more than those alone.
pub(super) fn front_bytes(algorithm: Algorithm, wanted: usize) -> usize {
    match algorithm {
        Algorithm::Zstd => wanted.next_multiple_of(zstd::BLOCK_BYTES),
        Algorithm::Lz4 => wanted.next_multiple_of(lz4::FRONT_GRAIN_BYTES),
    }
}

/// The most memory in one frame of zeros.
pub(super) fn max_zero_bytes(algorithm: Algorithm) -> u32 {
    match algorithm {
        Algorithm::Zstd => index::MAX_ZERO_FRAME_BYTES,
        Algorithm::Lz4 => lz4::MAX_ZERO_RUN_BYTES,
    }
}

/// Appends the only form in which a run of `raw_bytes` zeros is stored.
pub(super) fn append_zeros(algorithm: Algorithm, raw_bytes: u32, out: &mut Vec<u8>) {
    match algorithm {
        Algorithm::Zstd => zstd::zeros::append(raw_bytes, out),
        Algorithm::Lz4 => lz4::zeros::append(raw_bytes, out),
    }
}

/// Memory at the end of an image that has to be the last frame as [`plain_frame`] makes it.
pub(super) fn plain_tail_bytes(algorithm: Algorithm, raw_bytes: u64) -> u64 {
    match algorithm {
        Algorithm::Zstd => 0,
        Algorithm::Lz4 => lz4::plain_tail_bytes(raw_bytes),
    }
}

/// `raw` as a frame that is not compressed.
pub(super) fn plain_frame(raw: &[u8]) -> Vec<u8> {
    lz4::plain_block(raw)
}

/// What lies in front of the first frame.
pub(super) fn head(algorithm: Algorithm, raw_bytes: u64) -> Result<Vec<u8>> {
    Ok(match algorithm {
        Algorithm::Zstd => zstd::head::head(raw_bytes)?.to_vec(),
        Algorithm::Lz4 => lz4::header::head(raw_bytes).to_vec(),
    })
}

/// What lies between the last frame and the index.
fn end_mark(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::Zstd => &[],
        Algorithm::Lz4 => &lz4::END_MARK,
    }
}

/// Writes everything that follows the last frame, and returns the length of the file.
pub(super) fn finish(algorithm: Algorithm, file: &File, index: index::Writer<'_>) -> Result<u64> {
    let mark = end_mark(algorithm);
    let end = index.end();
    file::write_compressed(file, mark, end)?;
    let (index, end) = index.finish(end + mark.len() as u64)?;
    match algorithm {
        Algorithm::Zstd => zstd::seek_table::write(file, &index, end),
        Algorithm::Lz4 => Ok(end),
    }
}

/// Opens the index of a file of ours, and checks that it lies where it has to; `None` where there is none.
pub(super) fn open_index(algorithm: Algorithm, file: &File) -> Result<Option<Index>> {
    let end = match algorithm {
        Algorithm::Zstd => zstd::seek_table::begin(file)?,
        Algorithm::Lz4 => Some(file::compressed_bytes(file)?),
    };
    let Some(end) = end else { return Ok(None) };
    let Some(index) = Index::open(file, end)? else { return Ok(None) };
    let head_bytes = match algorithm {
        Algorithm::Zstd => zstd::head::HEAD_BYTES,
        Algorithm::Lz4 => lz4::header::HEAD_BYTES,
    };
    let begin = index.totals.end.checked_add(end_mark(algorithm).len() as u64);
    if index.begin() != begin || index.totals.first != head_bytes {
        return Err(file::damaged(end, "its index is not of this file"));
    }
    Ok(Some(index))
}

/// Checks every byte of a file of ours that no frame covers: what is in front of them, and what is behind.
pub(super) fn check_frame(algorithm: Algorithm, file: &File, index: &Index) -> Result<()> {
    let expect = |expected: &[u8], at: u64, what: &str| {
        let mut found = vec![0; expected.len()];
        file::read_compressed(file, &mut found, at)?;
        if found == expected { Ok(()) } else { Err(file::damaged(at, what)) }
    };
    expect(&head(algorithm, index.totals.raw_bytes)?, 0, "its head is not as it was written")?;
    expect(end_mark(algorithm), index.totals.end, "its end mark is not where it has to be")?;
    expect(&index.head()?, index.begin().unwrap_or_default(), "its index is not in a frame of its own")?;
    match algorithm {
        Algorithm::Zstd => {
            let end = index.begin().unwrap_or_default() + index.bytes();
            zstd::seek_table::check(file, index, end)
        }
        Algorithm::Lz4 => Ok(()),
    }
}

/// Refuses a file without an index that must have had one: it is ours.
pub(super) fn check_foreign(algorithm: Algorithm, file: &File) -> Result<()> {
    match algorithm {
        Algorithm::Zstd if zstd::head::read(file)?.is_some() => {
            Err(file::damaged(0, "it has lost its index"))
        }
        Algorithm::Zstd | Algorithm::Lz4 => Ok(()),
    }
}

/// Compresses frames with one algorithm at one level.
pub(super) enum Encoder {
    Zstd(zstd::Encoder),
    Lz4(lz4::Encoder),
}

impl Encoder {
    pub(super) fn new(settings: CompressionSettings) -> Result<Self> {
        Ok(match settings.algorithm {
            Algorithm::Zstd => Self::Zstd(zstd::Encoder::new(settings.level)?),
            Algorithm::Lz4 => Self::Lz4(lz4::Encoder::new(settings.level)),
        })
    }

    /// Writes `raw` as one frame to the front of `out`, and returns its length. In a long frame `check` is asked now and
    /// then whether to go on.
    pub(super) fn encode(
        &mut self,
        raw: &[u8],
        out: &mut [u8],
        check: &dyn Fn() -> Result<()>,
    ) -> Result<usize> {
        match self {
            Self::Zstd(encoder) => encoder.encode(raw, out, check),
            Self::Lz4(encoder) => encoder.encode(raw, out),
        }
    }
}

/// Which checksums a decoder looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standard {
    /// The format's own too.
    Checked,
    /// Only what decoding needs: the stored bytes were checked against the index.
    Skipped,
}

/// Decompresses frames of one algorithm.
pub(super) enum Decoder {
    Zstd(zstd::Decoder),
    Lz4,
}

impl Decoder {
    pub(super) fn new(algorithm: Algorithm) -> Result<Self> {
        Ok(match algorithm {
            Algorithm::Zstd => Self::Zstd(zstd::Decoder::new()?),
            Algorithm::Lz4 => Self::Lz4,
        })
    }

    /// Decodes one frame into `raw`, which it has to fill; says what is wrong where it does not.
    pub(super) fn decode(
        &mut self,
        stored: &[u8],
        raw: &mut [u8],
        standard: Standard,
    ) -> Result<(), &'static str> {
        match self {
            Self::Zstd(decoder) => decoder.decode(stored, raw, standard),
            Self::Lz4 => lz4::decode(stored, raw, standard),
        }
    }

    /// Decodes the front of `frame`, stored as `stored`, until `raw` is full. Only where an index knows its bytes: the
    /// format's own checksum is one of the whole frame.
    pub(super) fn front(&mut self, frame: &Frame, stored: &[u8], raw: &mut [u8]) -> Result<()> {
        check_stored(frame, stored)?;
        let decoded = match self {
            Self::Zstd(decoder) => decoder.decode_front(stored, raw),
            Self::Lz4 => lz4::decode_front(stored, raw),
        };
        decoded.map_err(|what| wrong(frame, what))
    }

    /// Decodes `frame`, stored as `stored`, into `raw`. Its bytes are checked against the index where that knows them,
    /// and else, or where `is_strict`, by the format's own checksum.
    pub(super) fn frame(
        &mut self,
        frame: &Frame,
        stored: &[u8],
        raw: &mut [u8],
        is_strict: bool,
    ) -> Result<()> {
        check_stored(frame, stored)?;
        let is_checked = frame.hash.is_some() && !is_strict;
        let standard = if is_checked { Standard::Skipped } else { Standard::Checked };
        self.decode(stored, raw, standard).map_err(|what| wrong(frame, what))
    }
}

/// Compares the stored bytes of `frame` with the checksum that the index has of them, where there is an index.
pub(super) fn check_stored(frame: &Frame, stored: &[u8]) -> Result<()> {
    match frame.hash {
        Some(hash) if hash != XxHash3_64::oneshot(stored) => {
            Err(wrong(frame, "the checksum of a frame does not match"))
        }
        _ => Ok(()),
    }
}

fn wrong(frame: &Frame, what: &str) -> Error {
    file::damaged(frame.at, format_args!("{what} (the frame for memory byte {})", frame.raw_at))
}
