//! Verifies a compressed memory image without writing it anywhere.

use std::fs::File;
use std::num::NonZeroUsize;

use super::format;
use super::frames::{Frames, Layout};
use super::pass::{Pass, Purpose};
use super::stream;
use super::workers::Priority;
use crate::call::Limit;
use crate::error::Result;
use crate::types::Algorithm;

/// Verifies every byte of a compressed file and returns the length of the image.
///
/// Stricter than decompressing: of our own files the index, the seek table and the standard checksums, too, have to be
/// as they were written.
///
/// # Errors
/// `corrupt` with the offset of what is wrong; `io`, `cancelled`, `timeout`.
pub(crate) fn verify(
    compressed: &File,
    algorithm: Algorithm,
    threads: NonZeroUsize,
    limit: &Limit,
) -> Result<u64> {
    let (purpose, priority, progress) = (Purpose::Check, Priority::Normal, &|_, _| ());
    let layout = match Frames::indexed(algorithm, compressed, u64::MAX, limit)? {
        Some(frames) => Layout::Frames(frames),
        None => {
            format::check_foreign(algorithm, compressed)?;
            Layout::open(algorithm, compressed, u64::MAX, limit)?
        }
    };
    match layout {
        Layout::Frames(frames) => {
            if let Some(index) = frames.index() {
                format::check_frame(algorithm, compressed, index)?;
            }
            Pass { compressed, algorithm, frames: &frames, purpose, priority, progress }
                .run(threads, limit)?;
            Ok(frames.raw_bytes)
        }
        Layout::Stream => stream::read(compressed, algorithm, purpose, u64::MAX, limit, progress),
    }
}
