//! A load: a VM comes as from a migration, with memory that we have filled, or that a page server fills as it is asked.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
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
use crate::sys::{memfd, socket};
use crate::types::{AskedMemory, AskedRegion};

/// What a connection for page faults begins with.
const FAULTS: [u8; 2] = [2, 0];

impl CloudHypervisor {
    /// Whether the snapshot in `directory` can be loaded with memory that we hand over: else its file is needed. Who
    /// makes the socket must be able to do so in a directory of ours.
    pub(in super::super) fn takes_memory_of(&self, directory: &Path) -> Result<bool> {
        let uid = self.api.peer().uid;
        if self.api.major() < SINCE || (uid != 0 && uid != nix::unistd::geteuid().as_raw()) {
            return Ok(false);
        }
        let (config, memory) = described(directory)?;
        let is_usual = !memory.mappings.is_empty() && offsets(&memory).is_some();
        Ok(config.memory.can_be_handed_over() && is_usual)
    }

    /// Refuses what cannot be loaded with memory from a page server.
    pub(in super::super) fn check_pages_of(&self, directory: &Path, limit: &Limit) -> Result<()> {
        let refuse = |why: &str| {
            let message = format!(
                "{why}; restore without uffd_socket, with on_demand where {NAME} is to read the file"
            );
            Err(Error::new(Kind::NotSupported, message).at(self.api.path()))
        };
        if !self.takes_memory_of(directory)? {
            return refuse(&format!(
                "only {NAME} {SINCE} and later takes guest memory from a pager, and only for VMs with `shared` memory of pages of the usual size"
            ));
        }
        let (config, _) = described(directory)?;
        if config.shares_memory() {
            return refuse(
                "devices of this VM that other processes have would read memory that is not there yet",
            );
        }
        if config.memory.prefault {
            return refuse("this VM is configured to have all of its memory at once (`prefault`)");
        }
        // One that does not know the word would let the guest run on zeros. Nothing can be received at such an address.
        let nonsense = json!({ "receiver_url": "nowhere", "memory_mode": "if you can" });
        let words = self.api.provoke("vm.receive-migration", &nonsense, limit)?;
        if words.is_some_and(|words| words.contains("if you can")) {
            return Ok(());
        }
        refuse(&format!("this {NAME} knows no post-copy migration"))
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
        let bytes = memory.metadata().map_err(|e| Error::os("look at", "guest memory", &e))?.len();
        self.send_with(source, config, (memory, bytes), None, limit)
    }

    /// The same with memory that is still empty: the server at `pager` is told, and fills it page by page.
    pub(in super::super) fn send_served(
        &self,
        source: &LoadSource<'_>,
        config: &Value,
        pager: &Path,
        limit: &Limit,
    ) -> Result<()> {
        let failed = |e: std::io::Error| Error::os("make room for", "guest memory", &e);
        let found = pager.metadata().map_err(|e| Error::io("look at", pager, &e))?;
        if !found.file_type().is_socket() {
            let message = format!("{} is no socket; name the one of a pager", pager.display());
            return Err(Error::new(Kind::InvalidRequest, message).at(pager));
        }
        let (path, state) = read(source.directory, source.directory_fd, STATE)?;
        let layout = GuestMemory::parse(&state).map_err(|e| unreadable(&path, &e))?;
        let memory = memfd::create().map_err(failed)?;
        memory.set_len(layout.bytes()).map_err(failed)?;
        let places = offsets(&layout).unwrap_or_default();
        let regions = layout.mappings.iter().zip(places);
        let asked = AskedMemory {
            asks_for: regions
                .map(|(mapping, offset)| AskedRegion { gpa: mapping.gpa, bytes: mapping.size, offset })
                .collect(),
        };
        self.send_with(source, config, (&memory, layout.bytes()), Some((pager, &asked)), limit)
    }

    fn send_with(
        &self,
        source: &LoadSource<'_>,
        config: &Value,
        (memory, bytes): (&File, u64),
        served: Option<(&Path, &AskedMemory)>,
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
        let mut request = json!({ "receiver_url": door.url() });
        if served.is_some() {
            request["memory_mode"] = "Postcopy".into();
        }
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
            if let Some((pager, asked)) = served {
                // Before the state, which cloud-hypervisor reads only when it can ask.
                let questions = door.connect()?.ok_or_else(|| wire.fault("takes no second connection"))?;
                questions_for(&questions, limit)?;
                hand_over(pager, asked, [questions.as_fd(), memory.as_fd()], limit)?;
            }
            wire.ask(Command::State, &state, None, limit)?;
            wire.ask(Command::CompletePaused, &[], None, limit)
        })
    }
}

/// The configuration and the memory of the snapshot in `directory`.
fn described(directory: &Path) -> Result<(Config, GuestMemory)> {
    let opened = File::open(directory).map_err(|e| Error::io("open", directory, &e))?;
    let (path, config) = read(directory, &opened, super::super::image::CONFIG)?;
    let config = serde_json::from_slice(&config).map_err(|e| unreadable(&path, &e))?;
    let (path, state) = read(directory, &opened, STATE)?;
    let memory = GuestMemory::parse(&state).map_err(|e| unreadable(&path, &e))?;
    Ok((config, memory))
}

/// Says what a further connection of a migration is for: questions for pages.
fn questions_for(stream: &UnixStream, limit: &Limit) -> Result<()> {
    send_all(stream, &FAULTS, &[], limit).map_err(|e| Error::os("connect to", NAME, &e))
}

/// Tells the server at `pager` what a VM will ask it, and over which connection.
fn hand_over(pager: &Path, asked: &AskedMemory, files: [BorrowedFd<'_>; 2], limit: &Limit) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("hand a VM to the pager at", pager, &e);
    let text = serde_json::to_vec(asked).map_err(|e| failed(e.into()))?;
    let stream = socket::connect(pager).map_err(failed)?;
    send_all(&stream, &text, &files, limit).map_err(failed)
}

fn send_all(
    stream: &UnixStream,
    mut left: &[u8],
    mut files: &[BorrowedFd<'_>],
    limit: &Limit,
) -> std::io::Result<()> {
    while !left.is_empty() {
        match socket::send(stream, left, files) {
            Ok(sent) => {
                left = left.get(sent..).unwrap_or_default();
                files = &[];
            }
            Err(e) if socket::is_tick(&e) && limit.check().is_ok() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
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
