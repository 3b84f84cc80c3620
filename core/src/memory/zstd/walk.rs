//! Finding the frames of a zstd file by their headers alone, where there is no index to trust.

use std::fs::File;

use super::MAGIC;
use crate::error::Result;
use crate::memory::file::{compressed_bytes, damaged, read_compressed_up_to, u32_at, u64_at};
use crate::memory::index::Frame;
use crate::memory::skippable;

const MAX_FRAME_HEADER_BYTES: u64 = 18;
const BLOCK_HEADER_BYTES: u64 = 3;
/// Headers are read this much at a time: enough for a run of RLE blocks, and little beside a block that is skipped.
const WINDOW_BYTES: usize = 512;

/// What the next frame is.
pub(in crate::memory) enum Step {
    /// It can be decoded alone.
    Frame(Frame),
    /// It does not say how much it holds, or is too large to be held: only a sequential reader can go on.
    Unbounded,
    /// There is no further frame.
    End,
}

/// Goes through a file from frame to frame.
pub(in crate::memory) struct Walk<'f> {
    file: &'f File,
    len: u64,
    at: u64,
    raw_at: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'f> Walk<'f> {
    pub(in crate::memory) fn new(file: &'f File) -> Result<Self> {
        Ok(Self { file, len: compressed_bytes(file)?, at: 0, raw_at: 0, window: Vec::new(), window_at: 0 })
    }

    /// Memory of all frames so far.
    pub(in crate::memory) fn raw_bytes(&self) -> u64 {
        self.raw_at
    }

    /// The end of all frames so far.
    pub(in crate::memory) fn end(&self) -> u64 {
        self.at
    }

    /// Finds the next frame that holds memory.
    pub(in crate::memory) fn next(&mut self) -> Result<Step> {
        while self.at < self.len {
            let at = self.at;
            let head = self.bytes(at, MAX_FRAME_HEADER_BYTES)?;
            let magic = u32_at(head, 0).ok_or_else(|| damaged(at, "it ends too early"))?;
            if skippable::is_magic(magic) {
                let payload = u32_at(head, 4).ok_or_else(|| damaged(at, "it ends too early"))?;
                self.at = at + skippable::HEAD_BYTES + u64::from(payload);
                if self.at > self.len {
                    return Err(damaged(at, "it ends too early"));
                }
                continue;
            }
            if magic != MAGIC {
                return Err(damaged(at, "there is no zstd frame"));
            }
            let header =
                Header::parse(head).ok_or_else(|| damaged(at, "the header of a frame makes no sense"))?;
            return self.frame(header);
        }
        Ok(Step::End)
    }

    fn frame(&mut self, header: Header) -> Result<Step> {
        let (end, zeros) = self.blocks(self.at + header.bytes, header.has_checksum)?;
        if zeros.is_some() && header.content_bytes.is_some() && zeros != header.content_bytes {
            return Err(damaged(self.at, "a frame does not hold what it declares"));
        }
        let (Ok(stored_bytes), Some(Ok(raw_bytes))) =
            (u32::try_from(end - self.at), header.content_bytes.map(u32::try_from))
        else {
            return Ok(Step::Unbounded);
        };
        let frame = Frame {
            at: self.at,
            raw_at: self.raw_at,
            stored_bytes,
            raw_bytes,
            is_zero: zeros.is_some(),
            hash: None,
        };
        if !frame.is_bounded() {
            return Ok(Step::Unbounded);
        }
        self.at = end;
        self.raw_at = frame.raw_end();
        Ok(Step::Frame(frame))
    }

    /// Goes over the blocks that begin at `at`: the end of their frame, and how many zeros they are if nothing else.
    fn blocks(&mut self, mut at: u64, has_checksum: bool) -> Result<(u64, Option<u64>)> {
        const RAW: u32 = 0;
        const RLE: u32 = 1;
        const COMPRESSED: u32 = 2;
        let mut zeros = Some(0);
        loop {
            let block = self.bytes(at, BLOCK_HEADER_BYTES + 1)?;
            let [a, b, c, ref data @ ..] = *block else { return Err(damaged(at, "it ends too early")) };
            let is_of_zeros = data.first() == Some(&0);
            let head = u32::from_le_bytes([a, b, c, 0]);
            let (is_last, kind, size) = (head & 1 == 1, head >> 1 & 3, head >> 3);
            let stored = match kind {
                RAW | COMPRESSED => u64::from(size),
                RLE => 1,
                _ => return Err(damaged(at, "a block is of a kind that does not exist")),
            };
            zeros = zeros.filter(|_| kind == RLE && is_of_zeros).map(|zeros| zeros + u64::from(size));
            at += BLOCK_HEADER_BYTES + stored;
            if is_last {
                break;
            }
        }
        at += if has_checksum { 4 } else { 0 };
        if at > self.len {
            return Err(damaged(self.at, "it ends too early"));
        }
        Ok((at, zeros))
    }

    /// The `wanted` bytes at `at`, or what there is of them before the end of the file.
    fn bytes(&mut self, at: u64, wanted: u64) -> Result<&[u8]> {
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + wanted > window_end {
            self.window.resize(WINDOW_BYTES, 0);
            let read = read_compressed_up_to(self.file, &mut self.window, at)?;
            self.window.truncate(read);
            self.window_at = at;
        }
        let start = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        let rest = self.window.get(start..).unwrap_or_default();
        Ok(rest.get(..wanted as usize).unwrap_or(rest))
    }
}

/// What a frame header says.
struct Header {
    bytes: u64,
    content_bytes: Option<u64>,
    has_checksum: bool,
}

impl Header {
    /// Reads a header (RFC 8878, 3.1.1.1) from its magic number on.
    fn parse(head: &[u8]) -> Option<Self> {
        let descriptor = *head.get(4)?;
        let is_single_segment = descriptor & 0b10_0000 != 0;
        let is_reserved_set = descriptor & 0b1000 != 0;
        if is_reserved_set {
            return None;
        }
        let window_bytes = if is_single_segment { 0 } else { 1 };
        let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let content_at = 5 + window_bytes + dictionary_bytes;
        let size_bytes = match descriptor >> 6 {
            0 => usize::from(is_single_segment),
            1 => 2,
            2 => 4,
            _ => 8,
        };
        let content_bytes = match size_bytes {
            0 => None,
            1 => Some(u64::from(*head.get(content_at)?)),
            2 => Some(u64::from(u16::from_le_bytes(*head.get(content_at..)?.first_chunk()?)) + 256),
            4 => Some(u64::from(u32_at(head, content_at)?)),
            _ => Some(u64_at(head, content_at)?),
        };
        let bytes = (content_at + size_bytes) as u64;
        (head.len() as u64 >= bytes).then_some(Self {
            bytes,
            content_bytes,
            has_checksum: descriptor & 0b100 != 0,
        })
    }
}
