//! What the shim is asked and told, and the waits until its VM is where it was told to go.

use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::Vz;
use super::capture::SAVING_PATIENCE;
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::http::Answer;

/// How often a VM on its way is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Bytes of a refusal that are worth telling.
const REASON_BYTES: usize = 1024;

/// What the shim says of its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum State {
    Running,
    Pausing,
    Paused,
    Resuming,
    Saving,
    Shutdown,
    /// `Error`, `Starting`, `Stopping`, `Restoring`, and what other versions may say.
    #[serde(other)]
    Other,
}

/// The answer to `vm.info`.
#[derive(Debug, Deserialize)]
struct Info {
    state: State,
}

impl Vz {
    pub(super) fn ping(&self, limit: &Limit) -> Result<()> {
        self.request("GET", "vmm.ping", None, limit).map(drop)
    }

    pub(super) fn state(&self, limit: &Limit) -> Result<State> {
        let answer = self.request("GET", "vm.info", None, limit)?;
        Ok(self.client.parse::<Info>("vm.info", &answer)?.state)
    }

    pub(super) fn put(&self, action: &str, body: Option<&Value>, limit: &Limit) -> Result<()> {
        self.request("PUT", action, body, limit).map(drop)
    }

    fn request(&self, method: &str, name: &str, body: Option<&Value>, limit: &Limit) -> Result<Answer> {
        let answer = self.client.request(method, &format!("/api/v1/{name}"), body, limit)?;
        if answer.is_success() { Ok(answer) } else { Err(self.refusal(name, &answer)) }
    }

    fn refusal(&self, name: &str, answer: &Answer) -> Error {
        let reason = answer.body.get(..REASON_BYTES).unwrap_or(&answer.body);
        let reason = String::from_utf8_lossy(reason.trim_ascii());
        let kind = if reason.starts_with("save/restore not supported") {
            Kind::NotSupported
        } else {
            Kind::Hypervisor
        };
        let message = format!("the vz shim refused {name}: {reason} (status {})", answer.status);
        self.client.error(kind, message)
    }

    /// Waits until the VM is `wanted`, as long as it is in one of the states `on_the_way`.
    pub(super) fn arrive(&self, wanted: State, on_the_way: &[State], limit: &Limit) -> Result<()> {
        let state = self.wait_while(on_the_way, self.patience, limit)?;
        if state == wanted {
            return Ok(());
        }
        let message = format!("the vz shim says that its VM is {state:?}, where it should be {wanted:?}");
        Err(self.client.error(Kind::InvalidState, message))
    }

    /// Waits until the VM is on its way nowhere, and tells where it is.
    pub(super) fn rest(&self, limit: &Limit) -> Result<State> {
        self.wait_while(&[State::Pausing, State::Resuming, State::Saving], SAVING_PATIENCE, limit)
    }

    fn wait_while(&self, passing: &[State], patience: Duration, limit: &Limit) -> Result<State> {
        let until = Instant::now() + patience;
        loop {
            let state = self.state(limit)?;
            if !passing.contains(&state) {
                return Ok(state);
            }
            if Instant::now() >= until {
                let message =
                    format!("the VM is still {state:?} after {} s, says its vz shim", patience.as_secs());
                return Err(self.client.error(Kind::Timeout, message));
            }
            limit.check()?;
            thread::sleep(limit.at_most(POLL));
        }
    }

    /// Lets the guest run, and sees that it does.
    pub(super) fn let_run(&self) -> Result<()> {
        let limit = Limit::default();
        if self.rest(&limit)? == State::Running {
            return Ok(());
        }
        let told = self.put("vm.resume", None, &limit);
        let runs = self.arrive(State::Running, &[State::Paused, State::Resuming], &limit);
        // A resume whose answer was lost may have been on its way, and a second one is refused then.
        if runs.is_ok() { Ok(()) } else { told.and(runs) }
    }
}
