//! Facts of the machine we are on.

use std::path::Path;

use crate::error::{Error, Result};
use crate::types::Host;

/// The machine, as far as a later restore wants to compare it.
pub(crate) fn host() -> Host {
    let (kernel, architecture) = nix::sys::utsname::uname().map_or_else(
        |_| (String::new(), std::env::consts::ARCH.to_owned()),
        |name| (name.release().to_string_lossy().into_owned(), name.machine().to_string_lossy().into_owned()),
    );
    let cpu_model = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            text.lines()
                .find(|line| line.starts_with("model name"))
                .and_then(|line| line.split_once(':'))
                .map(|(_, model)| model.trim().to_owned())
        })
        .unwrap_or_default();
    Host { kernel, architecture, cpu_model }
}

/// Bytes of memory that programs can still take without swapping; `None` where the system does not tell.
pub(crate) fn available_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Tells whether `path` lies on a file system whose locks and atomicity depend on another machine.
pub(crate) fn is_network_fs(path: &Path) -> Result<bool> {
    use nix::sys::statfs::{FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
    // Not in nix: cifs, smb2, 9p, ceph, afs (include/uapi/linux/magic.h).
    const OTHERS: [i64; 5] = [0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400, 0x5346_414f];
    let fs =
        statfs(path).map_err(|e| Error::io("look at the file system of", path, &e.into()))?.filesystem_type();
    Ok([NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, FUSE_SUPER_MAGIC].contains(&fs) || OTHERS.contains(&fs.0))
}
