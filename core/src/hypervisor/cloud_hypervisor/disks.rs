//! Which disks the guest writes to, by the configuration of the VM.

use super::CloudHypervisor;
use super::message::Disk;
use crate::call::Limit;
use crate::error::Result;
use crate::hypervisor::{Peer, WrittenDisk, reach};

impl CloudHypervisor {
    /// None where there is no VM yet.
    pub(super) fn disks_written(&self, limit: &Limit) -> Result<Vec<WrittenDisk>> {
        let disks = self.api.info(limit)?.and_then(|info| info.config.disks).unwrap_or_default();
        Ok(disks
            .into_iter()
            .filter(|disk| !disk.readonly)
            .map(|disk| written(disk, self.api.peer()))
            .collect())
    }
}

fn written(disk: Disk, peer: &Peer) -> WrittenDisk {
    let named = disk.path.as_ref().or(disk.vhost_socket.as_ref());
    let name = named.map(|path| path.display().to_string()).unwrap_or_default();
    WrittenDisk { name, path: disk.path.map(|path| reach::seen_by(peer, &path)) }
}
