//! Reading a compressed file from its start to its end, where nothing else is possible: the vendor's single frames.

use std::fs::File;

use super::file::{set_raw_bytes, too_large, write_raw_sparse};
use super::pass::Purpose;
use super::{lz4, zstd};
use crate::call::Limit;
use crate::error::Result;
use crate::types::Algorithm;

/// Reads all memory of `compressed` on the calling thread and returns its length, at most `max_bytes`.
///
/// How much it will be is unknown, so that `progress` is told 0 for the whole.
pub(super) fn read(
    compressed: &File,
    algorithm: Algorithm,
    purpose: Purpose<'_>,
    max_bytes: u64,
    limit: &Limit,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<u64> {
    let mut raw_at = 0;
    let put = |memory: &[u8]| {
        limit.check()?;
        let end = raw_at + memory.len() as u64;
        if end > max_bytes {
            return Err(too_large(max_bytes));
        }
        if let Purpose::Write(out) = purpose {
            write_raw_sparse(out, memory, raw_at)?;
        }
        raw_at = end;
        progress(raw_at, 0);
        Ok(())
    };
    match algorithm {
        Algorithm::Zstd => zstd::stream::read(compressed, put)?,
        Algorithm::Lz4 => lz4::stream::read(compressed, put)?,
    }
    if let Purpose::Write(out) = purpose {
        set_raw_bytes(out, raw_at)?;
    }
    Ok(raw_at)
}
