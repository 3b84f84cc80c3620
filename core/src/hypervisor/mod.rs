//! What a capture wants of a VMM, and the drivers that give it: a folder or file each.
//!
//! Knows nothing of the store. A conversation ([`Vmm`]) is one connection, without a thread or a runtime of its own;
//! it may be handed to another thread, which settles and resumes the VM after a cancelled call.

mod cloud_hypervisor;
mod firecracker;
mod full_disk;
mod http;
mod peer;
mod qemu;
mod reach;
#[cfg(test)]
mod testing;
mod vz;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::sys::dir::Dir;
use crate::types::HypervisorKind;

pub(crate) use self::peer::Peer;

/// What a VMM says its VM does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// There is a VMM, but no VM that was ever started, or one that waits for an incoming image.
    NotStarted,
    Running,
    /// `after_capture` when the VMM still stands where its last complete image was taken (QEMU: `postmigrate`).
    Paused {
        after_capture: bool,
    },
    Shutdown,
    /// The VMM's own word for anything else.
    Other,
}

/// Where and how a capture is written.
pub(crate) struct CaptureTarget<'a> {
    /// An existing directory for the VMM's files, empty but for `over_last`: absolute path, and held open.
    pub(crate) directory: &'a Path,
    pub(crate) directory_fd: &'a File,
    /// Its path as the VMM sees it.
    pub(crate) seen_as: &'a Path,
    /// The memory file is there already, as the last image of this very process had it: what has changed since is
    /// written over it ([`Vmm::writes_over_last`]).
    pub(crate) over_last: bool,
    /// Only forms that the vendor's server can load (QEMU: the plain stream).
    pub(crate) vendor_forms_only: bool,
}

/// What a capture wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    /// File name of guest memory within the directory; `None` where the VMM has no such file (vz).
    pub(crate) memory_file: Option<&'static str>,
    /// What that file is: `qemu-stream`; `qemu-mapped-ram`; `cloud-hypervisor-ranges`, which is the ranges of guest memory
    /// one after the other, as `state.json` lists them; or `raw`, which is the regions of guest memory one after the
    /// other, in the order of their guest-physical addresses. `vz-machine-state` where Apple's own file has it all.
    pub(crate) memory_format: &'static str,
}

/// A disk that the guest may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenDisk {
    /// As the VMM names it.
    pub(crate) name: String,
    /// Where this process finds it, if it is there; `None` for what is no file of this machine.
    pub(crate) path: Option<PathBuf>,
}

/// What a VMM that was started for it loads: the files of a capture, in place.
pub(crate) struct LoadSource<'a> {
    /// The directory with the VMM's files, as the capture wrote them; memory is raw. Absolute path, and held open.
    pub(crate) directory: &'a Path,
    pub(crate) directory_fd: &'a File,
    /// Its path as the VMM sees it.
    pub(crate) seen_as: &'a Path,
    /// What the memory file is, as [`Captured::memory_format`] said; `None` for snapshots that we did not make.
    pub(crate) memory_format: Option<&'a str>,
    /// Bytes of the memory file when it was captured, where that is known.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) memory: MemoryBackend<'a>,
    /// From now on, the VMM is to keep a log of what the guest changes, where it can.
    pub(crate) tracks_changes: bool,
    /// Paths in the VMM's own configuration that lie elsewhere now, by exact path or path prefix: (from, to).
    pub(crate) moved: &'a [(PathBuf, PathBuf)],
    /// Network interfaces that get another device of the host: (id in the guest's configuration, device).
    pub(crate) network_overrides: &'a [(String, String)],
}

/// How the VMM gets at guest memory when it loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryBackend<'a> {
    /// All of it before the load ends (firecracker: a private mapping of the file).
    File,
    /// Page by page by the VMM itself, where its version can; the file must stay as it is.
    OnDemand,
    /// Page by page from the userfaultfd server that listens at this socket (firecracker).
    Uffd(&'a Path),
}

