//! Reading zstd frames from their start to their end: one long frame, or one that does not say how long it is.

use std::fs::File;

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::WINDOW_LOG_MAX;
use crate::error::Result;
use crate::memory::file::{damaged, defect, read_compressed_up_to};

const STORED_BUFFER_BYTES: usize = 256 << 10;
const RAW_BUFFER_BYTES: usize = 1 << 20;

/// Reads every frame of `file`, and gives its memory to `put` in order, in pieces of 1 MiB except the last.
///
/// Besides its buffers it takes the window that the frames ask for: 8 MiB for what `zstd -19` writes, at most 128 MiB
/// (`--long`).
pub(in crate::memory) fn read(file: &File, mut put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut context = DCtx::try_create().ok_or_else(|| defect("zstd got no memory"))?;
    context
        .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
        .map_err(|code| defect(get_error_name(code)))?;
    let mut stored = vec![0; STORED_BUFFER_BYTES];
    let mut raw = vec![0; RAW_BUFFER_BYTES];
    let (mut at, mut filled) = (0, 0);
    // 0 between two frames, else how much zstd would like to read.
    let mut missing = 1;
    loop {
        let read = read_compressed_up_to(file, &mut stored, at)?;
        let mut input = InBuffer::around(stored.get(..read).unwrap_or_default());
        // Never asked without a reason: between frames zstd would answer that it wants another one.
        let mut has_more = read > 0;
        while has_more {
            let mut output = OutBuffer::around_pos(raw.as_mut_slice(), filled);
            missing = context
                .decompress_stream(&mut output, &mut input)
                .map_err(|code| damaged(at + input.pos() as u64, get_error_name(code)))?;
            filled = output.pos();
            let is_full = filled == RAW_BUFFER_BYTES;
            if is_full {
                put(&raw)?;
                filled = 0;
            }
            has_more = input.pos() < read || (is_full && missing != 0);
        }
        at += read as u64;
        if read < STORED_BUFFER_BYTES {
            break;
        }
    }
    put(raw.get(..filled).unwrap_or_default())?;
    if missing == 0 { Ok(()) } else { Err(damaged(at, "it ends too early")) }
}
