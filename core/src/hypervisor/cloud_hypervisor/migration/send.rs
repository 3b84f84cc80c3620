//! A load: a VM comes as from a migration, with memory that we have filled.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};

use super::super::image::{GuestMemory, STATE, read, unreadable};
use super::super::message::Config;
use super::super::{CloudHypervisor, NAME};
use super::SINCE;
use super::door::Door;
use super::parts::offsets;
use super::wire::{Command, Wire};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{LoadSource, patience};

impl CloudHypervisor {
    /// Whether the snapshot in `directory` can be loaded with memory that we hand over: else its file is needed. Who
    /// makes the socket must be able to do so in a directory of ours.
    pub(in super::super) fn takes_memory_of(&self, directory: &Path) -> Result<bool> {
        let uid = self.api.peer().uid;
        if self.api.major() < SINCE || (uid != 0 && uid != nix::unistd::geteuid().as_raw()) {
            return Ok(false);
        }
        let opened = File::open(directory).map_err(|e| Error::io("open", directory, &e))?;
        let (path, config) = read(directory, &opened, super::super::image::CONFIG)?;
        let config: Config = serde_json::from_slice(&config).map_err(|e| unreadable(&path, &e))?;
        let (path, state) = read(directory, &opened, STATE)?;
        let memory = GuestMemory::parse(&state).map_err(|e| unreadable(&path, &e))?;
        let is_usual = !memory.mappings.is_empty() && offsets(&memory).is_some();
        Ok(config.memory.can_be_handed_over() && is_usual)
    }

    /// Has cloud-hypervisor load `config` and the state in `source` with `memory`, which is as the memory file would be.
    /// The guest is paused after it.
    pub(in super::super) fn send(
        &self,
        source: &LoadSource<'_>,
        config: &Value,
        memory: &File,
        limit: &Limit,
    ) -> Result<()> {
        let (path, state) = read(source.directory, source.directory_fd, STATE)?;
        let Parcel { config, slots } = Parcel::pack(config, &state).ok_or_else(|| {
            let message = format!(
                "{} does not say all that a {NAME} needs that is given memory; restore without offload_memory",
                path.display()
            );
            Error::new(Kind::Incompatible, message).at(&path)
        })?;
        let door = Door::new(source.directory, source.directory_fd)?;
        let request = json!({ "receiver_url": door.url() });
        let bytes = memory.metadata().map_err(|e| Error::os("look at", "guest memory", &e))?.len();
        let mut is_sent = false;
        self.api.act_meanwhile("vm.receive-migration", Some(&request), limit, &mut || {
            if is_sent {
                return Ok(());
            }
            let Some(stream) = door.connect()? else { return Ok(()) };
            is_sent = true;
            let wire = Wire::new(stream, self.api.path().to_owned(), patience(bytes));
            wire.ask(Command::Start, &[], None, limit)?;
            for slot in &slots {
                wire.ask(Command::MemoryFd, &slot.to_le_bytes(), Some(memory), limit)?;
            }
            wire.ask(Command::Config, &config, None, limit)?;
            wire.ask(Command::State, &state, None, limit)?;
            wire.ask(Command::CompletePaused, &[], None, limit)
        })
    }
}

/// What a migration sends beside memory and state.
struct Parcel {
    config: Vec<u8>,
    slots: Vec<u32>,
}

impl Parcel {
    /// All is in the two files of a snapshot. Every slot is mapped from one file, in which each has a place of its own.
    fn pack(config: &Value, state: &[u8]) -> Option<Self> {
        let places = offsets(&GuestMemory::parse(state).ok()?)?;
        let state: Value = serde_json::from_slice(state).ok()?;
        let inner = |snapshot: &Value| -> Option<Value> {
            serde_json::from_str(snapshot.get("snapshot_data")?.get("state")?.as_str()?).ok()
        };
        let mut memory = inner(state.get("snapshots")?.get("memory-manager")?)?;
        let mappings = memory.get_mut("guest_ram_mappings")?.as_array_mut()?;
        let mut slots = Vec::new();
        for (mapping, place) in mappings.iter_mut().zip(places) {
            slots.push(mapping.get("slot")?.as_u64()?.try_into().ok()?);
            *mapping.get_mut("file_offset")? = place.into();
        }
        let mut parcel = json!({ "vm_config": config, "memory_manager_data": memory });
        // Of x86 only.
        if let Some(cpuid) = inner(&state)?.get("common_cpuid") {
            parcel.as_object_mut()?.insert("common_cpuid".to_owned(), cpuid.clone());
        }
        Some(Self { config: parcel.to_string().into_bytes(), slots })
    }
}
