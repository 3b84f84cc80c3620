//! `libhypeman instance register`

use std::path::PathBuf;

use clap::Args;
use hypeman_core::{Disk, HypervisorKind, RegisterInstance};

use crate::failure::Done;
use crate::given::{Compression, absolute, disk};
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Register {
    /// A name, unique among instances
    name: String,
    /// cloud-hypervisor, firecracker, qemu, qemu-microvm or vz
    hypervisor: String,
    /// An id to keep [default: one is made]
    #[arg(long)]
    id: Option<String>,
    /// The VMM's API socket (QEMU: a -qmp socket that no one else uses)
    #[arg(long, value_name = "SOCKET", value_parser = absolute)]
    api_socket: Option<PathBuf>,
    /// The instance directory, all of which is captured
    #[arg(long, value_parser = absolute)]
    directory: Option<PathBuf>,
    /// A disk of the VM, with :ro behind it where the guest can only read it; may be repeated [default: every file of
    /// the directory]
    #[arg(long = "disk", value_name = "PATH[:ro]", value_parser = disk)]
    disks: Vec<Disk>,
    #[command(flatten)]
    compression: Compression,
    /// A directory that a VMM in a jail, or of another user, reaches as we do: files pass through it
    #[arg(long, value_name = "DIRECTORY", value_parser = absolute)]
    staging_directory: Option<PathBuf>,
    /// That directory as the VMM sees it
    #[arg(long, value_name = "DIRECTORY")]
    staging_directory_in_vmm: Option<PathBuf>,
    /// Promise that no one else takes snapshots of this VM, so that only what changed need be written (firecracker)
    #[arg(long)]
    exclusive_snapshots: bool,
}

impl Register {
    pub(crate) fn run(self, session: &Session) -> Done {
        let Self {
            name,
            hypervisor,
            id,
            api_socket,
            directory,
            disks,
            compression,
            staging_directory,
            staging_directory_in_vmm,
            exclusive_snapshots,
        } = self;
        let request = RegisterInstance {
            name,
            hypervisor: HypervisorKind::from(hypervisor.as_str()),
            id,
            api_socket,
            directory,
            disks,
            compression: compression.config(),
            staging_directory,
            staging_directory_in_vmm,
            exclusive_snapshots,
        };
        let registered = session.open()?.instances().register(&request)?;
        if session.as_json { output::json(&registered) } else { output::line(&registered.id) }
    }
}
