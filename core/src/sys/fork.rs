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
}

impl ForkClosed {
    pub(crate) fn new(file: File) -> Self {
        REGISTER.call_once(|| {
            // SAFETY: `close_in_child` has the required type and lives as long as the library, which is never
            // unloaded (`-z nodelete`). Where registering fails (no memory), children merely keep the locks.
            unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) };
        });
        let fd = file.into_raw_fd();
        Self { slot: take_slot(fd), fd }
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
        // Whoever empties the slot closes the descriptor: in a child that was the handler.
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
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn many_files_find_a_slot_and_give_it_back() {
        let files: Vec<_> =
            (0..SLOTS * 2).map(|_| ForkClosed::new(File::open("/dev/null").unwrap())).collect();
        let fds: Vec<_> = files.iter().map(|file| file.as_fd().as_raw_fd()).collect();
        drop(files);
        let again = ForkClosed::new(File::open("/dev/null").unwrap());
        assert!(fds.contains(&again.as_fd().as_raw_fd()), "descriptors were closed");
    }
}
