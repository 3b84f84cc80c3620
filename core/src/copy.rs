//! Copying files: by reflink, else their data extents in the kernel, else through a buffer. Never the holes.

mod parts;

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::copy_file_range;

use crate::call::{Call, Limit, Phase};
use crate::error::{Error, Result};
use crate::sys::clone::reflink;
use crate::sys::sparse::next_data;

pub(crate) use self::parts::{Part, copy_parts};

/// What is copied between two looks at the limit.
const STEP_BYTES: u64 = 8 << 20;
const BUFFER_BYTES: usize = 1 << 20;

/// How often the caller hears of progress.
const REPORT: Duration = Duration::from_millis(50);

/// One file to copy: opened when its turn comes, so that thousands of files need few descriptors.
pub(crate) trait Task: Sync {
    /// The source, the new and empty target, and their path for messages; `None` when the source is gone and need
    /// not be there.
    fn open(&self) -> Result<Option<(File, File)>>;
    fn path(&self) -> &Path;
    fn size_bytes(&self) -> u64;
}

/// Makes every copy, several at a time, and tells the caller how far it is.
pub(crate) fn copy_all<T: Task>(
    tasks: &[T],
    threads: NonZeroUsize,
    phase: Phase,
    call: &mut Call<'_>,
) -> Result<()> {
    let total = tasks.iter().map(Task::size_bytes).fold(0, u64::saturating_add);
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let limit = call.limit().clone();
    let workers = threads.get().min(tasks.len());
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for started in 0..workers {
            let (tell, limit, next, done) = (tell.clone(), &limit, &next, &done);
            let work = move || {
                let mut outcome = Ok(());
                while outcome.is_ok()
                    && let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    outcome = copy_one(task, limit, done);
                }
                // The first failure ends the others at their next file.
                if outcome.is_err() {
                    next.store(tasks.len(), Ordering::Relaxed);
                }
                let _ = tell.send(outcome);
            };
            match std::thread::Builder::new().spawn_scoped(scope, work) {
                Ok(_) => {}
                // Fewer do it, too.
                Err(_) if started > 0 => break,
                Err(e) => {
                    let path = tasks.first().map_or(Path::new(""), Task::path);
                    return Err(Error::io("start a thread to copy", path, &e));
                }
            }
        }
        drop(tell);
        let mut outcome = Ok(());
        loop {
            match told.recv_timeout(REPORT) {
                Ok(finished) => outcome = outcome.and(finished),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = call.report(phase, done.load(Ordering::Relaxed).min(total), total) {
                        next.store(tasks.len(), Ordering::Relaxed);
                        outcome = outcome.and(Err(error));
                    }
                }
            }
        }
        outcome
    })?;
    if total > 0 { call.report(phase, total, total) } else { call.check() }
}

fn copy_one(task: &impl Task, limit: &Limit, done: &AtomicU64) -> Result<()> {
    limit.check()?;
    let Some((source, target)) = task.open()? else { return Ok(()) };
    copy_file(&source, &target, limit, done).map_err(|error| error.of(task.path()))
}

/// Copies all of `source`, which was opened at `path`, into the empty `target`.
pub(crate) fn copy_open(source: &File, target: &File, path: &Path, limit: &Limit) -> Result<()> {
    copy_file(source, target, limit, &AtomicU64::new(0)).map_err(|error| error.of(path))
}

enum CopyError {
    Ended(Error),
    Io(io::Error),
}

