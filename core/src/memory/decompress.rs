//! Decompresses a memory image: in parallel where its frames can be found, else from its start to its end.
//!
//! Through the page cache, where it stays: a VMM reads it next. With `O_DIRECT` a GiB is on a disk (ext4) in 0.7 of the
//! time, but has to come back from there: written, flushed and read once it takes 1.4 times as long.

use std::fs::File;
use std::num::NonZeroUsize;

use super::file::{check_empty, set_raw_bytes};
use super::frames::Layout;
use super::pass::{Pass, Purpose};
use super::stream;
use super::workers::Priority;
use crate::call::Limit;
use crate::error::Result;
use crate::types::Algorithm;

/// Decompresses into the empty file `out` and returns the length of the image; runs of zeros stay holes.
///
/// Reads our files and any other zstd or lz4 file: the vendor's single frames, by one thread. `progress` is told bytes
/// done and bytes in all (0 while unknown), by any of the threads, and not always in order. Does not fsync. The
/// contents of `out` are undefined after an error.
///
/// # Errors
/// `corrupt` for damage, with its offset, and for more than `max_bytes`; `no_space`, `io`, `cancelled`, `timeout`.
pub(crate) fn decompress(
    compressed: &File,
    algorithm: Algorithm,
    out: &File,
    max_bytes: u64,
    threads: NonZeroUsize,
    limit: &Limit,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<u64> {
    check_empty(out)?;
    let purpose = Purpose::Write(out);
    match Layout::open(algorithm, compressed, max_bytes, limit)? {
        Layout::Frames(frames) => {
            set_raw_bytes(out, frames.raw_bytes)?;
            let pass = Pass {
                compressed,
                algorithm,
                frames: &frames,
                purpose,
                priority: Priority::Normal,
                progress,
            };
            pass.run(threads, limit)?;
            Ok(frames.raw_bytes)
        }
        Layout::Stream => stream::read(compressed, algorithm, purpose, max_bytes, limit, progress),
    }
}
