//! Facts of the machine we are on.

use std::mem::MaybeUninit;
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;

use super::sysctl;
use crate::error::{Error, Kind, Result};
use crate::types::Host;

/// The machine, as far as a later restore wants to compare it.
pub(crate) fn host() -> Host {
    let (kernel, architecture) = nix::sys::utsname::uname().map_or_else(
        |_| (String::new(), std::env::consts::ARCH.to_owned()),
        |name| (name.release().to_string_lossy().into_owned(), name.machine().to_string_lossy().into_owned()),
    );
    Host {
        kernel,
        architecture,
        // Macs with Apple's own CPUs give no vendor and no flags: those are told by their model.
        cpu_vendor: sysctl::text(c"machdep.cpu.vendor").unwrap_or_else(|| "Apple".to_owned()),
        cpu_model: sysctl::text(c"machdep.cpu.brand_string").unwrap_or_default(),
        cpu_flags: sysctl::text(c"machdep.cpu.features").unwrap_or_default(),
    }
}

/// None: no call is made of it here.
pub(crate) fn available_memory_bytes() -> Option<u64> {
    None
}

/// Tells whether `path` lies on a file system whose locks and atomicity depend on another machine.
pub(crate) fn is_network_fs(path: &Path) -> Result<bool> {
    let failed = |errno: Errno| Error::io("look at the file system of", path, &errno.into());
    let mut facts = MaybeUninit::<libc::statfs>::zeroed();
    let done = path.with_nix_path(|path| {
        // SAFETY: the path ends with a zero, and `facts` is what the call fills.
        unsafe { libc::statfs(path.as_ptr(), facts.as_mut_ptr()) }
    });
    done.and_then(Errno::result).map_err(failed)?;
    // SAFETY: the call has filled it, and any bytes are such numbers.
    let facts = unsafe { facts.assume_init() };
    Ok(facts.f_flags & libc::MNT_LOCAL as u32 == 0)
}

/// Refuses a VMM that cannot run on such a machine.
pub(crate) fn check_runs(vmm: &str) -> Result<()> {
    let why = format!(
        "{vmm} runs on Linux only, and this is macOS; its snapshots can be read and kept here, not made or loaded"
    );
    Err(Error::new(Kind::NotSupported, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let host = host();
        assert!(
            [host.kernel, host.architecture, host.cpu_vendor, host.cpu_model]
                .iter()
                .all(|fact| !fact.is_empty())
        );
        assert!(!is_network_fs(Path::new("/")).unwrap());
    }
}
