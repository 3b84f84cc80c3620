//! What a memory image tells of itself in its first bytes, numbers big-endian:
//!
//! ```text
//! "QEVM"  version u32  section type u8 (7: configuration)  length u32  name of the machine
//! ```

use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::hypervisor::LoadSource;
use crate::sys::disk;

/// The name under which the vendor looks for an image.
pub(super) const MEMORY_FILE: &str = "memory";

const MAGIC: &[u8] = b"QEVM";

/// The type of the section with the machine's name; only machines older than QEMU 2.3 write none.
const CONFIGURATION: u8 = 7;

/// Enough for all of the above: names of machines are short.
const HEAD_BYTES: u64 = 512;

/// A memory image that is one by its first bytes.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) path: PathBuf,
    /// Open for reading alone, and at its start.
    pub(super) file: File,
    pub(super) size_bytes: u64,
    /// The machine that it is of, such as `pc-q35-10.0`.
    pub(super) machine: Option<String>,
}

impl Image {
    /// Opens the image of `source`. QEMU would wait for ever for the rest of one that is empty.
    ///
    /// # Errors
    /// `corrupt` for what QEMU never wrote.
    pub(super) fn open(source: &LoadSource<'_>) -> Result<Self> {
        let path = source.directory.join(MEMORY_FILE);
        let cannot_read = |e| Error::io("read", &path, &e);
        let mut file = disk::open_for_reading(source.directory_fd, MEMORY_FILE).map_err(cannot_read)?;
        let size_bytes = file.metadata().map_err(cannot_read)?.len();
        if size_bytes == 0 {
            return Err(damaged(path, "is empty"));
        }
        let mut head = Vec::new();
        (&file).take(HEAD_BYTES).read_to_end(&mut head).map_err(cannot_read)?;
        // QEMU reads on from where we stand.
        file.rewind().map_err(cannot_read)?;
        if !head.starts_with(MAGIC) {
            return Err(damaged(path, "does not begin as QEMU's images do"));
        }
        Ok(Self { machine: machine_in(&head), path, file, size_bytes })
    }
}

fn damaged(path: PathBuf, how: &str) -> Error {
    let message = format!("the memory image {} {how}; use another snapshot of this VM", path.display());
    Error::new(Kind::Corrupt, message).at(path)
}

fn machine_in(head: &[u8]) -> Option<String> {
    let (&[_, _, _, _, _, _, _, _, CONFIGURATION], rest) = head.split_first_chunk()? else { return None };
    let (length, rest) = rest.split_first_chunk()?;
    let name = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    String::from_utf8(name.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_where_the_image_names_one_and_nothing_is_trusted() {
        let head = b"QEVM\0\0\0\x03\x07\0\0\0\x0apc-q35-7.2\x01\0\0\0\x02\x03ram";
        assert_eq!(machine_in(head).as_deref(), Some("pc-q35-7.2"));
        for end in 0..23 {
            assert_eq!(machine_in(&head[..end]), None, "cut at {end}");
        }
        assert_eq!(machine_in(b"QEVM\0\0\0\x03\x01\0\0\0\x01x"), None, "another section");
        assert_eq!(machine_in(b"QEVM\0\0\0\x03\x07\xff\xff\xff\xffx"), None, "a length beyond the end");
        assert_eq!(machine_in(b"QEVM\0\0\0\x03\x07\0\0\0\x01\xff"), None, "no text");
    }
}
