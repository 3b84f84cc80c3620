//! What verifying a snapshot finds.

use serde::Serialize;

/// What was found in a snapshot when every byte of its files was read.
///
/// Paths are relative to the snapshot's directory: `guest/...` for the payload, `snapshot.json`, `libhypeman.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The snapshot.
    pub snapshot_id: String,
    /// Every file of the payload that is there, by path.
    pub files: Vec<VerifiedFile>,
    /// Everything that is wrong, by path and offset.
    pub defects: Vec<Defect>,
}

impl VerifyReport {
    /// Tells whether every file was checked and nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.defects.is_empty() && self.files.iter().all(|file| file.status == FileStatus::Good)
    }
}

/// A file of a payload, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedFile {
    /// Its path.
    pub path: String,
    /// Its apparent size.
    pub size_bytes: u64,
    /// What is known of it now.
    pub status: FileStatus,
}

/// What is known of a file that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileStatus {
    /// Every byte is as it was captured or compressed.
    Good,
    /// A defect names it.
    Damaged,
    /// Nothing is known to compare it with: the snapshot is not of libhypeman's making, or its checksums are not
    /// finished yet. Of compressed memory at least the format's own checksums were found right.
    Unchecked,
}

impl FileStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Good, Self::Damaged, Self::Unchecked];

    /// The name in every language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Damaged => "damaged",
            Self::Unchecked => "unchecked",
        }
    }
}

/// Something that is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// The file concerned.
    pub path: String,
    /// What kind of defect it is.
    pub kind: DefectKind,
    /// Where the damaged part begins; absent where the whole file is concerned, or where `message` names the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The length of the part in which the damage lies; present with `offset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// What is wrong, for people.
    pub message: String,
}

/// What kind of defect it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DefectKind {
    /// A file is not there.
    Missing,
    /// A file is there that was not captured.
    Extra,
    /// A file is longer or shorter than it was.
    Size,
    /// Bytes of a file are not what they were, or cannot be read.
    Content,
    /// A compressed memory file cannot be decoded, or its own checksums do not match.
    Frame,
    /// The record or the sidecar cannot be used.
    Metadata,
}

impl DefectKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Missing, Self::Extra, Self::Size, Self::Content, Self::Frame, Self::Metadata];

    /// The name in every language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Size => "size",
            Self::Content => "content",
            Self::Frame => "frame",
            Self::Metadata => "metadata",
        }
    }
}
