//! `snapshots.verify`: every byte of every file is read and compared with what it was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::chunks::{Chunks, Place};
use super::memory::pin;
use crate::call::{Call, Limit, Phase};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::memory;
use crate::memory::workers::Priority;
use crate::panic::guard;
use crate::store::checksums::Checksums;
use crate::store::payload::{self, Memory};
use crate::store::record::Record;
use crate::store::sidecar::Sidecar;
use crate::store::{GUEST, RECORD, SIDECAR};
use crate::sys::dir::Dir;
use crate::types::{Algorithm, Defect, DefectKind, FileStatus, PayloadFile, VerifiedFile, VerifyReport};

/// How often the caller hears of progress.
const REPORT: Duration = Duration::from_millis(50);

pub(super) fn verify(hm: &Hypeman, id: &str, mut call: Call<'_>) -> Result<VerifyReport> {
    let store = hm.open_store()?;
    store.snapshot_dir(id)?;
    // What is small, or has no checksums yet, is done before the first report would look.
    call.check()?;
    let _pin = if hm.options().read_only { None } else { Some(pin(store, id)?) };
    let dir = store.snapshot_dir(id)?;
    let mut defects = Vec::new();
    let checksums = match checksums(&dir) {
        Ok(checksums) => checksums,
        Err(error) => {
            defects.push(unusable(SIDECAR, error)?);
            None
        }
    };
    let knows_record = defects.is_empty();
    let record =
        Record::read(&dir, id).and_then(|_| if knows_record { Sidecar::check_record(&dir) } else { Ok(()) });
    if let Err(error) = record {
        defects.push(unusable(RECORD, error)?);
    }
    let guest = payload::guest_of(&dir, id)?;
    let files = payload::files(&guest).map_err(|error| error.about(id))?;
    let memory = Memory::find(&guest)?;

    let forms = memory.as_ref().map(Memory::forms).unwrap_or_default();
    let mut verification = Verification { hm, guest: &guest, files: &files, checksums: &checksums, defects };
    verification.compare_lists(&forms);
    verification.compare_content(&mut call)?;
    if let Some((path, algorithm)) = memory.as_ref().and_then(Memory::compressed_path) {
        verification.decode(&path, algorithm, &mut call)?;
    }
    Ok(verification.report(id))
}

/// The checksums in the sidecar of the snapshot in `dir`; `None` where there are none that this version knows.
pub(super) fn checksums(dir: &Dir) -> Result<Option<Checksums>> {
    let sidecar = Sidecar::read_sealed(dir)?;
    Ok(sidecar.and_then(|sidecar| sidecar.checksums).filter(Checksums::is_known))
}

/// What is wrong with a record or a sidecar; errors that say nothing about it go on.
fn unusable(path: &str, error: Error) -> Result<Defect> {
    match error.kind() {
        Kind::Corrupt | Kind::Incompatible => Ok(Defect {
            path: path.to_owned(),
            kind: DefectKind::Metadata,
            offset: None,
            size_bytes: None,
            message: error.message().to_owned(),
        }),
        _ => Err(error),
    }
}

/// A verification under way.
struct Verification<'v> {
    hm: &'v Hypeman,
    guest: &'v Dir,
    files: &'v [PayloadFile],
    checksums: &'v Option<Checksums>,
    defects: Vec<Defect>,
}

