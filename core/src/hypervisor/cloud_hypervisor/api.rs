//! Requests to `/api/v1/`, and what their answers mean.

use std::path::Path;

use serde_json::Value;

use super::NAME;
use super::message::{Info, Ping, words};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::http::{Answer, Client};
use crate::hypervisor::{Peer, patience};

/// The API of one cloud-hypervisor.
#[derive(Debug)]
pub(super) struct Api {
    http: Client,
    version: String,
    /// The release that it is, or comes before.
    major: u32,
}

impl Api {
    pub(super) fn connect(path: &Path, limit: &Limit) -> Result<Self> {
        let http = Client::connect(NAME, path, patience(0), limit)?;
        let target = target("vmm.ping");
        let answer = http.request("GET", &target, None, limit)?;
        if !answer.is_success() {
            let what = format!("is no {NAME}: it answered {target} with {}", words(&answer.body));
            return Err(http.fault(&what).note("register the socket of --api-socket"));
        }
        let ping: Ping = http.parse(&target, &answer)?;
        let major = major_of(&ping.version);
        let version = if ping.build_version.is_empty() { ping.version } else { ping.build_version };
        Ok(Self { http, version, major })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn major(&self) -> u32 {
        self.major
    }

    pub(super) fn peer(&self) -> &Peer {
        self.http.peer()
    }

    pub(super) fn path(&self) -> &Path {
        self.http.path()
    }

    /// An error that names the socket.
    pub(super) fn error(&self, kind: Kind, message: String) -> Error {
        self.http.error(kind, message)
    }

    /// From now on, cloud-hypervisor may take as long for a request as is fair with `bytes` of guest memory.
    pub(super) fn expect_memory(&mut self, bytes: u64) {
        self.http.patience = patience(bytes);
    }

    #[cfg(test)]
    pub(super) fn expect_to_wait(&mut self, patience: std::time::Duration) {
        self.http.patience = patience;
    }

    /// The VM, or `None` where there is none.
    pub(super) fn info(&self, limit: &Limit) -> Result<Option<Info>> {
        let target = target("vm.info");
        let answer = self.http.request("GET", &target, None, limit)?;
        if answer.is_success() {
            return self.http.parse(&target, &answer).map(Some);
        }
        // 404 since v53, 500 before.
        let words = words(&answer.body);
        if matches!(answer.status, 404 | 500) && words.contains("VM is not created") {
            return Ok(None);
        }
        Err(self.refused("vm.info", &words))
    }

    /// Has `action` done. Its errors have cloud-hypervisor's words.
    pub(super) fn act(&self, action: &str, body: Option<&Value>, limit: &Limit) -> Result<()> {
        self.act_meanwhile(action, body, limit, &mut || Ok(()))
    }

    /// As [`Api::act`], calling `meanwhile` as long as it is not done.
    pub(super) fn act_meanwhile(
        &self,
        action: &str,
        body: Option<&Value>,
        limit: &Limit,
        meanwhile: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let answer = self.http.request_meanwhile("PUT", &target(action), body, limit, meanwhile)?;
        if answer.is_success() { Ok(()) } else { Err(self.refused(action, &words(&answer.body))) }
    }

    /// Asks for `action`, of which only a refusal is expected, and returns the words of it; `None` if it was done.
    pub(super) fn provoke(&self, action: &str, body: &Value, limit: &Limit) -> Result<Option<String>> {
        let answer: Answer = self.http.request("PUT", &target(action), Some(body), limit)?;
        Ok(if answer.is_success() { None } else { Some(words(&answer.body)) })
    }

    /// Waits until every request before this one has ended.
    pub(super) fn wait_for_turn(&self) -> Result<()> {
        self.http.request("GET", &target("vmm.ping"), None, &Limit::default()).map(drop)
    }

    fn refused(&self, action: &str, words: &str) -> Error {
        self.error(Kind::Hypervisor, format!("{NAME} refused {action}: {words}"))
    }
}

fn target(action: &str) -> String {
    format!("/api/v1/{action}")
}

/// 53 of `53.0.0` and `v53.0`; 0 where there is no such number.
fn major_of(version: &str) -> u32 {
    let digits = version.trim_start_matches('v').split('.').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_known_by_its_first_number() {
        let known = ["54.0.0", "v51.1", "48.0", "none", ""].map(major_of);
        assert_eq!(known, [54, 51, 48, 0, 0]);
    }
}
