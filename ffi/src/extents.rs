//! What a memory image consists of, and where a guest sees it: lists of plain structs.

use std::ptr;

use crate::border::{free, look};

/// What a part of a memory image is.
#[repr(i32)]
pub enum ExtentKind {
    /// Bytes, which may be zero all the same.
    Data = 1,
    /// A run of zeros in a compressed file, stored in next to no space.
    Zero = 2,
    /// A hole in a raw file: zeros that occupy no space.
    Hole = 3,
}

/// A part of a memory image. Later versions may add fields at its end.
#[repr(C)]
pub struct Extent {
    /// Where it begins in the image, in bytes.
    pub offset: u64,
    /// Its length.
    pub size_bytes: u64,
    /// One of HYPEMAN_EXTENT_KIND_...
    pub kind: i32,
    /// 0.
    pub reserved: u32,
}

impl From<hypeman_core::MemoryExtent> for Extent {
    fn from(extent: hypeman_core::MemoryExtent) -> Self {
        let hypeman_core::MemoryExtent { offset, size_bytes, kind } = extent;
        let kind = match kind {
            hypeman_core::ExtentKind::Data => ExtentKind::Data,
            hypeman_core::ExtentKind::Zero => ExtentKind::Zero,
            hypeman_core::ExtentKind::Hole => ExtentKind::Hole,
        };
        Self { offset, size_bytes, kind: kind as i32, reserved: 0 }
    }
}

/// A range of guest-physical memory that lies in one piece in an image. Later versions may add fields at its end.
#[repr(C)]
pub struct Range {
    /// The guest-physical address of its first byte.
    pub guest_address: u64,
    /// Where that byte is in the image.
    pub offset: u64,
    /// Its length.
    pub size_bytes: u64,
}

impl From<hypeman_core::MemoryRange> for Range {
    fn from(range: hypeman_core::MemoryRange) -> Self {
        let hypeman_core::MemoryRange { guest_address, offset, size_bytes } = range;
        Self { guest_address, offset, size_bytes }
    }
}

/// The extents of an image, from its start to its end without a gap. Immutable; any thread may read it.
pub struct Extents(Vec<Extent>);

impl From<Vec<hypeman_core::MemoryExtent>> for Extents {
    fn from(extents: Vec<hypeman_core::MemoryExtent>) -> Self {
        Self(extents.into_iter().map(Extent::from).collect())
    }
}

/// The ranges of an image, by guest-physical address. Immutable; any thread may read it.
pub struct Ranges(Vec<Range>);

impl From<Vec<hypeman_core::MemoryRange>> for Ranges {
    fn from(ranges: Vec<hypeman_core::MemoryRange>) -> Self {
        Self(ranges.into_iter().map(Range::from).collect())
    }
}

/// Returns the number of extents.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_extents_count(extents: Option<&Extents>) -> usize {
    look(extents, 0, |extents| extents.0.len())
}

/// Returns an extent, or NULL past the last. Borrowed from the list.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_extents_at(extents: Option<&Extents>, index: usize) -> *const Extent {
    look(extents, ptr::null(), |extents| extents.0.get(index).map_or(ptr::null(), ptr::from_ref))
}

/// Frees a list of extents. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_extents_free(extents: Option<Box<Extents>>) {
    free(extents);
}

/// Returns the number of ranges.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_ranges_count(ranges: Option<&Ranges>) -> usize {
    look(ranges, 0, |ranges| ranges.0.len())
}

/// Returns a range, or NULL past the last. Borrowed from the list.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_ranges_at(ranges: Option<&Ranges>, index: usize) -> *const Range {
    look(ranges, ptr::null(), |ranges| ranges.0.get(index).map_or(ptr::null(), ptr::from_ref))
}

/// Frees a list of ranges. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_ranges_free(ranges: Option<Box<Ranges>>) {
    free(ranges);
}
