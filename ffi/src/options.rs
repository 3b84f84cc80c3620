//! Structs that C fills in: each begins with its size, so that old programs and new libraries fit, and the reverse.

use std::mem::MaybeUninit;
use std::{ptr, slice};

use hypeman_core::Result;

use crate::border::invalid;

/// No struct of options will ever be as large as this: whatever says so has not been initialised.
const LARGEST: usize = 4096;

/// A struct of options.
///
/// # Safety
/// The type is `repr(C)`, begins with `struct_size: usize`, has no padding, and every pattern of its bits that C
/// can write is a value of it, all zeros among them.
pub(crate) unsafe trait Options: Copy {
    /// Its size in the first release: the least that a caller can have.
    const FIRST_BYTES: usize;
}

/// Reads options; the defaults, which are all zeros, for NULL.
///
/// # Safety
/// As [`read_given`].
pub(crate) unsafe fn read<T: Options>(given: *const T) -> Result<T> {
    // SAFETY: what the caller promises; and all zeros are a value of options.
    unsafe { Ok(read_given(given)?.unwrap_or(MaybeUninit::zeroed().assume_init())) }
}

/// Reads options, `None` for NULL. What an older caller does not have is zero; what a newer one has and sets is
/// refused, since to ignore it would be to do something else than was asked.
///
/// # Safety
/// `given` is NULL or points to as many initialised bytes as its first field says.
pub(crate) unsafe fn read_given<T: Options>(given: *const T) -> Result<Option<T>> {
    if given.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and options begin with their size.
    let theirs = unsafe { given.cast::<usize>().read_unaligned() };
    // Without padding, no release has a size that is not aligned: such a one would end within a pointer.
    if !(T::FIRST_BYTES..=LARGEST).contains(&theirs) || !theirs.is_multiple_of(align_of::<T>()) {
        return Err(invalid(format!(
            "struct_size cannot be {theirs}; start from the _INIT macro of the struct"
        )));
    }
    // SAFETY: the caller promises that as many bytes are there.
    let bytes = unsafe { slice::from_raw_parts(given.cast::<u8>(), theirs) };
    let ours = theirs.min(size_of::<T>());
    if bytes.iter().skip(ours).any(|byte| *byte != 0) {
        return Err(invalid(
            "an option is set that is newer than this library; update libhypeman, or leave it out",
        ));
    }
    let mut options = MaybeUninit::<T>::zeroed();
    // SAFETY: `ours` is at most the size of either; the bytes then are zeros or what C wrote, so a value of options.
    Ok(Some(unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr(), options.as_mut_ptr().cast(), ours);
        options.assume_init()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Second {
        struct_size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: three integers of one size.
    unsafe impl Options for Second {
        const FIRST_BYTES: usize = 16;
    }

    fn given(words: &[u64]) -> Result<Option<Second>> {
        // SAFETY: each test says no larger a size than it has words.
        unsafe { read_given(words.as_ptr().cast()) }
    }

    #[test]
    fn an_older_caller_has_zeros_for_what_it_does_not_know() {
        assert_eq!(given(&[16, 7]).unwrap(), Some(Second { struct_size: 16, first: 7, second: 0 }));
        assert_eq!(given(&[24, 7, 8]).unwrap(), Some(Second { struct_size: 24, first: 7, second: 8 }));
    }

    #[test]
    fn a_newer_caller_is_served_unless_it_sets_what_we_do_not_know() {
        given(&[32, 7, 8, 0]).unwrap();
        assert!(given(&[32, 7, 8, 9]).unwrap_err().message().contains("newer than this library"));
    }

    #[test]
    fn a_size_that_no_release_had_is_refused_and_null_means_the_defaults() {
        for size in [0, 8, 15, 17, 20, 4097, u64::MAX] {
            assert!(given(&[size, 0, 0]).is_err(), "{size}");
        }
        // SAFETY: NULL.
        let defaults: Second = unsafe { read(ptr::null()) }.unwrap();
        assert_eq!((defaults.first, defaults.second), (0, 0));
    }
}
