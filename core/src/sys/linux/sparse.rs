//! Sparse files: where their data is, and what of them the page cache need not keep.

use std::fs::File;
use std::io;
use std::ops::Range;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::unistd::{Whence, lseek};

/// Finds the first extent of data that ends after `offset`, cut to start there; `None` where only holes are left.
///
/// Moves the file's own position, which positioned reads and writes do not use. A file system that knows no holes
/// answers with the rest of the file. Bytes between extents read as zeros.
pub(crate) fn next_data(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    let seek = |offset: u64, whence| -> Result<Option<u64>, io::Error> {
        let offset = offset.try_into().map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        match lseek(file, offset, whence) {
            Ok(found) => {
                u64::try_from(found).map(Some).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))
            }
            Err(Errno::ENXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    };
    let Some(start) = seek(offset, Whence::SeekData)? else { return Ok(None) };
    // No hole after the data: the file was cut in between, and its end is found by the next read.
    let end = seek(start, Whence::SeekHole)?.unwrap_or(start);
    Ok((start < end).then_some(start..end))
}

/// Makes zeros that take room of the holes in `range`; what is there stays.
pub(crate) fn fill_holes(file: &File, range: Range<u64>) -> io::Result<()> {
    let number =
        |value| libc::off_t::try_from(value).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW));
    let (start, len) = (number(range.start)?, number(range.end.saturating_sub(range.start))?);
    Ok(fallocate(file, FallocateFlags::empty(), start, len)?)
}

/// Lets the page cache forget `range`, which will not be read again. Only a hint: dirty pages stay, errors do not
/// matter.
pub(crate) fn drop_cache(file: &File, range: Range<u64>) {
    if let (Ok(start), Ok(len)) = (range.start.try_into(), (range.end.saturating_sub(range.start)).try_into())
    {
        let _ = posix_fadvise(file, start, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn data_between_holes_is_found_and_a_hole_at_the_end_is_none() {
        const MIB: u64 = 1 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 * MIB).unwrap();
        file.write_all_at(&[1; 4096], 4 * MIB).unwrap();
        let data = next_data(&file, 0).unwrap().unwrap();
        assert!(data.contains(&(4 * MIB)) && data.end <= 8 * MIB, "{data:?}");
        assert_eq!(next_data(&file, 4 * MIB + 100).unwrap().unwrap().start, 4 * MIB + 100);
        if data.start > 0 {
            assert_eq!(next_data(&file, 6 * MIB).unwrap(), None);
        }
        assert_eq!(next_data(&file, 8 * MIB).unwrap(), None);
        drop_cache(&file, 0..8 * MIB);
    }
}
