//! What is known of files and file systems, in our types.

use nix::sys::stat::FileStat;
use nix::sys::statvfs::Statvfs;

pub(in crate::sys) fn device(stat: &FileStat) -> u64 {
    stat.st_dev
}

/// Bytes that an ordinary user can still write.
pub(in crate::sys) fn free_bytes(facts: &Statvfs) -> u64 {
    facts.blocks_available().saturating_mul(facts.fragment_size())
}
