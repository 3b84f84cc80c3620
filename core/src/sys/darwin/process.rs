//! Facts that tell one process from another that got its pid later.

use std::ffi::CStr;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;

use super::sysctl;
use crate::error::{Error, Kind, Result};

/// Start time of process `pid` in microseconds since 1970, as the clock was then. `NotFound` where there is none.
pub(crate) fn start_ticks(pid: i32) -> io::Result<u64> {
    let bytes = size_of::<libc::proc_bsdinfo>();
    let mut facts = std::mem::MaybeUninit::<libc::proc_bsdinfo>::zeroed();
    // SAFETY: `facts` has `bytes` bytes to write to; the call keeps nothing of it.
    let written = unsafe {
        libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, facts.as_mut_ptr().cast(), bytes as libc::c_int)
    };
    if usize::try_from(written) != Ok(bytes) {
        let errno = Errno::last();
        let errno = if errno == Errno::ESRCH { Errno::ENOENT } else { errno };
        return Err(errno.into());
    }
    // SAFETY: the kernel has written all of it, and any bytes are such integers.
    let facts = unsafe { facts.assume_init() };
    Ok(facts.pbi_start_tvsec.saturating_mul(1_000_000).saturating_add(facts.pbi_start_tvusec))
}

/// The id of this boot of the machine: pids and start times of another boot mean nothing.
pub(crate) fn boot_id() -> Result<String> {
    const NAME: &CStr = c"kern.bootsessionuuid";
    sysctl::text(NAME).ok_or_else(|| {
        Error::new(Kind::Io, "the system does not tell this boot from others (kern.bootsessionuuid)")
    })
}

/// The time now, as [`start_ticks`] counts it.
pub(crate) fn now_ticks() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// None: there are no roots of one process that others can look into.
pub(crate) fn root_of(_pid: i32) -> Option<PathBuf> {
    None
}

/// None: it cannot be looked into.
pub(crate) fn working_directory_of(_pid: i32) -> Option<PathBuf> {
    None
}

/// None: only Linux has such filters.
pub(crate) fn is_filtered(_pid: i32) -> Option<bool> {
    None
}

/// None: only Linux has that library.
pub(crate) fn uses_glibc(_pid: i32) -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_one_start_time_and_a_process_that_is_gone_has_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(start_ticks(own).unwrap(), start_ticks(own).unwrap());
        assert!((1..=now_ticks().unwrap()).contains(&start_ticks(own).unwrap()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert_eq!(start_ticks(gone).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
