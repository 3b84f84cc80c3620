//! The Firecracker driver over its HTTP API: pause, `snapshot/create` into a directory that both reach, resume.
//!
//! Firecracker does one request after the other, and the whole API is silent while a snapshot is written: one that we
//! gave up on is over when the next request is answered. It takes no field that it does not know, so the optional
//! ones are sent only where they say something.

mod capture;
mod load;
mod message;
mod state_file;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::message::{Fault, Instance, Settings};
use super::http::{Answer, Client};
use super::{
    CAPTURE_DIRECTORY, CaptureTarget, Captured, LoadSource, Peer, RunState, Vmm, WrittenDisk, patience,
};
use crate::call::Limit;
use crate::error::{Kind, Result};
use crate::sys::dir::Dir;

/// The program, for people.
const NAME: &str = "firecracker";

/// The names under which the vendor looks for them.
const STATE_FILE: &str = "state";
const MEMORY_FILE: &str = "memory";

/// Guest memory as it is: its regions one after the other, in the order of their guest-physical addresses.
const MEMORY_FORMAT: &str = "raw";

/// The version of the state file in `payload`, if there is a good one.
pub(super) fn state_format(payload: &Dir) -> Option<String> {
    let file = payload.read(Path::new(CAPTURE_DIRECTORY).join(STATE_FILE)).ok()?;
    let mut state = Vec::new();
    file.take(state_file::LARGEST_BYTES).read_to_end(&mut state).ok()?;
    state_file::examine(&state).ok()?.format
}

/// A conversation with one Firecracker.
#[derive(Debug)]
pub(super) struct Firecracker {
    client: Client,
    version: String,
    /// What [`Vmm::prepare`] found.
    settings: Option<Settings>,
}

impl Firecracker {
    pub(super) fn connect(api_socket: &Path, limit: &Limit) -> Result<Self> {
        let client = Client::connect(NAME, api_socket, patience(0), limit)?;
        let mut made = Self { client, version: String::new(), settings: None };
        let instance = made.instance(limit)?;
        if instance.app_name != "Firecracker" {
            return Err(made.client.fault(&format!(
                "calls itself {:?}; register the API socket of a Firecracker",
                instance.app_name
            )));
        }
        made.version = instance.vmm_version;
        Ok(made)
    }

    /// Major and minor number of its version; zeros where it tells none.
    fn release(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn instance(&self, limit: &Limit) -> Result<Instance> {
        self.get("/", limit)
    }

    fn get<T: DeserializeOwned>(&self, target: &str, limit: &Limit) -> Result<T> {
        let answer = self.client.request("GET", target, None, limit)?;
        self.accept("GET", target, &answer)?;
        self.client.parse(target, &answer)
    }

    /// Asks for a state of the guest (`Paused`, `Resumed`) and sees that it came.
    fn change_state(&self, wanted: &str, expected: RunState, limit: &Limit) -> Result<()> {
        let answer = self.client.request("PATCH", "/vm", Some(&json!({ "state": wanted })), limit)?;
        self.accept("PATCH", "/vm", &answer)?;
        let state = self.instance(limit)?.state;
        if run_state_of(&state) == expected {
            return Ok(());
        }
        let message = format!("firecracker took {wanted:?}, but says that its VM is {state:?}");
        Err(self.client.error(Kind::InvalidState, message))
    }

    /// Fails with Firecracker's own words where `answer` is a refusal.
    fn accept(&self, method: &str, target: &str, answer: &Answer) -> Result<()> {
        if answer.is_success() {
            return Ok(());
        }
        let reason = match serde_json::from_slice::<Fault>(&answer.body) {
            Ok(fault) => fault.fault_message,
            Err(_) => format!("status {} without a reason", answer.status),
        };
        Err(self.client.error(Kind::Hypervisor, format!("firecracker refused {method} {target}: {reason}")))
    }

    fn put(&self, target: &str, body: &Value, limit: &Limit) -> Result<()> {
        let answer = self.client.request("PUT", target, Some(body), limit)?;
        self.accept("PUT", target, &answer)
    }
}

impl Vmm for Firecracker {
    fn version(&self) -> &str {
        &self.version
    }

    fn peer(&self) -> &Peer {
        self.client.peer()
    }

    fn run_state(&mut self, limit: &Limit) -> Result<RunState> {
        Ok(run_state_of(&self.instance(limit)?.state))
    }

    fn prepare(&mut self, limit: &Limit) -> Result<()> {
        self.measure(limit).map(drop)
    }

    fn check_reach(&self, target: &CaptureTarget<'_>) -> Result<()> {
        self.check_place(target)
    }

    fn writes_over_last(&self) -> Option<(&'static str, u64)> {
        self.diff_over().map(|bytes| (MEMORY_FILE, bytes))
    }

    fn written_disks(&mut self, limit: &Limit) -> Result<Vec<WrittenDisk>> {
        self.disks_written(limit)
    }

    fn pause(&mut self, limit: &Limit) -> Result<()> {
        self.change_state("Paused", RunState::Paused { after_capture: false }, limit)
    }

    fn capture(
        &mut self,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Captured> {
        self.capture_to(target, limit, progress)
    }

    fn resume(&mut self) -> Result<()> {
        self.change_state("Resumed", RunState::Running, &Limit::default()).map_err(|e| {
            e.context(format!(
                "the VM at {} may still be paused; send PATCH /vm {{\"state\":\"Resumed\"}} to that socket to let it run",
                self.client.path().display()
            ))
        })
    }

    fn load(
        &mut self,
        source: &LoadSource<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        self.load_from(source, limit, progress)
    }

    fn settle(&mut self) -> Result<()> {
        // It has no word for ending a snapshot. That it answers says that there is none under way.
        self.instance(&Limit::default()).map(drop)
    }
}

fn run_state_of(state: &str) -> RunState {
    match state {
        "Not started" => RunState::NotStarted,
        "Running" => RunState::Running,
        "Paused" => RunState::Paused { after_capture: false },
        _ => RunState::Other,
    }
}
