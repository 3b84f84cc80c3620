//! A capture: the VM is migrated to us, and kept.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::capture::MEMORY_FORMAT;
use super::super::image::{CONFIG, GuestMemory, MEMORY, STATE};
use super::super::prepare::NOWHERE;
use super::super::{CloudHypervisor, NAME};
use super::SINCE;
use super::door::Door;
use super::parts::parts;
use super::wire::{Command, Wire};
use crate::call::Limit;
use crate::copy::{Part, copy_parts};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{CaptureTarget, Captured, patience};
use crate::sys::host::available_memory_bytes;
use crate::sys::{disk, memfd};

/// Between two looks whether the migration has begun, or ended.
const LOOK: Duration = Duration::from_millis(1);

/// How long a migration that was begun may take until it connects, before it is asked after.
const CONNECTS_WITHIN: Duration = Duration::from_millis(100);

/// More than a VM has, each with a descriptor of ours.
const MOST_SLOTS: usize = 256;

/// A migration to us.
#[derive(Debug)]
pub(in super::super) struct Handover {
    wire: Wire,
    /// The memory of the guest, which writes to it as long as it runs.
    slots: HashMap<u32, File>,
    config: Value,
    /// `None` until the guest is paused.
    state: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct MigrationConfig {
    vm_config: Value,
}

impl CloudHypervisor {
    /// Begins to migrate the VM to us, which runs until [`CloudHypervisor::freeze`], where that can be done and this host has
    /// the room for a copy of its memory. Else nothing is begun: a capture into files can always be made.
    pub(in super::super) fn begin_handover(
        &mut self,
        target: &CaptureTarget<'_>,
        limit: &Limit,
    ) -> Result<()> {
        let Some(plan) = self.plan.as_ref().filter(|plan| plan.can_be_handed_over) else { return Ok(()) };
        let has_room = available_memory_bytes().is_none_or(|available| plan.memory_bytes < available);
        let is_safe = self.api.major() >= SINCE && (self.outlives)(self.api.peer());
        if !has_room || !is_safe || !self.keeps_sources(limit)? {
            return Ok(());
        }
        let door = Door::new(target.directory, target.directory_fd)?;
        let listener = door.listen()?;
        let request = json!({ "destination_url": door.url(), "local": true, "preserve_source": true });
        // From here on until we know better: its answer may be lost.
        self.is_migrating = true;
        self.api.act("vm.send-migration", Some(&request), limit)?;
        let asked = Instant::now();
        let stream = loop {
            limit.check()?;
            match door.accept(&listener, self.api.peer())? {
                Some(stream) => break stream,
                None if asked.elapsed() > CONNECTS_WITHIN && !self.still_migrates(limit)? => {
                    let message = format!("{NAME} could not connect to {}; its log says why", door.url());
                    return Err(self.api.error(Kind::Hypervisor, message));
                }
                None => thread::sleep(LOOK),
            }
        };
        drop(door);
        let wire = Wire::new(stream, self.api.path().to_owned(), patience(plan_bytes(self)));
        self.handover = Some(Handover::meet(wire, limit)?);
        Ok(())
    }

    /// Whether this one knows that a source can be kept: only then does it look at the type of that field. Nothing
    /// could be migrated to such an address.
    fn keeps_sources(&self, limit: &Limit) -> Result<bool> {
        let nonsense =
            json!({ "destination_url": "nowhere", "local": true, "preserve_source": "if you can" });
        let words = self.api.provoke("vm.send-migration", &nonsense, limit)?;
        Ok(words.is_some_and(|words| words.contains("if you can")))
    }

    /// Pauses the guest of a handover.
    pub(in super::super) fn freeze(&mut self, limit: &Limit) -> Result<()> {
        let Some(handover) = self.handover.as_mut().filter(|handover| handover.state.is_none()) else {
            return Ok(());
        };
        handover.wire.confirm(limit)?;
        handover.state = Some(handover.expect(Command::State, limit)?);
        Ok(())
    }

