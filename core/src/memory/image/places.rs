//! Where the frame of a byte of the image is: by searching the index, or by a list made from the file's own headers.

use std::fs::File;
use std::sync::OnceLock;

use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::memory::file::damaged;
use crate::memory::format;
use crate::memory::frames::Layout;
use crate::memory::index::{Frame, Search};
use crate::memory::lz4;
use crate::types::Algorithm;

/// The most frames in a list: 64 GiB in frames of 32 KiB, and 80 MiB for the list.
const MAX_LISTED: usize = 1 << 21;

/// The frames of a compressed file.
pub(super) struct Places {
    algorithm: Algorithm,
    raw_bytes: u64,
    search: Option<Search>,
    /// Every frame in order: where there is no index, or once a part of it was found damaged.
    list: OnceLock<Vec<Frame>>,
}

impl Places {
    pub(super) fn open(algorithm: Algorithm, file: &File, limit: &Limit) -> Result<Self> {
        let index = match format::open_index(algorithm, file) {
            Err(error) if error.kind() == Kind::Corrupt => None,
            index => index?,
        };
        if let Some(index) = index {
            let (raw_bytes, search) = (index.totals.raw_bytes, Some(Search::new(index)));
            return Ok(Self { algorithm, raw_bytes, search, list: OnceLock::new() });
        }
        let list = list(algorithm, file, limit)?;
        let raw_bytes = list.last().map_or(0, Frame::raw_end);
        Ok(Self { algorithm, raw_bytes, search: None, list: OnceLock::from(list) })
    }

    /// The length of the image.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// The frame that holds byte `raw_at`, which has to be in the image.
    pub(super) fn find(&self, file: &File, raw_at: u64) -> Result<Frame> {
        match self.search.as_ref().map(|search| search.find(file, raw_at)) {
            Some(Err(error)) if error.kind() == Kind::Corrupt => {}
            Some(found) => return found,
            None => {}
        }
        let list = self.list(file)?;
        let behind = list.partition_point(|frame| frame.raw_at <= raw_at);
        let found = behind.checked_sub(1).and_then(|last| list.get(last)).copied();
        found.filter(|frame| raw_at < frame.raw_end()).ok_or_else(|| damaged(0, "a part of it has no frame"))
    }

    /// Gives every frame to `put`, in order.
    pub(super) fn each(&self, file: &File, mut put: impl FnMut(&Frame)) -> Result<()> {
        if let Some(search) = &self.search {
            // First alone, so that nothing is given twice where it turns out to be damaged.
            let mut frames = search.index().frames(file);
            let sound = loop {
                match frames.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break true,
                    Err(error) if error.kind() == Kind::Corrupt => break false,
                    Err(error) => return Err(error),
                }
            };
            if sound {
                let mut frames = search.index().frames(file);
                while let Some(frame) = frames.next()? {
                    put(&frame);
                }
                return Ok(());
            }
        }
        self.list(file)?.iter().for_each(put);
        Ok(())
    }

    fn list(&self, file: &File) -> Result<&[Frame]> {
        if let Some(list) = self.list.get() {
            return Ok(list);
        }
        let list = list(self.algorithm, file, &Limit::default())?;
        if list.last().map_or(0, Frame::raw_end) != self.raw_bytes {
            return Err(damaged(0, "its frames and its index do not hold the same memory"));
        }
        Ok(self.list.get_or_init(|| list))
    }
}

/// Lists the frames of `file` by their own headers.
fn list(algorithm: Algorithm, file: &File, limit: &Limit) -> Result<Vec<Frame>> {
    let mut list = Vec::new();
    let mut put = |frame: Frame| {
        limit.check()?;
        if list.len() == MAX_LISTED {
            return Err(Error::new(
                Kind::NotSupported,
                "the compressed memory has no index and too many frames to find them one by one; decompress it first",
            ));
        }
        list.push(frame);
        Ok(())
    };
    let is_listed = match Layout::walk(algorithm, file, u64::MAX, limit)? {
        Layout::Frames(frames) => {
            let mut cursor = frames.cursor(file)?;
            while let Some(frame) = cursor.next()? {
                put(frame)?;
            }
            true
        }
        Layout::Stream if algorithm == Algorithm::Lz4 => lz4::stream::survey(file, put)?,
        Layout::Stream => false,
    };
    if is_listed {
        return Ok(list);
    }
    let (what, tool) = match algorithm {
        Algorithm::Zstd => ("is one long zstd frame", "zstd"),
        Algorithm::Lz4 => ("has lz4 blocks that need each other", "lz4"),
    };
    Err(Error::new(
        Kind::NotSupported,
        format!(
            "the compressed memory {what}, which can only be read from its start; decompress it first (restore the snapshot, or {tool} -d)"
        ),
    ))
}
