//! Frames of zeros: RLE blocks, four bytes for 128 KiB, written without asking zstd.

use super::MAGIC;

/// The largest block that zstd has, and the window that these frames ask for.
const BLOCK_BYTES: u64 = 128 << 10;
/// Frame header descriptor: content size in 8 bytes, no checksum (it would cost reading the zeros).
const DESCRIPTOR: u8 = 0b1100_0000;
/// Window descriptor of 128 KiB: 2^(10 + 7).
const WINDOW: u8 = 7 << 3;
const RLE: u32 = 1 << 1;
const LAST: u32 = 1;

/// Appends one frame of `raw_bytes` zeros, at least one.
pub(in crate::memory) fn append(raw_bytes: u32, out: &mut Vec<u8>) {
    out.extend(MAGIC.to_le_bytes());
    out.extend([DESCRIPTOR, WINDOW]);
    out.extend(u64::from(raw_bytes).to_le_bytes());
    let mut rest = u64::from(raw_bytes);
    loop {
        let block = rest.min(BLOCK_BYTES);
        rest -= block;
        let last = if rest == 0 { LAST } else { 0 };
        // A block header is three bytes, the fourth is the byte that is repeated: 0.
        out.extend((((block as u32) << 3) | RLE | last).to_le_bytes());
        if rest == 0 {
            break;
        }
    }
}
