//! What a memory image consists of, and where a guest sees it.

use serde::Serialize;

/// A part of a memory image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryExtent {
    /// Where it begins in the image.
    pub offset: u64,
    /// Its length.
    pub size_bytes: u64,
    /// What is there.
    pub kind: ExtentKind,
}

/// What a part of a memory image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtentKind {
    /// Bytes, which may be zero all the same.
    Data,
    /// A run of zeros in a compressed file, stored in next to no space.
    Zero,
    /// A hole in a raw file: zeros that occupy no space.
    Hole,
}

impl ExtentKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Data, Self::Zero, Self::Hole];

    /// The name in every language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Zero => "zero",
            Self::Hole => "hole",
        }
    }
}

/// A range of guest-physical memory that lies in one piece in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryRange {
    /// The guest-physical address of its first byte.
    pub guest_address: u64,
    /// Where that byte is in the image.
    pub offset: u64,
    /// Its length.
    pub size_bytes: u64,
}
