//! Blocks of zeros, written without asking a coder: readers compare with these very bytes, so they never change.

use super::{BLOCK_BYTES, PLAIN, frame_block};

/// Shorter blocks are stored as they are.
const MIN_COMPRESSED_BYTES: usize = 32;
/// A block ends with at least five literals.
const LAST_LITERALS: usize = 5;
const MIN_MATCH: usize = 4;
/// A length of four bits that goes on in the bytes behind it.
const LONG: usize = 15;

/// Appends `raw_bytes` of zeros as blocks.
pub(in crate::memory) fn append(raw_bytes: u32, out: &mut Vec<u8>) {
    let raw_bytes = raw_bytes as usize;
    let full = raw_bytes / BLOCK_BYTES;
    if full > 0 {
        let one = block(BLOCK_BYTES);
        out.reserve(one.len() * full);
        (0..full).for_each(|_| out.extend(&one));
    }
    if !raw_bytes.is_multiple_of(BLOCK_BYTES) {
        out.extend(block(raw_bytes % BLOCK_BYTES));
    }
}

fn block(raw_bytes: usize) -> Vec<u8> {
    match raw_bytes {
        ..MIN_COMPRESSED_BYTES => frame_block(&vec![0; raw_bytes], PLAIN),
        _ => frame_block(&sequence(raw_bytes), 0),
    }
}

/// One literal zero, a match that repeats it, and the literals at the end.
fn sequence(raw_bytes: usize) -> Vec<u8> {
    let more = raw_bytes - 1 - LAST_LITERALS - MIN_MATCH - LONG;
    let mut data = vec![1 << 4 | LONG as u8, 0, 1, 0];
    data.resize(data.len() + more / 255, 255);
    data.push((more % 255) as u8);
    data.push((LAST_LITERALS << 4) as u8);
    data.extend([0; LAST_LITERALS]);
    data
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::*;
    use crate::memory::format::Standard;

    #[test]
    fn every_length_decodes_to_zeros() {
        for raw_bytes in (1..700).chain([BLOCK_BYTES - 1, BLOCK_BYTES]) {
            let mut raw = vec![1; raw_bytes];
            decode(&block(raw_bytes), &mut raw, Standard::Checked).unwrap();
            assert!(raw.iter().all(|&byte| byte == 0), "{raw_bytes}");
        }
    }
}