/// A conversation with one VMM.
///
/// Every call ends within `limit`, or within a limit of its own that grows with guest memory, with a typed error
/// that has the VMM's words. Ending early stops nothing in the VMM: [`Vmm::settle`] does.
pub(crate) trait Vmm: Send {
    /// The version that the VMM gives of itself; empty where it gives none (vz).
    fn version(&self) -> &str;

    /// The process at the other end of the socket.
    fn peer(&self) -> &Peer;

    fn run_state(&mut self, limit: &Limit) -> Result<RunState>;

    /// Refuses, with the VMM's reason, a VM that cannot be captured; sets up all that can be set up while it runs.
    fn prepare(&mut self, limit: &Limit) -> Result<()>;

    /// Refuses a directory that the VMM, as far as can be told, cannot write to. Asked after [`Vmm::prepare`]; a VMM that
    /// is given descriptors reaches every directory.
    fn check_reach(&self, _target: &CaptureTarget<'_>) -> Result<()> {
        Ok(())
    }

    /// Whether it opens files by their paths, which another user or a jail may not reach.
    fn opens_paths(&self) -> bool {
        true
    }

    /// The memory file, by name and size, over a copy of which it can write only what changed since its last image;
    /// `None` where it writes whole images only. Asked after [`Vmm::prepare`].
    fn writes_over_last(&self) -> Option<(&'static str, u64)> {
        None
    }

    /// What the VMM says of a VM that stands where its last image was taken ([`RunState::Paused`], `after_capture`), in
    /// words that would be others if it had run since; `None` where it does not stand so.
    fn standstill(&mut self, _limit: &Limit) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether a VM that is paused may have been loaded by the VMM's own start, as no other way of loading is there.
    fn loads_at_start(&self) -> bool {
        false
    }

    /// The disks that the VM has open for writing; none where the VMM does not tell.
    fn written_disks(&mut self, _limit: &Limit) -> Result<Vec<WrittenDisk>> {
        Ok(Vec::new())
    }

    /// Sets up, while the guest still runs, what [`Vmm::capture`] into `target` will use. Whatever comes after it,
    /// [`Vmm::settle`] or [`Vmm::resume`] takes it back.
    fn arm(&mut self, _target: &CaptureTarget<'_>, _limit: &Limit) -> Result<()> {
        Ok(())
    }

    /// Tells whether the VMM stands as a capture of ours left it, which died before it could take anything back:
    /// only then may an opener act on a VM that someone else uses, too. A VMM that keeps no such mark says yes.
    fn is_as_we_left_it(&mut self, _limit: &Limit) -> Result<bool> {
        Ok(true)
    }

    /// Pauses the guest. It is paused when this returns `Ok`.
    fn pause(&mut self, limit: &Limit) -> Result<()>;

