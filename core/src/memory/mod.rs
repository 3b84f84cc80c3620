//! Guest memory: compressing and decompressing it, in standard formats. Knows nothing of the store.
//!
//! `zstd/` and `lz4/` say what the files look like, `index.rs` what we add to them, `format.rs` what both have in
//! common. `compress.rs` writes (`pieces` -> `batch` -> `order`), `pass.rs` reads all frames in parallel for
//! `decompress.rs`, `verify.rs` and the check at the end of a compression, `image/` reads any byte of an image alone,
//! `pager/` gives such bytes to VMs that run already.
//!
//! Any job holds at most 64 MiB and 16 MiB for each thread, whatever the length of the image: buffers are of one
//! batch, frames are listed from disk, a page at a time. Only a foreign zstd frame with a window of more than 64 MiB
//! needs more: its window.

mod batch;
mod compress;
mod decompress;
mod file;
mod format;
mod frames;
mod image;
mod index;
mod lz4;
mod order;
pub(crate) mod pager;
mod pass;
mod pieces;
mod skippable;
mod stream;
mod verify;
pub(crate) mod workers;
pub(crate) mod zero;
mod zstd;

#[cfg(test)]
mod tests;

pub(crate) use compress::compress;
pub(crate) use decompress::decompress;
pub(crate) use image::Image;
pub(crate) use verify::verify;

/// The most memory that is written where nothing says how much an image holds: more than any host has.
pub(crate) const MAX_IMAGE_BYTES: u64 = 16 << 40;

/// What a compression made of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compressed {
    /// The length of the image.
    pub(crate) raw_bytes: u64,
    /// The length of the compressed file.
    pub(crate) compressed_bytes: u64,
}
