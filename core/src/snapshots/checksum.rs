//! The checksums of a snapshot: made by its job, after everyone who waited for the snapshot was answered.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use super::chunks::{Chunks, Place};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::memory::workers::Priority;
use crate::store::checksums::{Checksums, FileChecksums};
use crate::store::payload::{self, Memory};
use crate::store::sidecar::Sidecar;
use crate::sys::dir::Dir;

/// Makes the checksums that the sidecar of the snapshot in `dir` lacks, and returns what has to be written; `None`
/// where nothing changes, or where there is no sidecar to add to.
///
/// All files of a payload get theirs at once. Later only the forms of its memory may come and go: a file that someone
/// else adds is never taken for one of the snapshot's own.
pub(super) fn checksum(
    dir: &Dir,
    guest: &Dir,
    is_compressed: bool,
    threads: NonZeroUsize,
    limit: &Limit,
) -> Result<Option<Sidecar>> {
    let mut sidecar = match Sidecar::read(dir) {
        Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Incompatible) => return Ok(None),
        found => match found? {
            Some(sidecar) => sidecar,
            None => return Ok(None),
        },
    };
    let memory = Memory::find(guest)?;
    let forms = memory.as_ref().map(Memory::forms).unwrap_or_default();
    let mut files = payload::files(guest)?;
    if is_compressed && memory.is_some_and(|memory| memory.compressed.is_some()) {
        // The raw file of a finished compression is about to go.
        files.retain(|file| forms.first() != Some(&file.path));
    }
    let is_here = |path: &str| files.iter().any(|file| file.path == path);

    let old = sidecar.checksums.take();
    let mut new = match &old {
        Some(checksums) if !checksums.is_known() => return Ok(None),
        Some(checksums) => checksums.clone(),
        None => Checksums::new(files.iter().map(|file| file.size_bytes)),
    };
    new.files.retain(|file| !forms.contains(&file.path) || is_here(&file.path));
    let lacking: Vec<(&str, u64)> = files
        .iter()
        .filter(|file| old.is_none() || (forms.contains(&file.path) && new.file(&file.path).is_none()))
        .map(|file| (file.path.as_str(), file.size_bytes))
        .collect();

    let sums: Vec<Mutex<Vec<u64>>> = lacking.iter().map(|_| Mutex::default()).collect();
    let chunks = Chunks {
        guest,
        files: &lacking,
        chunk_bytes: new.chunk_bytes,
        threads,
        priority: Priority::Background,
        done: &AtomicU64::new(0),
    };
    chunks.each(limit, &|Place { file, chunk }, sum| {
        let (Some(sums), Ok(chunk)) = (sums.get(file), usize::try_from(chunk)) else { return Ok(()) };
        let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
        if sums.len() <= chunk {
            sums.resize(chunk + 1, 0);
        }
        match (sums.get_mut(chunk), sum?) {
            (Some(place), sum) => *place = sum,
            (None, _) => return Err(Error::new(Kind::Internal, "a checksum has no place")),
        }
        Ok(())
    })?;
    for ((path, size_bytes), sums) in lacking.iter().zip(sums) {
        let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        new.files.push(FileChecksums::new(path, *size_bytes, &sums));
    }
    new.files.sort_by(|a, b| a.path.cmp(&b.path));
    if old.as_ref() == Some(&new) {
        return Ok(None);
    }
    sidecar.checksums = Some(new);
    Ok(Some(sidecar))
}
