//! Copying parts of files to other places in other files: in parallel, and never the holes.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{REPORT, STEP_BYTES, copy_step};
use crate::call::Limit;
use crate::error::{Error, Result};
use crate::sys::sparse::next_data;

/// The most threads: memory is not copied faster by more.
const THREADS: usize = 4;

/// Some bytes of a file, and where they go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'f> {
    pub(crate) from: &'f File,
    pub(crate) from_at: u64,
    pub(crate) to: &'f File,
    pub(crate) to_at: u64,
    pub(crate) bytes: u64,
}

/// Copies all `parts`, which must not overlap in what they write; holes are left out, so that the targets must read as
/// zeros. `what` is being copied, for people. `progress` hears how many bytes are done.
pub(crate) fn copy_parts(
    parts: &[Part<'_>],
    what: &str,
    limit: &Limit,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    let steps = Mutex::new(Steps { parts, at: 0, extent_end: 0 });
    let done = AtomicU64::new(0);
    let failed = |e: io::Error| Error::os("copy", what, &e);
    let work = || -> Result<()> {
        loop {
            limit.check()?;
            let step = steps.lock().unwrap_or_else(PoisonError::into_inner).next().map_err(failed)?;
            let Some(mut step) = step else { return Ok(()) };
            while step.bytes > 0 {
                let copied =
                    copy_step(step.from, step.from_at, step.to, step.to_at, step.bytes).map_err(failed)?;
                if copied == 0 {
                    return Err(failed(io::ErrorKind::UnexpectedEof.into()));
                }
                step.from_at += copied;
                step.to_at += copied;
                step.bytes -= copied;
                done.fetch_add(copied, Ordering::Relaxed);
            }
        }
    };
    let work = || {
        let outcome = work();
        if outcome.is_err() {
            // The others end with the step that they have.
            steps.lock().unwrap_or_else(PoisonError::into_inner).parts = &[];
        }
        outcome
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for started in 0..threads {
            let (tell, work) = (tell.clone(), &work);
            let worker = move || {
                let _ = tell.send(work());
            };
            match thread::Builder::new().name("hypeman-copy".to_owned()).spawn_scoped(scope, worker) {
                Ok(_) => {}
                // Fewer do it, too.
                Err(_) if started > 0 => break,
                Err(e) => return Err(Error::os("start a thread to copy", what, &e)),
            }
        }
        drop(tell);
        let mut outcome = Ok(());
        loop {
            match told.recv_timeout(REPORT) {
                Ok(ended) => outcome = outcome.and(ended),
                Err(RecvTimeoutError::Disconnected) => return outcome,
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = progress(done.load(Ordering::Relaxed)) {
                        steps.lock().unwrap_or_else(PoisonError::into_inner).parts = &[];
                        outcome = outcome.and(Err(error));
                    }
                }
            }
        }
    })
}

/// Cuts parts into steps, extent by extent.
struct Steps<'f> {
    /// Those that are left; of the first one, what begins `at` bytes behind its beginning.
    parts: &'f [Part<'f>],
    at: u64,
    /// How far the data goes, in bytes behind the same beginning.
    extent_end: u64,
}

impl<'f> Steps<'f> {
    fn next(&mut self) -> io::Result<Option<Part<'f>>> {
        while let Some((part, rest)) = self.parts.split_first() {
            if self.at >= self.extent_end {
                let data = next_data(part.from, part.from_at + self.at)?;
                let data = data.filter(|data| data.start < part.from_at + part.bytes);
                let Some(data) = data else {
                    *self = Self { parts: rest, at: 0, extent_end: 0 };
                    continue;
                };
                self.at = data.start - part.from_at;
                self.extent_end = (data.end - part.from_at).min(part.bytes);
            }
            let bytes = (self.extent_end - self.at).min(STEP_BYTES);
            let step = Part { from_at: part.from_at + self.at, to_at: part.to_at + self.at, bytes, ..*part };
            self.at += bytes;
            return Ok(Some(step));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;
    use crate::call::Cancel;
    use crate::error::Kind;

    const MIB: u64 = 1 << 20;

    #[test]
    fn parts_change_their_places_and_holes_stay_holes() {
        let [one, two, to] = [(); 3].map(|()| tempfile::tempfile().unwrap());
        one.set_len(40 * MIB).unwrap();
        two.set_len(40 * MIB).unwrap();
        to.set_len(64 * MIB).unwrap();
        let pattern: Vec<u8> = (0..20 * MIB).map(|i| (i % 251) as u8 + 1).collect();
        one.write_all_at(&pattern, 10 * MIB).unwrap();
        two.write_all_at(&pattern[..100], 39 * MIB).unwrap();
        let parts = [
            Part { from: &one, from_at: 5 * MIB, to: &to, to_at: 32 * MIB, bytes: 24 * MIB },
            Part { from: &two, from_at: 8 * MIB, to: &to, to_at: 0, bytes: 32 * MIB },
        ];
        copy_parts(&parts, "a test", &Limit::default(), &mut |_| Ok(())).unwrap();
        let mut expected = vec![0; 64 << 20];
        expected[31 << 20..][..100].copy_from_slice(&pattern[..100]);
        expected[37 << 20..][..19 << 20].copy_from_slice(&pattern[..19 << 20]);
        let mut found = vec![0; 64 << 20];
        to.read_exact_at(&mut found, 0).unwrap();
        assert!(found == expected);
        assert!(to.metadata().unwrap().blocks() * 512 < 24 * MIB, "a hole was written");
    }

    #[test]
    fn a_copy_ends_when_its_call_does() {
        let [from, to] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        from.write_all_at(&[1; 4096], 0).unwrap();
        let parts = [Part { from: &from, from_at: 0, to: &to, to_at: 0, bytes: 4096 }];
        let token = Cancel::new();
        token.cancel();
        let error = copy_parts(&parts, "a test", &Limit::until(&token), &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), Kind::Cancelled);
        copy_parts(&parts, "a test", &Limit::default(), &mut |_| Ok(())).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 4096);
    }
}
