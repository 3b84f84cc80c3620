//! Positioned reads and writes of the two files of a job, with errors that say which one.
//!
//! Never a mapping: a file that someone shortens would then kill the host with SIGBUS.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::zero::is_zero;
use crate::error::{Error, Kind, Result};

const RAW: &str = "the raw memory";
const COMPRESSED: &str = "the compressed memory";
/// Decompressed zeros shorter than this, or not aligned to it, are written as data: a hole costs an extent.
const HOLE_GRAIN_BYTES: usize = 64 << 10;

/// A [`Kind::Corrupt`] error about byte `at` of a compressed file.
pub(super) fn damaged(at: u64, what: impl Display) -> Error {
    Error::new(
        Kind::Corrupt,
        format!(
            "the compressed memory is damaged at byte {at}: {what}; use another snapshot or a copy of this one"
        ),
    )
}

/// A [`Kind::Corrupt`] error: a compressed file holds more than it may.
pub(super) fn too_large(max_bytes: u64) -> Error {
    Error::new(
        Kind::Corrupt,
        format!(
            "the compressed memory holds more than the {max_bytes} bytes that it may; do not trust this snapshot"
        ),
    )
}

/// A defect: a codec refused what it must accept.
pub(super) fn defect(what: impl Display) -> Error {
    Error::new(Kind::Internal, format!("{what}; please report it"))
}

/// The length of a compressed file.
pub(super) fn compressed_bytes(file: &File) -> Result<u64> {
    file.metadata().map(|meta| meta.len()).map_err(|e| Error::os("examine", COMPRESSED, &e))
}

/// The length of a raw file.
pub(super) fn raw_bytes(file: &File) -> Result<u64> {
    file.metadata().map(|meta| meta.len()).map_err(|e| Error::os("examine", RAW, &e))
}

/// Fills `buffer` from byte `at` of a compressed file, whose end before that is damage.
pub(super) fn read_compressed(file: &File, buffer: &mut [u8], at: u64) -> Result<()> {
    file.read_exact_at(buffer, at).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => damaged(at, "it ends too early"),
        _ => Error::os("read", COMPRESSED, &e),
    })
}

/// Reads at most `buffer.len()` bytes from byte `at` of a compressed file; fewer only at its end.
pub(super) fn read_compressed_up_to(file: &File, buffer: &mut [u8], at: u64) -> Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::os("read", COMPRESSED, &e)),
        }
    }
    Ok(filled)
}

/// Fills `buffer` from byte `at` of a raw file.
pub(super) fn read_raw(file: &File, buffer: &mut [u8], at: u64) -> Result<()> {
    file.read_exact_at(buffer, at).map_err(|e| Error::os("read", RAW, &e))
}

/// Writes `bytes` at byte `at` of a compressed file.
pub(super) fn write_compressed(file: &File, bytes: &[u8], at: u64) -> Result<()> {
    file.write_all_at(bytes, at).map_err(|e| Error::os("write", COMPRESSED, &e))
}

/// Writes `bytes` at byte `at` of a raw file that reads as zeros there, leaving out what is zero anyway.
pub(super) fn write_raw_sparse(file: &File, bytes: &[u8], at: u64) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let zeros = grains(rest, is_zero);
        let (_, data) = rest.split_at(zeros);
        let (data, after) = data.split_at(grains(data, |grain| !is_zero(grain)));
        let data_at = at + (bytes.len() - rest.len() + zeros) as u64;
        file.write_all_at(data, data_at).map_err(|e| Error::os("write", RAW, &e))?;
        rest = after;
    }
    Ok(())
}

/// Bytes of the leading grains of which `holds` is true.
fn grains(bytes: &[u8], holds: impl Fn(&[u8]) -> bool) -> usize {
    bytes.chunks(HOLE_GRAIN_BYTES).take_while(|grain| holds(grain)).map(<[u8]>::len).sum()
}

/// Makes an empty file `len` bytes long, or cuts a longer one.
pub(super) fn set_compressed_bytes(file: &File, len: u64) -> Result<()> {
    file.set_len(len).map_err(|e| Error::os("set the size of", COMPRESSED, &e))
}

/// Makes an empty file `len` bytes long: one hole.
pub(super) fn set_raw_bytes(file: &File, len: u64) -> Result<()> {
    file.set_len(len).map_err(|e| Error::os("set the size of", RAW, &e))
}

/// Refuses to write over what is there: old bytes would show through the holes.
pub(super) fn check_empty(file: &File) -> Result<()> {
    match raw_bytes(file)? {
        0 => Ok(()),
        len => Err(defect(format_args!("the file to write has {len} bytes already"))),
    }
}

/// Makes `buffer` at least `len` bytes long; frames are bounded, and so is `len`.
pub(super) fn grow(buffer: &mut Vec<u8>, len: u64) -> Result<()> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    buffer
        .try_reserve(len.saturating_sub(buffer.len()))
        .map_err(|_| Error::new(Kind::Io, format!("there is no memory for a buffer of {len} bytes")))?;
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    Ok(())
}

/// Reads a little-endian number at `at`; `None` past the end.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads a little-endian number at `at`; `None` past the end.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
