//! The frames of a compressed file, wherever that is written: in our index, else in their own headers.

use std::fs::File;

use super::file::{damaged, too_large};
use super::format;
use super::index::{self, Frame, Index};
use super::zstd::walk::Step;
use super::{lz4, zstd};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::types::Algorithm;

/// How a compressed file can be read.
pub(super) enum Layout {
    /// Frame by frame, in parallel.
    Frames(Frames),
    /// Only from its start to its end.
    Stream,
}

/// Where the frames of a file are listed. All of them were looked at once: they add up.
#[derive(Clone, Copy)]
pub(super) struct Frames {
    source: Source,
    /// The length of the image.
    pub(super) raw_bytes: u64,
}

#[derive(Clone, Copy)]
enum Source {
    Index(Index),
    Zstd,
    Lz4,
}

impl Layout {
    /// Finds out how `file` can be read. A damaged index is no loss: it is rebuilt from what it was made of.
    pub(super) fn open(algorithm: Algorithm, file: &File, max_bytes: u64, limit: &Limit) -> Result<Self> {
        match Frames::indexed(algorithm, file, max_bytes, limit) {
            Ok(Some(frames)) => return Ok(Self::Frames(frames)),
            Ok(None) => {}
            Err(error) if error.kind() == Kind::Corrupt => {}
            Err(error) => return Err(error),
        }
        Self::walk(algorithm, file, max_bytes, limit)
    }

    /// Finds the frames of `file` by their own headers, whether or not it has an index.
    pub(super) fn walk(algorithm: Algorithm, file: &File, max_bytes: u64, limit: &Limit) -> Result<Self> {
        match algorithm {
            Algorithm::Zstd => Self::walk_zstd(file, max_bytes, limit),
            Algorithm::Lz4 => Self::walk_lz4(file, max_bytes, limit),
        }
    }

    fn walk_zstd(file: &File, max_bytes: u64, limit: &Limit) -> Result<Self> {
        let mut walk = zstd::walk::Walk::new(file)?;
        let expected = zstd::head::read(file)?;
        loop {
            limit.check()?;
            match walk.next()? {
                Step::Frame(_) if walk.raw_bytes() > max_bytes => return Err(too_large(max_bytes)),
                Step::Frame(_) => {}
                Step::Unbounded => return Ok(Self::Stream),
                Step::End => break,
            }
        }
        let raw_bytes = walk.raw_bytes();
        match expected {
            Some(expected) if expected != raw_bytes => Err(damaged(
                walk.end(),
                format_args!(
                    "it was cut off: it should hold {expected} bytes of memory and holds {raw_bytes}"
                ),
            )),
            None if walk.end() == 0 => Err(damaged(0, "it is empty")),
            _ => Ok(Self::Frames(Frames { source: Source::Zstd, raw_bytes })),
        }
    }

    fn walk_lz4(file: &File, max_bytes: u64, limit: &Limit) -> Result<Self> {
        let Some(mut walk) = lz4::walk::Walk::new(file)? else { return Ok(Self::Stream) };
        let mut raw_bytes = 0;
        while let Some(frame) = walk.next()? {
            limit.check()?;
            raw_bytes = frame.raw_end();
            if raw_bytes > max_bytes {
                return Err(too_large(max_bytes));
            }
        }
        Ok(match walk.ends_the_file()? {
            true => Self::Frames(Frames { source: Source::Lz4, raw_bytes }),
            false => Self::Stream,
        })
    }
}

impl Frames {
    /// The frames in our index; `None` where the file has none.
    pub(super) fn indexed(
        algorithm: Algorithm,
        file: &File,
        max_bytes: u64,
        limit: &Limit,
    ) -> Result<Option<Self>> {
        let Some(index) = format::open_index(algorithm, file)? else { return Ok(None) };
        let mut frames = index.frames(file);
        while frames.next()?.is_some() {
            limit.check()?;
        }
        let raw_bytes = index.totals.raw_bytes;
        if raw_bytes > max_bytes {
            return Err(too_large(max_bytes));
        }
        Ok(Some(Self { source: Source::Index(index), raw_bytes }))
    }

    /// The index that lists them, where it is one.
    pub(super) fn index(&self) -> Option<&Index> {
        match &self.source {
            Source::Index(index) => Some(index),
            Source::Zstd | Source::Lz4 => None,
        }
    }

    /// Every frame in order.
    pub(super) fn cursor<'f>(&self, file: &'f File) -> Result<Cursor<'f>> {
        Ok(match self.source {
            Source::Index(index) => Cursor::Index(index.frames(file)),
            Source::Zstd => Cursor::Zstd(zstd::walk::Walk::new(file)?),
            Source::Lz4 => match lz4::walk::Walk::new(file)? {
                Some(walk) => Cursor::Lz4(walk),
                None => return Err(changed(0)),
            },
        })
    }
}

/// Goes through the frames of a file in order; holds a page of it, whatever its length.
pub(super) enum Cursor<'f> {
    Index(index::Frames<'f>),
    Zstd(zstd::walk::Walk<'f>),
    Lz4(lz4::walk::Walk<'f>),
}

impl Cursor<'_> {
    /// The next frame, `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Frame>> {
        match self {
            Self::Index(frames) => frames.next(),
            Self::Lz4(walk) => walk.next(),
            Self::Zstd(walk) => match walk.next()? {
                Step::Frame(frame) => Ok(Some(frame)),
                Step::End => Ok(None),
                Step::Unbounded => Err(changed(walk.end())),
            },
        }
    }
}

fn changed(at: u64) -> Error {
    damaged(at, "it changed while it was read")
}
