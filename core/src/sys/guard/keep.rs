//! Which memory a guard needs of its parent's: its code, that of the C library, and its stack. All else it gives back, so
//! that its parent neither copies pages that it writes to, nor keeps files busy that it has closed.

use std::io;
use std::ops::Range;

/// The largest pages that there are: where ours are smaller, a few more are kept.
const PAGE_BYTES: u64 = 64 << 10;

/// What is kept, in the order of addresses.
pub(super) type Kept = [Range<u64>; 5];

/// What the calling thread has to keep to go on in a child of its own with the code at `code`, and where the memory of
/// this process ends.
pub(super) fn kept(code: u64) -> io::Result<(Kept, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mappings: Vec<_> = maps.lines().filter_map(mapping).collect();
    let unknown = || io::Error::other("the memory of this process is not as expected");
    // What the kernel has put there: newer ones do not let go of it.
    let system = mappings.iter().filter(|(_, name)| name.starts_with("[v")).map(|(range, _)| range.clone());
    let mut kept = [
        object(code).ok_or_else(unknown)?,
        object(libc::syscall as *const () as u64).ok_or_else(unknown)?,
        // The compiler calls it as it likes.
        object(libc::memcpy as *const () as u64).ok_or_else(unknown)?,
        system.reduce(hull).unwrap_or_default(),
        stack()?,
    ];
    kept.sort_unstable_by_key(|range| range.start);
    let end = mappings.iter().map(|(range, _)| range.end).max().ok_or_else(unknown)?;
    Ok((kept, end))
}

/// Addresses and name of a line of `/proc/self/maps`.
fn mapping(line: &str) -> Option<(Range<u64>, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
    let name = words.nth(4).unwrap_or_default();
    // That one is the kernel's own, the same in every process.
    (name != "[vsyscall]").then_some((range, name))
}

fn hull(one: Range<u64>, other: Range<u64>) -> Range<u64> {
    one.start.min(other.start)..one.end.max(other.end)
}

fn whole_pages(range: Range<u64>) -> Range<u64> {
    range.start / PAGE_BYTES * PAGE_BYTES..range.end.next_multiple_of(PAGE_BYTES)
}

/// All of the program or library with the code at `address`: its variables that begin as zeros, too, in which the C library
/// notes how it copies best.
fn object(address: u64) -> Option<Range<u64>> {
    let mut search = (address, None);
    // SAFETY: `look` has the required type and takes what is given here, which lives as long as the call.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.1
}

// SAFETY: only for `dl_iterate_phdr`, with a `search` as `object` makes it.
unsafe extern "C" fn look(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    search: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the linker passes a description that is valid during this call, and `object` its own tuple.
    let (info, (address, found)) = unsafe { (&*info, &mut *search.cast::<(u64, Option<Range<u64>>)>()) };
    // SAFETY: as many headers as it says, in memory that is mapped as long as the object is.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).map(|header| {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
        start..start.wrapping_add(header.p_memsz)
    });
    if loaded.clone().any(|range| range.contains(address)) {
        *found = loaded.reduce(hull).map(whole_pages);
    }
    // Anything but 0 ends the search.
    found.is_some().into()
}

/// The stack of this thread, with what the C library keeps beside it.
fn stack() -> io::Result<Range<u64>> {
    let mut attributes = std::mem::MaybeUninit::uninit();
    let (mut start, mut bytes) = (std::ptr::null_mut(), 0);
    // SAFETY: asks about the calling thread, and fills `attributes`.
    let failed = unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    // SAFETY: they were filled just now, and are destroyed once.
    let failed = unsafe {
        let failed = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut bytes);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        failed
    };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    // SAFETY: takes nothing and returns where this thread has its `errno`.
    let errno = unsafe { libc::__errno_location() } as u64;
    let start = start as u64;
    Ok(whole_pages(start..(start + bytes as u64).max(errno + size_of::<libc::c_int>() as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_stack_are_kept_and_the_heap_is_not() {
        let heap = vec![1_u8; 1 << 20];
        let here = 0_u8;
        let (kept, end) = kept(stack as *const () as u64).unwrap();
        let has = |address: u64| kept.iter().any(|range| range.contains(&address));
        assert!(has(stack as *const () as u64) && has(libc::syscall as *const () as u64));
        assert!(has(&raw const here as u64) && !has(heap.as_ptr() as u64));
        assert!(kept.windows(2).all(|two| two[0].start <= two[1].start));
        assert!(kept.iter().all(|range| range.end <= end));
    }
}
