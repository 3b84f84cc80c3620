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
}

impl Register {
    pub(crate) fn run(self, session: &Session) -> Done {
        let Self { name, hypervisor, id, api_socket, directory, disks, compression } = self;
        let request = RegisterInstance {
            name,
            hypervisor: HypervisorKind::from(hypervisor.as_str()),
            id,
            api_socket,
            directory,
            disks,
            compression: compression.config(),
        };
        let registered = session.open()?.instances().register(&request)?;
        if session.as_json { output::json(&registered) } else { output::line(&registered.id) }
    }
}
