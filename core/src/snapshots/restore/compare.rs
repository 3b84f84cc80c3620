//! What a restore is about to put into place is compared with the checksums of the snapshot first.

use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::chunks::{Chunks, Place};
use super::super::verify::{checksums, watched};
use crate::call::{Call, Limit};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::memory::workers::Priority;
use crate::store::checksums::Checksums;
use crate::store::payload::{self, Memory};
use crate::sys::dir::Dir;

/// The checksums of the snapshot in `dir`, if it has any yet, after its files were compared with them by name and
/// length.
///
/// # Errors
/// `corrupt` where a file is missing, of another length, or was not captured.
pub(in crate::snapshots) fn lists(id: &str, dir: &Dir) -> Result<Option<Checksums>> {
    let Some(checksums) = checksums(dir)? else { return Ok(None) };
    let guest = payload::guest_of(dir, id)?;
    let files = payload::files(&guest)?;
    let forms = Memory::find(&guest)?.as_ref().map(Memory::forms).unwrap_or_default();
    for expected in &checksums.files {
        match files.iter().find(|file| file.path == expected.path) {
            Some(file) if file.size_bytes != expected.size_bytes => {
                let why = format!("it has {} bytes and had {}", file.size_bytes, expected.size_bytes);
                return Err(damaged(id, &guest.join(&file.path), &why));
            }
            None if !forms.contains(&expected.path) => {
                return Err(damaged(id, &guest.join(&expected.path), "it is missing"));
            }
            _ => {}
        }
    }
    let stranger =
        files.iter().find(|file| checksums.file(&file.path).is_none() && !forms.contains(&file.path));
    match stranger {
        Some(file) => Err(damaged(id, &guest.join(&file.path), "it was not captured with this snapshot")),
        None => Ok(Some(checksums)),
    }
}

/// A file that was built, beneath the directory that holds it, and the file of the payload that it is a copy of.
pub(in crate::snapshots) type Copied<'c> = (&'c Path, &'c Path);

/// Reads the copies in `built` and compares them with what was captured: what the payload lost, and what the disk did
/// not write, is found here. A file without checksums passes.
///
/// # Errors
/// `corrupt`, with the file and the place.
pub(super) fn copies(
    hm: &Hypeman,
    checksums: &Checksums,
    guest: &Dir,
    built: &Dir,
    copied: &[Copied<'_>],
    call: &mut Call<'_>,
) -> Result<()> {
    let sizes = copied.iter().filter_map(|(_, source)| checksums.file(source.to_str()?));
    let total = sizes.map(|file| file.size_bytes).fold(0, u64::saturating_add);
    let done = AtomicU64::new(0);
    watched(call, &|| (done.load(Ordering::Relaxed).min(total), total), |limit| {
        copies_within(hm, checksums, (guest, built), copied, &done, limit)
    })
}

/// As [`copies`], of the payload and of what was built from it, telling no one but `done` how far it is.
pub(in crate::snapshots) fn copies_within(
    hm: &Hypeman,
    checksums: &Checksums,
    (guest, built): (&Dir, &Dir),
    copied: &[Copied<'_>],
    done: &AtomicU64,
    limit: &Limit,
) -> Result<()> {
    let known: Vec<_> = copied
        .iter()
        .filter_map(|(copy, source)| Some((copy.to_str()?, checksums.file(source.to_str()?)?)))
        .collect();
    let files: Vec<(&str, u64)> = known.iter().map(|(copy, expected)| (*copy, expected.size_bytes)).collect();
    let chunks = Chunks {
        guest: built,
        files: &files,
        chunk_bytes: checksums.chunk_bytes,
        threads: hm.threads(),
        priority: Priority::Normal,
        done,
    };
    chunks.each(limit, &|Place { file, chunk }, sum| {
        let Some((_, expected)) = known.get(file) else { return Ok(()) };
        if Some(sum?) == expected.chunk(chunk) {
            return Ok(());
        }
        let start = chunk.saturating_mul(checksums.chunk_bytes);
        let end = start.saturating_add(checksums.chunk_bytes).min(expected.size_bytes);
        let why = format!("its bytes {start} to {end} are not what they were");
        Err(damaged("", &guest.join(&expected.path), &why))
    })
}

/// Refuses a raw disk that starts as a qcow2 image does. A VMM that guesses formats would open the image instead, and
/// with it whatever file of the host its header names: a guest that wrote that header would read its host.
pub(super) fn refuse_disguise(directory: &Dir, name: &Path) -> Result<()> {
    const QCOW: [u8; 4] = *b"QFI\xfb";
    if name.extension().is_none_or(|extension| extension != "raw") {
        return Ok(());
    }
    let path = directory.join(name);
    let mut head = [0; QCOW.len()];
    match directory.read(name)?.read_exact_at(&mut head, 0) {
        Ok(()) if head == QCOW => {
            let why = format!(
                "{} is a raw disk that starts as a qcow2 image, which a VMM might open in its place; the guest or someone else tampered with it",
                path.display()
            );
            Err(Error::new(Kind::Corrupt, why).at(path))
        }
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(Error::io("read", path, &error)),
        _ => Ok(()),
    }
}

fn damaged(id: &str, path: &Path, why: &str) -> Error {
    let why = format!(
        "{} is damaged: {why}; nothing was made of it; `verify` tells all that is wrong with the snapshot",
        path.display()
    );
    let error = Error::new(Kind::Corrupt, why).at(path);
    if id.is_empty() { error } else { error.about(id) }
}
