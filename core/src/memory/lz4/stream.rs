//! Reading lz4 frames from their start to their end: linked blocks, block sizes that nothing tells, no index.

use std::fs::File;
use std::hash::Hasher;

use twox_hash::{XxHash3_64, XxHash32};

use super::header::{self, Header};
use super::{END_MARK, PLAIN, decode_data};
use crate::error::Result;
use crate::memory::file::{compressed_bytes, damaged, read_compressed, u32_at};
use crate::memory::index::Frame;
use crate::memory::skippable;

/// How far back a block can refer.
const WINDOW_BYTES: usize = 64 << 10;

/// Reads every frame of `file`, and gives its memory to `put` in order, in blocks of at most 4 MiB.
pub(in crate::memory) fn read(file: &File, mut put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    each_frame(file, |mut blocks| {
        while let Some(memory) = blocks.next()? {
            put(memory)?;
        }
        Ok(Some(blocks.at))
    })?;
    Ok(())
}

/// Reads and checks all of `file` once, and gives each block to `put`, with a checksum by which to know it again;
/// `false` where blocks need each other, so that none of them can be decoded alone.
pub(in crate::memory) fn survey(file: &File, mut put: impl FnMut(Frame) -> Result<()>) -> Result<bool> {
    let mut raw_at = 0;
    each_frame(file, |mut blocks| {
        if !blocks.header.is_independent {
            return Ok(None);
        }
        let mut at = blocks.at;
        while let Some(memory) = blocks.next()? {
            let raw_bytes = memory.len() as u32;
            let stored_bytes = (blocks.at - at) as u32;
            put(Frame { at, raw_at, stored_bytes, raw_bytes, is_zero: false, hash: Some(blocks.hash()) })?;
            at = blocks.at;
            raw_at += u64::from(raw_bytes);
        }
        Ok(Some(blocks.at))
    })
}

/// Hands every frame of `file` to `read`, which returns where it ends, or nothing to stop there: then this is `false`.
/// Skippable frames are stepped over.
fn each_frame(file: &File, mut read: impl FnMut(Blocks<'_>) -> Result<Option<u64>>) -> Result<bool> {
    let len = compressed_bytes(file)?;
    let mut at = 0;
    let mut frames = 0;
    while at < len {
        let mut magic = [0; 8];
        let known = magic.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
        read_compressed(file, &mut magic[..known], at)?;
        match u32_at(&magic, 0).unwrap_or_default() {
            header::MAGIC => {
                let header = header::read(file, at)?;
                let Some(end) = read(Blocks::new(file, at + header.bytes, header))? else { return Ok(false) };
                at = end;
                frames += 1;
            }
            other if skippable::is_magic(other) => {
                at += skippable::HEAD_BYTES + u64::from(u32_at(&magic, 4).unwrap_or_default());
            }
            _ => return Err(damaged(at, "there is no lz4 frame")),
        }
    }
    match frames {
        0 => Err(damaged(0, "it is empty")),
        // What is skipped holds no memory, so that a lack of it is no loss, but still a sign that the file was cut.
        _ if at > len => Err(damaged(len, "it ends too early")),
        _ => Ok(true),
    }
}

/// Goes through the blocks of one frame.
struct Blocks<'f> {
    file: &'f File,
    header: Header,
    at: u64,
    /// The length of the last block, as it is stored.
    length: u32,
    stored: Vec<u8>,
    raw: Vec<u8>,
    /// The memory in front of the next block, where blocks are linked.
    window: Vec<u8>,
    content: XxHash32,
    content_bytes: u64,
}

impl<'f> Blocks<'f> {
    fn new(file: &'f File, at: u64, header: Header) -> Self {
        let raw = vec![0; header.block_bytes];
        let content = XxHash32::with_seed(0);
        Self {
            file,
            header,
            at,
            length: 0,
            stored: Vec::new(),
            raw,
            window: Vec::new(),
            content,
            content_bytes: 0,
        }
    }

    /// The memory of the next block, `None` behind the last one.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        let at = self.at;
        let length = u32::from_le_bytes(self.word()?);
        self.length = length;
        if length.to_le_bytes() == END_MARK {
            self.end()?;
            return Ok(None);
        }
        let stored_bytes = (length & !PLAIN) as usize;
        if stored_bytes > self.header.block_bytes {
            return Err(damaged(at, "a block is longer than its frame allows"));
        }
        self.stored.resize(stored_bytes, 0);
        read_compressed(self.file, &mut self.stored, self.at)?;
        self.at += stored_bytes as u64;
        if self.header.has_block_checksums
            && XxHash32::oneshot(0, &self.stored).to_le_bytes() != self.word()?
        {
            return Err(damaged(at, "the checksum of a block does not match"));
        }
        let decoded = decode_data(&self.stored, length & PLAIN != 0, &self.window, &mut self.raw)
            .map_err(|what| damaged(at, what))?;
        let memory = self.raw.get(..decoded).unwrap_or_default();
        self.content_bytes += decoded as u64;
        if self.header.has_content_checksum {
            self.content.write(memory);
        }
        if !self.header.is_independent {
            self.window.extend(memory);
            let old = self.window.len().saturating_sub(WINDOW_BYTES);
            self.window.drain(..old);
        }
        Ok(Some(memory))
    }

    /// The xxh3-64 of the last block, as it is stored: its length, its data, and its checksum if it has one.
    fn hash(&self) -> u64 {
        let mut hash = XxHash3_64::new();
        hash.write(&self.length.to_le_bytes());
        hash.write(&self.stored);
        if self.header.has_block_checksums {
            hash.write(&XxHash32::oneshot(0, &self.stored).to_le_bytes());
        }
        hash.finish()
    }

    /// Checks what the frame said about all of its memory.
    fn end(&mut self) -> Result<()> {
        if self.header.has_content_checksum && self.content.finish_32().to_le_bytes() != self.word()? {
            return Err(damaged(self.at, "the checksum of its memory does not match"));
        }
        match self.header.content_bytes {
            Some(expected) if expected != self.content_bytes => Err(damaged(
                self.at,
                format_args!("it should hold {expected} bytes of memory and holds {}", self.content_bytes),
            )),
            _ => Ok(()),
        }
    }

    fn word(&mut self) -> Result<[u8; 4]> {
        let mut word = [0; 4];
        read_compressed(self.file, &mut word, self.at)?;
        self.at += 4;
        Ok(word)
    }
}