impl Verification<'_> {
    fn defect(&mut self, path: &str, kind: DefectKind, part: Option<(u64, u64)>, message: String) {
        self.defects.push(Defect {
            path: within(path),
            kind,
            offset: part.map(|(offset, _)| offset),
            size_bytes: part.map(|(_, size_bytes)| size_bytes),
            message,
        });
    }

    /// Finds files that are missing, too many, or of another size. Of the `forms` of the memory any one will do, since
    /// a compression replaces one by another.
    fn compare_lists(&mut self, forms: &[String]) {
        let (Some(checksums), files) = (self.checksums, self.files) else { return };
        for expected in &checksums.files {
            match files.iter().find(|file| file.path == expected.path) {
                Some(file) if file.size_bytes != expected.size_bytes => {
                    let message = format!("it has {} bytes and had {}", file.size_bytes, expected.size_bytes);
                    self.defect(&file.path, DefectKind::Size, None, message);
                }
                None if !forms.contains(&expected.path) => {
                    self.defect(&expected.path, DefectKind::Missing, None, "it is missing".to_owned());
                }
                _ => {}
            }
        }
        for file in files {
            if checksums.file(&file.path).is_none() && !forms.contains(&file.path) {
                let message = "it was not captured with this snapshot".to_owned();
                self.defect(&file.path, DefectKind::Extra, None, message);
            }
        }
    }

    /// Reads every file of which there are checksums, and compares.
    fn compare_content(&mut self, call: &mut Call<'_>) -> Result<()> {
        let Some(checksums) = self.checksums else { return Ok(()) };
        let known: Vec<_> = self
            .files
            .iter()
            .filter_map(|file| checksums.file(&file.path))
            .filter(|expected| !self.is_damaged(&expected.path))
            .collect();
        let files: Vec<(&str, u64)> =
            known.iter().map(|file| (file.path.as_str(), file.size_bytes)).collect();
        let total = files.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
        let done = AtomicU64::new(0);
        let wrong = Mutex::new(Vec::new());
        let chunks = Chunks {
            guest: self.guest,
            files: &files,
            chunk_bytes: checksums.chunk_bytes,
            threads: self.hm.threads(),
            priority: Priority::Normal,
            done: &done,
        };
        watched(call, &|| (done.load(Ordering::Relaxed).min(total), total), |limit| {
            chunks.each(limit, &|Place { file, chunk }, sum| {
                let expected = known.get(file).and_then(|file| file.chunk(chunk));
                let message = match sum {
                    Ok(sum) if Some(sum) == expected => return Ok(()),
                    Ok(_) => "its bytes are not what they were".to_owned(),
                    Err(error) => error.message().to_owned(),
                };
                wrong.lock().unwrap_or_else(PoisonError::into_inner).push((file, chunk, message));
                Ok(())
            })
        })?;
        let mut wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
        wrong.sort_unstable();
        // Neighbouring chunks are one defect.
        for run in wrong.chunk_by(|a, b| a.0 == b.0 && a.1 + 1 == b.1 && a.2 == b.2) {
            let Some((file, first, message)) = run.first() else { continue };
            let Some((path, size_bytes)) = files.get(*file) else { continue };
            let offset = first * checksums.chunk_bytes;
            let end = offset.saturating_add(checksums.chunk_bytes.saturating_mul(run.len() as u64));
            let part = (offset, end.min(*size_bytes) - offset);
            self.defect(path, DefectKind::Content, Some(part), message.clone());
        }
        Ok(())
    }

    /// Decodes the compressed memory at `path` if its bytes are not known to be right: its own checksums tell more.
    fn decode(&mut self, path: &str, algorithm: Algorithm, call: &mut Call<'_>) -> Result<()> {
        if self.status(path) == FileStatus::Good {
            return Ok(());
        }
        let (guest, threads) = (self.guest, self.hm.threads());
        let decoded = watched(call, &|| (0, 0), |limit| {
            memory::verify(&guest.read(path)?, algorithm, threads, limit).map(drop)
        });
        match decoded {
            Err(error) if error.kind() == Kind::Corrupt => {
                self.defect(path, DefectKind::Frame, None, error.message().to_owned());
                Ok(())
            }
            decoded => decoded,
        }
    }

    fn is_damaged(&self, path: &str) -> bool {
        self.defects.iter().any(|defect| defect.path == within(path))
    }

    fn status(&self, path: &str) -> FileStatus {
        if self.is_damaged(path) {
            FileStatus::Damaged
        } else if self.checksums.as_ref().is_some_and(|checksums| checksums.file(path).is_some()) {
            FileStatus::Good
        } else {
            FileStatus::Unchecked
        }
    }

    fn report(mut self, id: &str) -> VerifyReport {
        self.defects.sort_by(|a, b| (&a.path, a.offset).cmp(&(&b.path, b.offset)));
        let files = self.files.iter().map(|file| VerifiedFile {
            path: within(&file.path),
            size_bytes: file.size_bytes,
            status: self.status(&file.path),
        });
        VerifyReport { snapshot_id: id.to_owned(), files: files.collect(), defects: self.defects }
    }
}

/// Does `work` on another thread, and tells the caller how far it is, who may end it.
pub(super) fn watched(
    call: &mut Call<'_>,
    progress: &dyn Fn() -> (u64, u64),
    work: impl FnOnce(&Limit) -> Result<()> + Send,
) -> Result<()> {
    let limit = call.limit().clone();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let work = || {
            let _ = tell.send(guard(|| work(&limit)));
        };
        thread::Builder::new()
            .name("hypeman-verify".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|e| Error::os("start a thread to verify", "the snapshot", &e))?;
        loop {
            match told.recv_timeout(REPORT) {
                Ok(outcome) => break outcome,
                Err(RecvTimeoutError::Timeout) => {
                    let (done, total) = progress();
                    // What ends the call ends the work as well, whose answer comes at once then.
                    let _ = call.report(Phase::Verifying, done, total);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(Error::new(Kind::Internal, "a verification ended without an answer"));
                }
            }
        }
    })?;
    let (done, total) = progress();
    call.report(Phase::Verifying, done, total)
}

/// The path of a payload's file within the snapshot's directory.
fn within(path: &str) -> String {
    format!("{GUEST}/{path}")
}
