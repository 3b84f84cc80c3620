//! The head of our zstd files: a skippable frame that says how long the image is.

use std::fs::File;

use twox_hash::XxHash3_64;

use crate::error::Result;
use crate::memory::file::{read_compressed_up_to, u64_at};
use crate::memory::skippable;

/// Length of the head, and so the offset of the first frame.
pub(in crate::memory) const HEAD_BYTES: u64 = skippable::HEAD_BYTES + PAYLOAD_BYTES;
const PAYLOAD_BYTES: u64 = 24;
const MAGIC: &[u8; 8] = b"HypeMem1";

/// The head of an image of `raw_bytes`: after the skippable frame's own eight bytes, the image's length, a magic
/// number, and the xxh3-64 of both.
pub(in crate::memory) fn head(raw_bytes: u64) -> Result<[u8; HEAD_BYTES as usize]> {
    let mut head = [0; HEAD_BYTES as usize];
    head[..8].copy_from_slice(&skippable::head(skippable::OURS, PAYLOAD_BYTES)?);
    head[8..16].copy_from_slice(&raw_bytes.to_le_bytes());
    head[16..24].copy_from_slice(MAGIC);
    let sum = XxHash3_64::oneshot(&head[8..24]);
    head[24..].copy_from_slice(&sum.to_le_bytes());
    Ok(head)
}

/// The length of the image as the head says, where `file` begins with a sound head of ours.
pub(in crate::memory) fn read(file: &File) -> Result<Option<u64>> {
    let mut found = [0; HEAD_BYTES as usize];
    if read_compressed_up_to(file, &mut found, 0)? < found.len() {
        return Ok(None);
    }
    let raw_bytes = u64_at(&found, 8).unwrap_or_default();
    Ok((found == head(raw_bytes)?).then_some(raw_bytes))
}
