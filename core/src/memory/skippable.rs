//! Skippable frames: what zstd and lz4 readers step over, where our own data lies.

use super::file::defect;
use crate::error::Result;

/// Bytes before the payload of a skippable frame.
pub(super) const HEAD_BYTES: u64 = 8;
/// Ours: the head of a zstd file and the index of either format.
pub(super) const OURS: u32 = 0x184D_2A5D;
/// The seek table of the zstd seekable format.
pub(super) const SEEK_TABLE: u32 = 0x184D_2A5E;
const FIRST: u32 = 0x184D_2A50;
const LAST: u32 = 0x184D_2A5F;

/// Tells whether `magic` begins a skippable frame.
pub(super) fn is_magic(magic: u32) -> bool {
    (FIRST..=LAST).contains(&magic)
}

/// The first bytes of a skippable frame with a payload of `payload_bytes`.
pub(super) fn head(magic: u32, payload_bytes: u64) -> Result<[u8; HEAD_BYTES as usize]> {
    let payload_bytes = u32::try_from(payload_bytes).map_err(|_| defect("an index outgrew its frame"))?;
    let mut head = [0; HEAD_BYTES as usize];
    head[..4].copy_from_slice(&magic.to_le_bytes());
    head[4..].copy_from_slice(&payload_bytes.to_le_bytes());
    Ok(head)
}