    /// Writes state and memory of the paused guest. `progress` hears bytes done and bytes in all (0: unknown).
    fn capture(
        &mut self,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Captured>;

    /// Asks for guest memory itself, in [`Vmm::kept_memory`], in place of the file that the next capture would write,
    /// where this VMM and this VM can do that.
    fn keep_memory(&mut self) {}

    /// Guest memory as the capture's memory file would have it, which then is not there: a file without a name, in the
    /// memory of this host. `None` where the capture wrote the file.
    fn kept_memory(&mut self) -> Option<File> {
        None
    }

    /// Lets the guest run again.
    fn resume(&mut self) -> Result<()>;

    /// Tells whether the captured VM whose other files are in `directory` can be loaded with memory from
    /// [`Vmm::give_memory`], without a memory file.
    fn takes_memory(&self, _directory: &Path) -> Result<bool> {
        Ok(false)
    }

    /// Gives the next load guest memory as the memory file would have it: a file without a name, which the VMM will use
    /// as the guest's memory.
    fn give_memory(&mut self, _memory: File) {}

    /// Loads a captured VM into a VMM that has none ([`RunState::NotStarted`]). The guest is paused when this returns.
    ///
    /// Everything that can be refused is refused before the VMM is told to load: some end when a load fails.
    fn load(
        &mut self,
        source: &LoadSource<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()>;

    /// Ends, or waits for the end of, whatever operation an earlier conversation left running in the VMM.
    fn settle(&mut self) -> Result<()>;

    /// As [`Vmm::settle`], of a VM that is resumed next: the mark that [`Vmm::is_as_we_left_it`] looks for stays until
    /// then, or an opener after one who dies in between would leave it paused.
    fn settle_for_resume(&mut self) -> Result<()> {
        self.settle()
    }
}

/// Opens a conversation with the VMM behind `api_socket`.
///
/// # Errors
/// `invalid_state` when nothing listens (the VMM is gone), `busy` when the socket serves another client,
/// `hypervisor` when what answers is not such a VMM, `not_supported` when this build has no driver for it.
pub(crate) fn connect(hypervisor: &HypervisorKind, api_socket: &Path, limit: &Limit) -> Result<Box<dyn Vmm>> {
    match hypervisor {
        HypervisorKind::Qemu | HypervisorKind::QemuMicrovm => {
            Ok(Box::new(qemu::Qemu::connect(api_socket, limit)?))
        }
        HypervisorKind::CloudHypervisor => {
            Ok(Box::new(cloud_hypervisor::CloudHypervisor::connect(api_socket, limit)?))
        }
        HypervisorKind::Firecracker => Ok(Box::new(firecracker::Firecracker::connect(api_socket, limit)?)),
        HypervisorKind::Vz => Ok(Box::new(vz::Vz::connect(api_socket, limit)?)),
        HypervisorKind::Other(name) => Err(Error::new(
            Kind::NotSupported,
            format!("hypervisor {name:?} is newer than this version of libhypeman"),
        )),
    }
}

/// Rewrites, in the image of the instance directory `instance`, the paths that `moved` names, exactly or by their leading
/// directories: (from, to). Only cloud-hypervisor keeps them in a text; firecracker's state is sealed, QEMU has those
/// of its command line, and vz is given them when it starts.
pub(crate) fn relocate(
    hypervisor: &HypervisorKind,
    instance: &Dir,
    moved: &[(PathBuf, PathBuf)],
) -> Result<()> {
    match hypervisor {
        HypervisorKind::CloudHypervisor => cloud_hypervisor::relocate(instance, moved),
        HypervisorKind::Qemu
        | HypervisorKind::QemuMicrovm
        | HypervisorKind::Firecracker
        | HypervisorKind::Vz
        | HypervisorKind::Other(_) => Ok(()),
    }
}

/// The ranges of guest-physical addresses in cloud-hypervisor's memory file in `image`, in its order: (address, bytes).
pub(crate) fn cloud_hypervisor_ranges(image: &Dir) -> Result<Vec<(u64, u64)>> {
    cloud_hypervisor::memory_ranges(image)
}

/// The version of the form of the VMM's state in `payload`, where the file tells it (firecracker).
pub(crate) fn state_format(hypervisor: &HypervisorKind, payload: &Dir) -> Option<String> {
    match hypervisor {
        HypervisorKind::Firecracker => firecracker::state_format(payload),
        HypervisorKind::Qemu
        | HypervisorKind::QemuMicrovm
        | HypervisorKind::CloudHypervisor
        | HypervisorKind::Vz
        | HypervisorKind::Other(_) => None,
    }
}

/// File names under which a VMM may have left guest memory, raw, in the order in which the vendor looks for them.
pub(crate) const MEMORY_FILES: [&str; 4] = [
    "memory-ranges",
    "memory",
    "snapshots/snapshot-latest/memory-ranges",
    "snapshots/snapshot-latest/memory",
];

/// Where the VMM's files lie in an instance directory and in a payload.
pub(crate) const CAPTURE_DIRECTORY: &str = "snapshots/snapshot-latest";

/// How long a VMM may take for an operation on `bytes` of guest memory: a minute, and a second for each 16 MiB.
pub(crate) const fn patience(bytes: u64) -> Duration {
    Duration::from_secs(60 + bytes / (16 << 20))
}
