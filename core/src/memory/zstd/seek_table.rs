//! The seek table of the zstd seekable format: for every other reader, since ours has the index.
//!
//! Sizes of every frame from the start of the file, skippable ones included (they hold no memory), without
//! checksums: each frame has its own.

use std::fs::File;

use super::head::HEAD_BYTES;
use crate::error::Result;
use crate::memory::file::{compressed_bytes, damaged, defect, read_compressed, u32_at, write_compressed};
use crate::memory::index::Index;
use crate::memory::skippable;

const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
const FOOTER_BYTES: u64 = 9;
const ENTRY_BYTES: u64 = 8;
/// Frames of the file that the index does not list: the head and the index.
const OWN_FRAMES: u64 = 2;
const BUFFER_BYTES: usize = 64 << 10;

/// Where the seek table of `file` begins; `None` where there is none without checksums.
pub(in crate::memory) fn begin(file: &File) -> Result<Option<u64>> {
    let len = compressed_bytes(file)?;
    let Some(footer_at) = len.checked_sub(FOOTER_BYTES) else { return Ok(None) };
    let mut footer = [0; FOOTER_BYTES as usize];
    read_compressed(file, &mut footer, footer_at)?;
    let [.., descriptor, _, _, _, _] = footer;
    if u32_at(&footer, 5) != Some(FOOTER_MAGIC) || descriptor != 0 {
        return Ok(None);
    }
    let entries = u64::from(u32_at(&footer, 0).unwrap_or_default());
    Ok(footer_at.checked_sub(entries * ENTRY_BYTES + skippable::HEAD_BYTES))
}

/// Writes the seek table of the frames in `index` at `at` and returns its end, the end of the file.
pub(in crate::memory) fn write(file: &File, index: &Index, at: u64) -> Result<u64> {
    generate(file, index, at, |bytes, at| write_compressed(file, bytes, at))
}

/// Checks that the seek table at `at` is the one of the frames in `index` and ends the file.
pub(in crate::memory) fn check(file: &File, index: &Index, at: u64) -> Result<()> {
    let mut found = Vec::new();
    let end = generate(file, index, at, |bytes, at| {
        found.resize(bytes.len(), 0);
        read_compressed(file, &mut found, at)?;
        if found == bytes { Ok(()) } else { Err(damaged(at, "its seek table does not name its frames")) }
    })?;
    if end == compressed_bytes(file)? {
        Ok(())
    } else {
        Err(damaged(end, "something follows its seek table"))
    }
}

/// Makes the bytes of a seek table that begins at `at`, a buffer at a time, and returns its end.
fn generate(
    file: &File,
    index: &Index,
    at: u64,
    mut put: impl FnMut(&[u8], u64) -> Result<()>,
) -> Result<u64> {
    let entries = index.totals.frames + OWN_FRAMES;
    let count = u32::try_from(entries).map_err(|_| defect("a seek table outgrew its frame"))?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut written = at;
    let mut entry = |buffer: &mut Vec<u8>, stored_bytes: u32, raw_bytes: u32| {
        buffer.extend(stored_bytes.to_le_bytes());
        buffer.extend(raw_bytes.to_le_bytes());
        if buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        put(buffer, written)?;
        written += buffer.len() as u64;
        buffer.clear();
        Ok(())
    };
    buffer.extend(skippable::head(skippable::SEEK_TABLE, entries * ENTRY_BYTES + FOOTER_BYTES)?);
    entry(&mut buffer, HEAD_BYTES as u32, 0)?;
    let mut frames = index.frames(file);
    while let Some(frame) = frames.next()? {
        entry(&mut buffer, frame.stored_bytes, frame.raw_bytes)?;
    }
    let index_bytes = u32::try_from(index.bytes()).map_err(|_| defect("an index outgrew its frame"))?;
    entry(&mut buffer, index_bytes, 0)?;
    buffer.extend(count.to_le_bytes());
    buffer.push(0);
    buffer.extend(FOOTER_MAGIC.to_le_bytes());
    put(&buffer, written)?;
    Ok(written + buffer.len() as u64)
}
