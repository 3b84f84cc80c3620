//! The checksums of a payload, as its sidecar keeps them: of every file, chunk by chunk.

use serde::{Deserialize, Serialize};

const XXH3: &str = "xxh3-64";
const CHUNK_BYTES: u64 = 1 << 20;
/// Hexadecimal digits of one checksum.
const DIGITS: usize = 16;
/// The most chunks of a payload, so that a sidecar stays within the 4 MiB that it may have: 128 GiB in chunks of 1 MiB.
const MAX_CHUNKS: u64 = 1 << 17;

/// The checksums of a payload. A file that is shorter than a chunk has one: of all its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checksums {
    algorithm: String,
    /// A power of two, at least 1 MiB: larger only for payloads of more than 128 GiB.
    pub(crate) chunk_bytes: u64,
    pub(crate) files: Vec<FileChecksums>,
}

/// The checksums of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileChecksums {
    /// Path beneath `guest/`.
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    /// Of each chunk in order, 16 hexadecimal digits.
    chunks: String,
}

impl Checksums {
    /// No checksums yet, of a payload whose files are as long as `sizes`.
    pub(crate) fn new(sizes: impl Iterator<Item = u64> + Clone) -> Self {
        let mut chunk_bytes = CHUNK_BYTES;
        while sizes.clone().map(|size| size.div_ceil(chunk_bytes)).fold(0, u64::saturating_add) > MAX_CHUNKS
            && chunk_bytes < 1 << 62
        {
            chunk_bytes *= 2;
        }
        Self { algorithm: XXH3.to_owned(), chunk_bytes, files: Vec::new() }
    }

    /// Tells whether this version can compare with them.
    pub(crate) fn is_known(&self) -> bool {
        self.algorithm == XXH3 && self.chunk_bytes.is_power_of_two() && self.chunk_bytes >= CHUNK_BYTES
    }

    /// The checksums of the file at `path`.
    pub(crate) fn file(&self, path: &str) -> Option<&FileChecksums> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl FileChecksums {
    pub(crate) fn new(path: &str, size_bytes: u64, chunks: &[u64]) -> Self {
        let chunks = chunks.iter().map(|sum| format!("{sum:016x}")).collect();
        Self { path: path.to_owned(), size_bytes, chunks }
    }

    /// The checksum of chunk `number`.
    pub(crate) fn chunk(&self, number: u64) -> Option<u64> {
        let start = usize::try_from(number).ok()?.checked_mul(DIGITS)?;
        u64::from_str_radix(self.chunks.get(start..start.checked_add(DIGITS)?)?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_with_the_payload_so_that_their_number_is_bounded() {
        let of = |sizes: &[u64]| Checksums::new(sizes.iter().copied()).chunk_bytes;
        assert_eq!(of(&[]), 1 << 20);
        assert_eq!(of(&[100 << 30, 28 << 30]), 1 << 20);
        assert_eq!(of(&[100 << 30, 29 << 30]), 2 << 20);
        assert!(u64::MAX.div_ceil(of(&[u64::MAX])) <= MAX_CHUNKS);
    }

    #[test]
    fn a_checksum_is_read_as_it_was_written() {
        let file = FileChecksums::new("a", 3 << 20, &[1, u64::MAX, 0]);
        assert_eq!([0, 1, 2, 3].map(|n| file.chunk(n)), [Some(1), Some(u64::MAX), Some(0), None]);
        let hostile = FileChecksums { chunks: "ä".repeat(20), ..file };
        assert_eq!(hostile.chunk(0), None);
    }
}
