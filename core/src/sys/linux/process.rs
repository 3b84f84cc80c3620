//! Facts that tell one process from another that got its pid later.

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::error::{Error, Result};

/// Start time of process `pid` in clock ticks since boot: field 22 of `/proc/{pid}/stat`.
pub(crate) fn start_ticks(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_start_ticks(&stat).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not as expected"))
    })
}

/// The id of this boot of the machine: pids and start times of another boot mean nothing.
pub(crate) fn boot_id() -> Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let id = fs::read_to_string(PATH).map_err(|e| Error::io("read", PATH, &e))?;
    Ok(id.trim_end().to_owned())
}

/// The time since this boot in clock ticks, as [`start_ticks`] counts it.
pub(crate) fn now_ticks() -> Result<u64> {
    let failed = |errno: Errno| Error::os("read", "the clock", &errno.into());
    let since = clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(failed)?;
    let per_second = sysconf(SysconfVar::CLK_TCK).map_err(failed)?.unwrap_or(100);
    let ticks = since.tv_sec() * per_second + since.tv_nsec() * per_second / 1_000_000_000;
    u64::try_from(ticks).map_err(|_| failed(Errno::EOVERFLOW))
}

/// Where this process finds the root directory of process `pid`, which may be another one than ours.
pub(crate) fn root_of(pid: i32) -> Option<PathBuf> {
    Some(PathBuf::from(format!("/proc/{pid}/root")))
}

/// Where this process finds the working directory of process `pid`.
pub(crate) fn working_directory_of(pid: i32) -> Option<PathBuf> {
    Some(PathBuf::from(format!("/proc/{pid}/cwd")))
}

/// Whether a filter of system calls holds any thread of process `pid`; `None` where it cannot be looked at.
pub(crate) fn is_filtered(pid: i32) -> Option<bool> {
    let mut threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads.try_fold(false, |is_filtered, thread| {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
        Some(is_filtered || mode.trim() != "0")
    })
}

/// Whether process `pid` has the C library of GNU loaded; `None` where it cannot be looked at.
pub(crate) fn uses_glibc(pid: i32) -> Option<bool> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    Some(maps.lines().any(|line| line.contains("/libc.so.6") || line.contains("/libc-2.")))
}

/// The second field is the name of the program in parentheses; it may hold spaces and parentheses itself.
fn parse_start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_cannot_forge_its_start_time_by_its_name() {
        let fields: Vec<_> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("4711 (evil) R 1 2 3 (x) {}", fields.join(" "));
        assert_eq!(parse_start_ticks(&stat), Some(22));
        assert_eq!(parse_start_ticks("4711 (cut off) R 1"), None);
    }

    #[test]
    fn this_process_has_one_start_time_and_a_process_that_is_gone_has_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(start_ticks(own).unwrap(), start_ticks(own).unwrap());
        assert!(start_ticks(own).unwrap() > 0);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert!(start_ticks(gone).is_err());
        assert_eq!(boot_id().unwrap().len(), 36);
    }

    #[test]
    fn a_program_is_known_by_its_filter_and_its_library() {
        let own = i32::try_from(std::process::id()).unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(is_filtered(own), Some(!status.contains("Seccomp:\t0")));
        assert_eq!(uses_glibc(own), Some(cfg!(all(target_os = "linux", target_env = "gnu"))));
        assert_eq!((is_filtered(i32::MAX), uses_glibc(i32::MAX)), (None, None));
    }
}