    /// Takes a copy of the memory of the paused guest, and ends the migration: the guest is cloud-hypervisor's again, and
    /// paused.
    pub(in super::super) fn receive(
        &mut self,
        mut handover: Handover,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Captured> {
        let state = match handover.state.take() {
            Some(state) => state,
            // It was paused before, and is not paused again.
            None => {
                handover.wire.confirm(limit)?;
                handover.expect(Command::State, limit)?
            }
        };
        for (name, text) in [(CONFIG, handover.config.to_string().as_bytes()), (STATE, &state)] {
            disk::create_for_writing(target.directory_fd, name)
                .and_then(|mut file| file.write_all(text))
                .map_err(|e| Error::io("write", target.directory.join(name), &e))?;
        }
        self.kept = Some(handover.copy(&state, limit, progress)?);
        handover.wire.confirm(limit)?;
        handover.end(limit)?;
        self.wait_for_end(limit)?;
        Ok(Captured { memory_file: Some(MEMORY), memory_format: MEMORY_FORMAT })
    }

    /// Waits until a migration has ended, which does so soon when its peer has gone.
    pub(in super::super) fn wait_for_end(&mut self, limit: &Limit) -> Result<()> {
        let until = Instant::now() + patience(plan_bytes(self));
        while self.is_migrating {
            limit.check()?;
            self.is_migrating = self.still_migrates(limit)?;
            if !self.is_migrating {
                break;
            }
            if Instant::now() > until {
                let message = format!("{NAME} does not end a migration whose destination has gone");
                return Err(self.api.error(Kind::Timeout, message));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Asked with a snapshot that is refused in any case: `vm.info` tells what was before the migration.
    fn still_migrates(&self, limit: &Limit) -> Result<bool> {
        let words = self.api.provoke("vm.snapshot", &json!({ "destination_url": NOWHERE }), limit)?;
        Ok(words.is_some_and(|words| words.contains("migrating")))
    }
}

fn plan_bytes(vm: &CloudHypervisor) -> u64 {
    vm.plan.as_ref().map_or(0, |plan| plan.memory_bytes)
}

impl Handover {
    /// Takes what comes while the guest runs. The configuration is not confirmed yet.
    fn meet(wire: Wire, limit: &Limit) -> Result<Self> {
        if wire.request(limit)?.0 != Command::Start {
            return Err(wire.fault("did not begin its migration with a start"));
        }
        let mut slots = HashMap::new();
        loop {
            wire.confirm(limit)?;
            match wire.request(limit)? {
                (Command::MemoryFd, 4) if slots.len() < MOST_SLOTS => slots.extend([wire.memory(limit)?]),
                (Command::Config, bytes) => {
                    let text = wire.payload(bytes, limit)?;
                    let config: MigrationConfig = serde_json::from_slice(&text)
                        .map_err(|e| wire.fault(&format!("sent a configuration of another kind: {e}")))?;
                    return Ok(Self { wire, slots, config: config.vm_config, state: None });
                }
                (other, bytes) => return Err(wire.fault(&format!("sent {other:?} of {bytes} bytes"))),
            }
        }
    }

    /// The payload of the next request, which must be `command`.
    fn expect(&self, command: Command, limit: &Limit) -> Result<Vec<u8>> {
        match self.wire.request(limit)? {
            (found, bytes) if found == command => self.wire.payload(bytes, limit),
            (found, _) => Err(self.wire.fault(&format!("sent {found:?} in place of {command:?}"))),
        }
    }

    /// Guest memory as the memory file would have it.
    fn copy(
        &self,
        state: &[u8],
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<File> {
        let memory = GuestMemory::parse(state)
            .map_err(|e| self.wire.fault(&format!("sent a state of another kind: {e}")))?;
        let failed = |e: std::io::Error| Error::os("make room for", "guest memory", &e);
        let kept = memfd::create().map_err(failed)?;
        kept.set_len(memory.bytes()).map_err(failed)?;
        let parts = parts(&memory).and_then(|parts| {
            let part = |part: &super::parts::Part| {
                let from = self.slots.get(&part.slot)?;
                // What is beyond its end would be read as zeros.
                from.metadata().ok().filter(|file| part.slot_at + part.bytes <= file.len())?;
                let (from_at, to_at, bytes) = (part.slot_at, part.image_at, part.bytes);
                Some(Part { from, from_at, to: &kept, to_at, bytes })
            };
            parts.iter().map(part).collect::<Option<Vec<_>>>()
        });
        let parts = parts.ok_or_else(|| self.wire.fault("did not hand over all of the guest's memory"))?;
        let bytes = memory.bytes();
        copy_parts(&parts, "guest memory", limit, &mut |done| progress(done, bytes))?;
        progress(bytes, bytes)?;
        Ok(kept)
    }

    fn end(self, limit: &Limit) -> Result<()> {
        match self.wire.request(limit)? {
            (Command::Complete | Command::CompletePaused, 0) => self.wire.confirm(limit),
            (found, _) => Err(self.wire.fault(&format!("sent {found:?} in place of the end"))),
        }
    }
}
