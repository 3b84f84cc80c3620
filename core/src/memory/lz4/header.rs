//! The header of an lz4 frame.

use std::fs::File;

use twox_hash::XxHash32;

use crate::error::Result;
use crate::memory::file::{damaged, read_compressed, u64_at};

pub(in crate::memory) const MAGIC: u32 = 0x184D_2204;
/// Length of our header, and so the offset of the first block.
pub(in crate::memory) const HEAD_BYTES: u64 = 15;

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 0b10_0000;
const BLOCK_CHECKSUMS: u8 = 0b1_0000;
const CONTENT_SIZE: u8 = 0b1000;
const CONTENT_CHECKSUM: u8 = 0b100;
const RESERVED: u8 = 0b10;
const DICTIONARY: u8 = 1;
const BLOCKS_OF_64_KIB: u8 = 4 << 4;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct Header {
    /// Its length, from the magic number on.
    pub(in crate::memory) bytes: u64,
    pub(in crate::memory) is_independent: bool,
    pub(in crate::memory) has_block_checksums: bool,
    pub(in crate::memory) has_content_checksum: bool,
    pub(in crate::memory) content_bytes: Option<u64>,
    pub(in crate::memory) block_bytes: usize,
}

/// The header of an image of `raw_bytes`.
pub(in crate::memory) fn head(raw_bytes: u64) -> [u8; HEAD_BYTES as usize] {
    let mut head = [0; HEAD_BYTES as usize];
    head[..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[4] = VERSION | INDEPENDENT | BLOCK_CHECKSUMS | CONTENT_SIZE;
    head[5] = BLOCKS_OF_64_KIB;
    head[6..14].copy_from_slice(&raw_bytes.to_le_bytes());
    head[14] = checksum(&head[4..14]);
    head
}

fn checksum(descriptor: &[u8]) -> u8 {
    XxHash32::oneshot(0, descriptor).to_le_bytes()[1]
}

/// Reads the header whose magic number is at `at`.
pub(in crate::memory) fn read(file: &File, at: u64) -> Result<Header> {
    let mut fixed = [0; 6];
    read_compressed(file, &mut fixed, at)?;
    let [_, _, _, _, flags, sizes] = fixed;
    let has_content_size = flags & CONTENT_SIZE != 0;
    let optional_bytes = if has_content_size { 8 } else { 0 };
    // From the flags to the checksum of the header.
    let mut rest = vec![0; 2 + optional_bytes + 1];
    read_compressed(file, &mut rest, at + 4)?;
    let (sum, descriptor) = rest.split_last().unwrap_or((&0, &[]));
    let block_bytes = match sizes >> 4 {
        size @ 4..=7 => 1 << (8 + 2 * size),
        _ => 0,
    };
    let is_known = flags & VERSION_MASK == VERSION
        && flags & (RESERVED | DICTIONARY) == 0
        && sizes & 0b1111 == 0
        && block_bytes != 0;
    if !is_known || *sum != checksum(descriptor) {
        return Err(damaged(at, "the header of its lz4 frame makes no sense"));
    }
    Ok(Header {
        bytes: 4 + rest.len() as u64,
        is_independent: flags & INDEPENDENT != 0,
        has_block_checksums: flags & BLOCK_CHECKSUMS != 0,
        has_content_checksum: flags & CONTENT_CHECKSUM != 0,
        content_bytes: u64_at(descriptor, 2).filter(|_| has_content_size),
        block_bytes,
    })
}
