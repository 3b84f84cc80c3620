//! Files that a forked child must not keep.
//!
//! An OFD lock lives as long as any copy of its descriptor. Without care, a child that the host forks would hold the
//! locks of its dead parent. The one static of this library closes them in the child; it never unlocks, which would
//! release the parent's lock.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

const FREE: RawFd = -1;
const SLOTS: usize = 128;

/// A block of descriptors to close; blocks are only ever added, so that the child handler needs no lock.
struct Block {
    slots: [AtomicI32; SLOTS],
    next: AtomicPtr<Block>,
}

impl Block {
    const fn new() -> Self {
        Self { slots: [const { AtomicI32::new(FREE) }; SLOTS], next: AtomicPtr::new(ptr::null_mut()) }
    }
}

static FIRST: Block = Block::new();
static REGISTER: Once = Once::new();

/// A file that is closed in every child that this process forks from now on.
#[derive(Debug)]
pub(crate) struct ForkClosed {
    slot: &'static AtomicI32,
    fd: RawFd,
    /// The process that it belongs to. In a child, slot and descriptor may be those of a file of the child's own.
    owner: u32,
}

impl ForkClosed {
    pub(crate) fn new(file: File) -> Self {
        REGISTER.call_once(|| {
            // SAFETY: `close_in_child` has the required type and lives as long as the library, which is never
            // unloaded (`-z nodelete`). Where registering fails (no memory), children merely keep the locks.
            unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) };
        });
        let fd = file.into_raw_fd();
        Self { slot: take_slot(fd), fd, owner: std::process::id() }
    }
}

impl AsFd for ForkClosed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // In a forked child the descriptor is closed and this borrow is stale; a handle answers `closed` there
        // before it comes this far.
        // SAFETY: in the process that made it, the descriptor is open until `self` is dropped.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for ForkClosed {
    fn drop(&mut self) {
        if std::process::id() != self.owner {
            return;
        }
        // Whoever empties the slot closes the descriptor.
        if self.slot.compare_exchange(self.fd, FREE, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            // SAFETY: the slot still held our descriptor, so no one closed it and we own it.
            unsafe { libc::close(self.fd) };
        }
    }
}

fn take_slot(fd: RawFd) -> &'static AtomicI32 {
    let mut block = &FIRST;
    loop {
        let free =
            |slot: &&AtomicI32| slot.compare_exchange(FREE, fd, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if let Some(slot) = block.slots.iter().find(free) {
            return slot;
        }
        let mut next = block.next.load(Ordering::Acquire);
        if next.is_null() {
            let fresh = Box::into_raw(Box::new(Block::new()));
            match block.next.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => next = fresh,
                Err(theirs) => {
                    // SAFETY: `fresh` came from `Box::into_raw` just above and was not published.
                    drop(unsafe { Box::from_raw(fresh) });
                    next = theirs;
                }
            }
        }
        // SAFETY: `next` is not null and points to a published block; blocks are never freed.
        block = unsafe { &*next };
    }
}

/// Runs in the forked child, before anything else there: atomics and `close` only, both async-signal-safe.
extern "C" fn close_in_child() {
    let mut block: *const Block = &raw const FIRST;
    while !block.is_null() {
        // SAFETY: the first block is a static, the others are published by `take_slot` and never freed.
        let here = unsafe { &*block };
        for slot in &here.slots {
            let fd = slot.swap(FREE, Ordering::AcqRel);
            if fd != FREE {
                // SAFETY: a slot holds a descriptor that its `ForkClosed` owns; emptying the slot took it over.
                unsafe { libc::close(fd) };
            }
        }
        block = here.next.load(Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, Pid, fork};

    use super::*;
    use crate::sys::lock::{ByteLock, Sharing};

    fn lock(path: &Path) -> Option<ByteLock> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        ByteLock::try_take(file, 0, Sharing::Exclusive, path).unwrap()
    }

    /// Forks a child that does `part` and ends.
    fn in_child(part: impl FnOnce()) -> Pid {
        // SAFETY: the child touches what only this thread uses, and ends without returning into the test harness.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(part));
                // SAFETY: ends this process alone, at once.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
        }
    }

    #[test]
    fn a_lock_does_not_outlive_its_owner_in_a_child_that_it_forked() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        // Ends when this test lets go of it, and with it the child that outlives its parent.
        let (mut lasts, life) = std::io::pipe().unwrap();
        let (mut told, mut tell) = std::io::pipe().unwrap();
        let mut life = Some(life);
        // Registers the handler here: a process that is forked in the middle of that could not.
        drop(lock(&temp.path().join("first")));

        let owner = in_child(|| {
            life = None;
            let _held = lock(&path).unwrap();
            in_child(|| {
                tell.write_all(b"forked").unwrap();
                lasts.read_to_end(&mut Vec::new()).unwrap();
            });
            lasts.read_to_end(&mut Vec::new()).unwrap();
        });
        told.read_exact(&mut [0; 6]).unwrap();
        assert!(lock(&path).is_none(), "its owner lives");
        kill(owner, Signal::SIGKILL).unwrap();
        waitpid(owner, None).unwrap();
        assert!(lock(&path).is_some(), "only the child lives, which does not own it");
        drop(life);
    }

    #[test]
    fn a_child_that_ends_leaves_the_lock_to_its_parent() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let mut held = Some(lock(&path).unwrap());
        let child = in_child(|| drop(held.take()));
        assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        assert!(held.is_some() && lock(&path).is_none());
    }

    #[test]
    fn what_a_child_inherited_and_drops_leaves_its_own_locks_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (path, other) = (temp.path().join("lock"), temp.path().join("other"));
        let mut held = Some(lock(&path).unwrap());
        let child = in_child(|| {
            // It has the descriptor, and the slot, that the inherited one had.
            let own = lock(&other).unwrap();
            drop(held.take());
            assert!(lock(&other).is_none(), "it was closed with the inherited one");
            drop(own);
            assert!(lock(&other).is_some());
        });
        assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        assert!(held.is_some() && lock(&path).is_none());
    }

    #[test]
    fn many_files_find_a_slot_and_are_closed_when_dropped() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let files: Vec<_> = (0..SLOTS * 2)
            .map(|_| ForkClosed::new(File::from(OwnedFd::from(writer.try_clone().unwrap()))))
            .collect();
        drop(writer);
        assert!(files.iter().all(|file| file.slot.load(Ordering::Acquire) == file.fd));
        drop(files);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(reader.read_to_end(&mut Vec::new()).unwrap()));
        assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(0), "the last writer is gone");
    }
}
