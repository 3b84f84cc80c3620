//! The frames of a compressed file, wherever that is written: in our index, else in their own headers.

use std::fs::File;

use super::file::{damaged, too_large};
use super::format;
use super::index::{self, Frame, Index};
use super::zstd::head;
use super::zstd::walk::{Step, Walk};
use crate::call::Limit;
use crate::error::{Kind, Result};
use crate::types::Algorithm;

/// How a compressed file can be read.
pub(super) enum Layout<'f> {
    /// Frame by frame, in parallel.
    Frames(Frames<'f>),
    /// Only from its start to its end.
    Stream,
}

/// Where the frames of a file are listed. All of them were looked at once: they add up.
#[derive(Clone, Copy)]
pub(super) struct Frames<'f> {
    source: Source<'f>,
    /// The length of the image.
    pub(super) raw_bytes: u64,
}

#[derive(Clone, Copy)]
enum Source<'f> {
    Index(Index<'f>),
    Walk(&'f File),
}

impl<'f> Layout<'f> {
    /// Finds out how `file` can be read. A damaged index is no loss: it is rebuilt from what it was made of.
    pub(super) fn open(algorithm: Algorithm, file: &'f File, max_bytes: u64, limit: &Limit) -> Result<Self> {
        match Frames::indexed(algorithm, file, max_bytes, limit) {
            Ok(Some(frames)) => return Ok(Self::Frames(frames)),
            Ok(None) => {}
            Err(error) if error.kind() == Kind::Corrupt => {}
            Err(error) => return Err(error),
        }
        match algorithm {
            Algorithm::Zstd => Self::walk(file, max_bytes, limit),
            Algorithm::Lz4 => Ok(Self::Stream),
        }
    }

    fn walk(file: &'f File, max_bytes: u64, limit: &Limit) -> Result<Self> {
        let mut walk = Walk::new(file)?;
        let expected = head::read(file)?;
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
            _ => Ok(Self::Frames(Frames { source: Source::Walk(file), raw_bytes })),
        }
    }
}

impl<'f> Frames<'f> {
    /// The frames in our index; `None` where the file has none.
    pub(super) fn indexed(
        algorithm: Algorithm,
        file: &'f File,
        max_bytes: u64,
        limit: &Limit,
    ) -> Result<Option<Self>> {
        let Some(index) = format::open_index(algorithm, file)? else { return Ok(None) };
        let mut frames = index.frames();
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
    pub(super) fn index(&self) -> Option<&Index<'f>> {
        match &self.source {
            Source::Index(index) => Some(index),
            Source::Walk(_) => None,
        }
    }

    /// Every frame in order.
    pub(super) fn cursor(&self) -> Result<Cursor<'f>> {
        Ok(match self.source {
            Source::Index(index) => Cursor::Index(index.frames()),
            Source::Walk(file) => Cursor::Walk(Walk::new(file)?),
        })
    }
}

/// Goes through the frames of a file in order; holds a page of it, whatever its length.
pub(super) enum Cursor<'f> {
    Index(index::Frames<'f>),
    Walk(Walk<'f>),
}

impl Cursor<'_> {
    /// The next frame, `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Frame>> {
        match self {
            Self::Index(frames) => frames.next(),
            Self::Walk(walk) => match walk.next()? {
                Step::Frame(frame) => Ok(Some(frame)),
                Step::End => Ok(None),
                Step::Unbounded => Err(damaged(walk.end(), "it changed while it was read")),
            },
        }
    }
}
