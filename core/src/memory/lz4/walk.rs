//! Finding the blocks of an lz4 frame by their lengths alone, where there is no index to trust.

use std::fs::File;

use super::header::{self, Header};
use super::{CHECKSUM_BYTES, END_MARK, LENGTH_BYTES, PLAIN};
use crate::error::Result;
use crate::memory::file::{compressed_bytes, damaged, read_compressed, u32_at};
use crate::memory::index::Frame;
use crate::memory::skippable;

/// Goes through a file from block to block.
pub(in crate::memory) struct Walk<'f> {
    file: &'f File,
    header: Header,
    content_bytes: u64,
    at: u64,
    raw_at: u64,
}

impl<'f> Walk<'f> {
    /// `None` where blocks need each other, or nothing but decoding tells where their memory belongs.
    ///
    /// A frame with a checksum of all its memory, too, is left to those who read it in sequence: only they can check
    /// it.
    pub(in crate::memory) fn new(file: &'f File) -> Result<Option<Self>> {
        let mut magic = [0; 4];
        read_compressed(file, &mut magic, 0)?;
        if u32::from_le_bytes(magic) != header::MAGIC {
            return Ok(None);
        }
        let header = header::read(file, 0)?;
        Ok(match header.content_bytes {
            Some(content_bytes) if header.is_independent && !header.has_content_checksum => {
                Some(Self { file, header, content_bytes, at: header.bytes, raw_at: 0 })
            }
            _ => None,
        })
    }

    /// The next block. All of them are full but the last one, or else [`Walk::ends_the_file`] will be false.
    pub(in crate::memory) fn next(&mut self) -> Result<Option<Frame>> {
        let mut length = [0; LENGTH_BYTES];
        read_compressed(self.file, &mut length, self.at)?;
        if length == END_MARK {
            return Ok(None);
        }
        let data_bytes = u32::from_le_bytes(length) & !PLAIN;
        if data_bytes as usize > self.header.block_bytes {
            return Err(damaged(self.at, "a block is longer than its frame allows"));
        }
        let checksum_bytes = if self.header.has_block_checksums { CHECKSUM_BYTES } else { 0 };
        let left = self.content_bytes.saturating_sub(self.raw_at);
        let frame = Frame {
            at: self.at,
            raw_at: self.raw_at,
            stored_bytes: data_bytes + (LENGTH_BYTES + checksum_bytes) as u32,
            raw_bytes: left.min(self.header.block_bytes as u64) as u32,
            is_zero: false,
            hash: None,
        };
        self.at = frame.end();
        self.raw_at = frame.raw_end();
        Ok(Some(frame))
    }

    /// After the last block: whether all memory was found, and nothing but skippable frames follows.
    pub(in crate::memory) fn ends_the_file(&self) -> Result<bool> {
        let len = compressed_bytes(self.file)?;
        let mut at = self.at + END_MARK.len() as u64;
        while at < len {
            let mut head = [0; skippable::HEAD_BYTES as usize];
            if len - at < skippable::HEAD_BYTES {
                return Ok(false);
            }
            read_compressed(self.file, &mut head, at)?;
            if !u32_at(&head, 0).is_some_and(skippable::is_magic) {
                return Ok(false);
            }
            at += skippable::HEAD_BYTES + u64::from(u32_at(&head, 4).unwrap_or_default());
        }
        Ok(at == len && self.raw_at == self.content_bytes)
    }
}
