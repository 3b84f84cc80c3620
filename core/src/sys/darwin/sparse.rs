//! Sparse files: where their data is, and what of them the page cache need not keep.

use std::fs::File;
use std::io;
use std::ops::Range;

/// Finds the rest of the file.
///
/// APFS has holes, but what it says of them is not relied on: it has told data that was not yet on the disk as a hole, for
/// which others no longer ask it, either (GNU coreutils, bug 61386). Zeros are found by reading.
pub(crate) fn next_data(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    let end = file.metadata()?.len();
    Ok((offset < end).then_some(offset..end))
}

/// Fails: this system does not promise to keep what is there.
pub(crate) fn fill_holes(_file: &File, _range: Range<u64>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Does nothing: this system takes no such hint.
pub(crate) fn drop_cache(_file: &File, _range: Range<u64>) {}
