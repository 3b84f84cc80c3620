//! Reading records for the catalogue, by several threads where there are many.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::error::{Error, Kind};
use crate::hypeman::available_threads;
use crate::store::record::Record;
use crate::sys::dir::Dir;
use crate::sys::version::Version;
use crate::types::Snapshot;

/// Fewer than this are read sooner than another thread starts.
const WORTH_A_THREAD: usize = 64;

/// The disk is asked for this many records at once, on however large a machine.
const MOST_THREADS: usize = 8;

/// What reading a record came to.
pub(super) enum Found {
    /// There is no such snapshot.
    Nothing,
    /// A record, or a damaged one. Without a version it is to be read again: it is missing, or just changed.
    Record(Option<Version>, Option<Arc<Snapshot>>),
    /// Not known to be damaged: what was known of it stays.
    Unreadable(Error),
}

/// Reads the record of snapshot `id` in `snapshots`.
pub(super) fn read(snapshots: &Dir, id: &str) -> Found {
    let dir = match snapshots.dir(id) {
        Ok(dir) => dir,
        // A file or a link among the snapshots is none.
        Err(error) if error.kind() == Kind::Corrupt => return Found::Nothing,
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => return Found::Nothing,
        Err(error) => return Found::Unreadable(error),
    };
    match Record::read_versioned(&dir, id) {
        (version, Ok(record)) => Found::Record(version, Some(Arc::new(record.snapshot))),
        (version, Err(error)) if error.kind() == Kind::Corrupt => Found::Record(version, None),
        (_, Err(error)) => Found::Unreadable(error),
    }
}

/// Reads the records of all of `ids`.
pub(super) fn read_all(snapshots: &Dir, ids: Vec<String>) -> Vec<(String, Found)> {
    let threads = available_threads().get().min(MOST_THREADS).min(ids.len() / WORTH_A_THREAD);
    let helpers = NonZeroUsize::new(threads).map_or(0, |threads| threads.get() - 1);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(ids.len())));
    let work = || {
        while let Some(part) = ids.chunks(WORTH_A_THREAD).nth(next.fetch_add(1, Ordering::Relaxed)) {
            let found: Vec<_> = part.iter().map(|id| (id.clone(), read(snapshots, id))).collect();
            done.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            // Where the system has no thread for us now, those that run do it all.
            if thread::Builder::new().name("hypeman-list".to_owned()).spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}
