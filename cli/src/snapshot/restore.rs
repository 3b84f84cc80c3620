//! `libhypeman snapshot restore`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use hypeman_core::{InstanceState, RestoreSnapshot};

use crate::failure::Done;
use crate::given::{Limits, absolute, pair};
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Restore {
    /// Id, name or unique id prefix of the instance
    instance: String,
    /// Id of a snapshot of it
    snapshot: String,
    /// Running, Standby or Stopped [default: Running where an API socket is given, else Standby; Stopped for a Stopped snapshot]
    #[arg(long, value_name = "STATE")]
    target_state: Option<String>,
    /// API socket of a VMM that was started for this and has no VM yet [default: the instance's own]
    #[arg(long, value_name = "SOCKET", value_parser = absolute)]
    api_socket: Option<PathBuf>,
    /// Give a network interface of the guest another device of the host (firecracker); may be repeated
    #[arg(long = "network-override", value_name = "INTERFACE=DEVICE", value_parser = pair)]
    network_overrides: Vec<(String, String)>,
    /// Let the VMM read memory while the guest runs already (cloud-hypervisor 52 and later)
    #[arg(long)]
    on_demand: bool,
    /// Let the VMM get memory from the userfaultfd server at this socket (firecracker)
    #[arg(long, value_name = "SOCKET", value_parser = absolute)]
    uffd_socket: Option<PathBuf>,
    /// Load although the VMM's version or the host differs from what was recorded
    #[arg(long)]
    allow_incompatible: bool,
    #[command(flatten)]
    limits: Limits,
}

impl Restore {
    pub(crate) fn run(self, session: &Session) -> Done {
        let Self { instance, snapshot, limits, .. } = self;
        let request = RestoreSnapshot {
            target_state: self.target_state.as_deref().map(InstanceState::parse).transpose()?,
            api_socket: self.api_socket,
            network_overrides: BTreeMap::from_iter(self.network_overrides),
            on_demand: self.on_demand,
            uffd_socket: self.uffd_socket,
            allow_incompatible: self.allow_incompatible,
        };
        let hm = session.open()?;
        let restored = session.watch(Some(limits), |call| {
            hm.instances().snapshots().restore(&snapshot, &instance, &request, call)
        })?;
        if session.as_json {
            return output::json(&restored);
        }
        output::line(&format!("{} {}", restored.id, restored.state))
    }
}
