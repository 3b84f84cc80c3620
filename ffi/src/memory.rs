//! The guest memory of a snapshot: open, read at any offset, close.

use std::ffi::{CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::{ptr, slice};

use hypeman_core::{MemoryImage, Result};

use crate::border::{answer, c_path, c_string, free, hand_out, invalid, look, required};
use crate::error::Error;
use crate::extents::{Extents, Ranges};
use crate::handle::{Handle, opened_for};
use crate::status::Status;

/// The guest memory of a snapshot, open for reading, compressed or not. Any number of threads may read at once;
/// outlives the handle. While it is open, the snapshot cannot be deleted (busy).
pub struct Memory {
    image: MemoryImage,
    snapshot_id: CString,
    path: CString,
}

impl From<MemoryImage> for Memory {
    fn from(image: MemoryImage) -> Self {
        Self { snapshot_id: c_string(image.snapshot_id()), path: c_path(image.path()), image }
    }
}

/// Opens the guest memory of a snapshot for reading at any offset, also while it is being compressed.
///
/// out: an image for hypeman_memory_free.
///
/// Errors: not_found, invalid_state when it has no memory, not_supported for a compressed file that can only be read
/// from its start (the vendor's zstd), busy when its files are being removed, corrupt, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_memory(
    handle: Option<&Handle>,
    id: *const c_char,
    out: Option<&mut MaybeUninit<Option<Box<Memory>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or a valid text, as the header asks.
        let (hm, id) = unsafe { opened_for(handle, id) }?;
        hm.snapshots().memory(id).map(Memory::from)
    })
}

/// Returns the id of the snapshot. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_memory_snapshot_id(memory: Option<&Memory>) -> *const c_char {
    look(memory, ptr::null(), |memory| memory.snapshot_id.as_ptr())
}

/// Returns the path of the file that is read, raw or compressed, in bytes. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_memory_path(memory: Option<&Memory>) -> *const c_char {
    look(memory, ptr::null(), |memory| memory.path.as_ptr())
}

/// Returns the length of the image in bytes: of the raw memory file.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_memory_size_bytes(memory: Option<&Memory>) -> u64 {
    look(memory, 0, |memory| memory.image.size_bytes())
}

/// Fills buffer, of length bytes, from byte offset of the image. Offsets are those of the raw memory file. Every frame
/// of a compressed image, and every MiB of a raw one that has checksums, is checked before its bytes are used.
///
/// read_out: how many bytes were read, less than length only where the image ends, 0 at its end and behind it and
/// after an error; NULL is fine. buffer is overwritten whole; what it holds behind what was read is undefined.
///
/// Errors: corrupt where a frame that is needed is damaged (others can be read all the same), errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_memory_read(
    memory: Option<&Memory>,
    offset: u64,
    buffer: *mut c_void,
    length: usize,
    read_out: Option<&mut MaybeUninit<usize>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    let mut told = 0;
    let read_out = read_out.map(|read_out| read_out.write(0));
    let status = answer(err, || {
        // SAFETY: NULL or as many bytes as the header asks, which no one else uses now.
        let buffer = unsafe { writable(buffer, length) }?;
        told = opened_image(memory)?.read_at(offset, buffer)?;
        Ok(())
    });
    if let Some(read_out) = read_out {
        *read_out = told;
    }
    status
}

/// The bytes that C wants to have filled; they are zeros first, since C need not have initialised them.
///
/// # Safety
/// `first` is NULL or points to `length` bytes that no one else uses for the time of `'b`.
unsafe fn writable<'b>(first: *mut c_void, length: usize) -> Result<&'b mut [u8]> {
    if length == 0 {
        return Ok(&mut []);
    }
    if first.is_null() || isize::try_from(length).is_err() {
        return Err(invalid(format!("buffer cannot be of {length} bytes, or is NULL")));
    }
    // SAFETY: not NULL, no larger than memory can hold, initialised by the first line; the rest is what the caller
    // promises.
    unsafe {
        first.cast::<u8>().write_bytes(0, length);
        Ok(slice::from_raw_parts_mut(first.cast(), length))
    }
}

/// Tells what the image consists of.
///
/// out: a list for hypeman_extents_free.
///
/// Errors: corrupt, errors of the disk.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_memory_extents(
    memory: Option<&Memory>,
    out: Option<&mut MaybeUninit<Option<Box<Extents>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || opened_image(memory)?.extents().map(Extents::from))
}

/// Tells which guest-physical addresses lie where in the image.
///
/// out: a list for hypeman_ranges_free.
///
/// Errors: not_supported where the form of the file does not say it for certain (QEMU's stream, and Firecracker's
/// from 3 GiB on), corrupt, errors of the disk.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_memory_ranges(
    memory: Option<&Memory>,
    out: Option<&mut MaybeUninit<Option<Box<Ranges>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || opened_image(memory)?.ranges().map(Ranges::from))
}

/// Closes an image; the snapshot can be deleted then. No other thread may be reading from it. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_memory_free(memory: Option<Box<Memory>>) {
    free(memory);
}

fn opened_image(memory: Option<&Memory>) -> Result<&MemoryImage> {
    required(memory, "the memory").map(|memory| &memory.image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_host_may_read_at_once() {
        fn shared<T: Send + Sync>() {}
        shared::<Memory>();
    }

    #[test]
    fn a_buffer_that_cannot_exist_is_refused() {
        let mut one = 7_u8;
        // SAFETY: the first is one byte; the others are refused before they are touched, or empty.
        unsafe {
            assert_eq!(writable((&raw mut one).cast(), 1).unwrap(), [0]);
            assert!(writable(ptr::null_mut(), 0).unwrap().is_empty());
            assert!(writable(ptr::null_mut(), 1).is_err());
            assert!(writable((&raw mut one).cast(), usize::MAX).is_err());
        }
    }
}