impl CopyError {
    fn of(self, path: &Path) -> Error {
        match self {
            Self::Ended(error) => error,
            Self::Io(error) => Error::io("copy", path, &error),
        }
    }
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for CopyError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Copies all of `source` into the empty `target`. A source that grows meanwhile is copied as long as it was.
fn copy_file(source: &File, target: &File, limit: &Limit, done: &AtomicU64) -> Result<(), CopyError> {
    let size = source.metadata()?.len();
    if size == 0 {
        return Ok(());
    }
    if reflink(source, target)? {
        done.fetch_add(size, Ordering::Relaxed);
        return Ok(());
    }
    target.set_len(size)?;
    let mut offset = 0;
    while let Some(extent) = next_data(source, offset)? {
        let end = extent.end.min(size);
        if extent.start >= end {
            break;
        }
        let mut at = extent.start;
        while at < end {
            limit.check().map_err(CopyError::Ended)?;
            let step = copy_step(source, at, target, at, (end - at).min(STEP_BYTES))?;
            if step == 0 {
                return check_cut_short(source, size);
            }
            at += step;
            done.fetch_add(step, Ordering::Relaxed);
        }
        offset = end;
    }
    Ok(())
}

/// A source that was cut short under us, as logs are, is copied as far as it went; any other lack is an error.
fn check_cut_short(source: &File, size: u64) -> Result<(), CopyError> {
    if source.metadata()?.len() < size {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }
}

/// Copies up to `len` bytes, in the kernel where it can.
fn copy_step(source: &File, from: u64, target: &File, to: u64, len: u64) -> io::Result<u64> {
    let signed = |at: u64| i64::try_from(at).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW));
    let (mut from_at, mut to_at) = (signed(from)?, signed(to)?);
    let wanted = usize::try_from(len).unwrap_or(BUFFER_BYTES);
    match copy_file_range(source, Some(&mut from_at), target, Some(&mut to_at), wanted) {
        Ok(copied @ 1..) => Ok(copied as u64),
        // Some kernels and file systems copy nothing and call it done; reading tells.
        Ok(0)
        | Err(
            Errno::EXDEV | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EPERM | Errno::ETXTBSY,
        ) => {
            let mut buffer = vec![0; BUFFER_BYTES.min(wanted)];
            let read = loop {
                match source.read_at(&mut buffer, from) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    read => break read?,
                }
            };
            target.write_all_at(buffer.get(..read).unwrap_or_default(), to)?;
            Ok(read as u64)
        }
        Err(Errno::EINTR) => copy_step(source, from, target, to, len),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    struct Plain {
        from: PathBuf,
        to: PathBuf,
    }

    impl Task for Plain {
        fn open(&self) -> Result<Option<(File, File)>> {
            let target = File::options().read(true).write(true).create_new(true).open(&self.to).unwrap();
            Ok(Some((File::open(&self.from).unwrap(), target)))
        }

        fn path(&self) -> &Path {
            &self.from
        }

        fn size_bytes(&self) -> u64 {
            self.from.metadata().unwrap().len()
        }
    }

    #[test]
    fn copies_are_exact_and_holes_stay_holes() {
        let temp = tempfile::tempdir().unwrap();
        let tasks: Vec<_> = (0..5_u8)
            .map(|i| {
                let from = temp.path().join(format!("disk{i}"));
                let file = File::create(&from).unwrap();
                file.set_len(64 << 20).unwrap();
                file.write_all_at(&[i + 1; 100_000], (20 << 20) + 12_345).unwrap();
                Plain { to: temp.path().join(format!("copy{i}")), from }
            })
            .collect();
        let mut last = 0;
        let mut call = Call::default().progress(|progress| {
            last = progress.bytes_done;
            std::ops::ControlFlow::Continue(())
        });
        copy_all(&tasks, NonZeroUsize::new(3).unwrap(), Phase::CopyingDisks, &mut call).unwrap();
        drop(call);
        assert_eq!(last, 5 * (64 << 20));
        for task in &tasks {
            assert!(std::fs::read(&task.from).unwrap() == std::fs::read(&task.to).unwrap());
            assert!(task.to.metadata().unwrap().blocks() * 512 < 2 << 20, "a hole was written");
        }
    }

    #[test]
    fn a_cancelled_copy_stops() {
        let temp = tempfile::tempdir().unwrap();
        let from = temp.path().join("disk");
        std::fs::write(&from, [1; 1000]).unwrap();
        let token = crate::call::Cancel::new();
        token.cancel();
        let task = Plain { to: temp.path().join("copy"), from };
        let mut call = Call::default().cancel(&token);
        let error = copy_all(&[task], NonZeroUsize::MIN, Phase::CopyingDisks, &mut call).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Cancelled);
    }
}
