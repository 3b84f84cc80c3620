//! Facts of the machine we are on.

use std::path::Path;

use nix::sys::statfs::{FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};

use crate::error::{Error, Result};
use crate::types::Host;

/// The machine, as far as a later restore wants to compare it.
pub(crate) fn host() -> Host {
    let (kernel, architecture) = nix::sys::utsname::uname().map_or_else(
        |_| (String::new(), std::env::consts::ARCH.to_owned()),
        |name| (name.release().to_string_lossy().into_owned(), name.machine().to_string_lossy().into_owned()),
    );
    let facts = std::fs::read_to_string("/proc/cpuinfo").map(|text| cpu(&text)).unwrap_or_default();
    Host { kernel, architecture, ..facts }
}

/// The facts of the first CPU in the text of `/proc/cpuinfo`, in the words of x86 or of arm64.
fn cpu(text: &str) -> Host {
    let value = |names: [&str; 2]| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| names.contains(&name.trim())).map_or("", |(_, value)| value.trim())
    };
    Host {
        cpu_vendor: value(["vendor_id", "CPU implementer"]).to_owned(),
        cpu_model: value(["model name", "CPU part"]).to_owned(),
        cpu_flags: value(["flags", "Features"]).to_owned(),
        ..Host::default()
    }
}

/// Bytes of memory that programs can still take without swapping; `None` where the system does not tell.
pub(crate) fn available_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Tells whether `path` lies on a file system whose locks and atomicity depend on another machine.
pub(crate) fn is_network_fs(path: &Path) -> Result<bool> {
    // Not in nix: cifs, smb2, 9p, ceph, afs (include/uapi/linux/magic.h).
    const OTHERS: [i64; 5] = [0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400, 0x5346_414f];
    let fs =
        statfs(path).map_err(|e| Error::io("look at the file system of", path, &e.into()))?.filesystem_type();
    Ok([NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, FUSE_SUPER_MAGIC].contains(&fs) || OTHERS.contains(&fs.0))
}

/// Refuses a VMM that cannot run on such a machine: here, none.
pub(crate) fn check_runs(_vmm: &str) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_read_in_the_words_of_its_architecture() {
        let intel = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon: 5\nflags\t\t: fpu sse2\n\nprocessor\t: 1\nflags\t: x\n";
        let arm = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        let of = |vendor: &str, model: &str, flags: &str| Host {
            cpu_vendor: vendor.to_owned(),
            cpu_model: model.to_owned(),
            cpu_flags: flags.to_owned(),
            ..Host::default()
        };
        assert_eq!(cpu(intel), of("GenuineIntel", "Xeon: 5", "fpu sse2"));
        assert_eq!(cpu(arm), of("0x41", "0xd0c", "fp asimd"));
        assert_eq!(cpu(""), Host::default());
        assert!(!host().kernel.is_empty() && !host().cpu_flags.is_empty());
    }
}
