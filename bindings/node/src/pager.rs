//! A pager that serves memory: asked on the threads of the handle that started it.

use std::sync::Arc;

use hypeman_core::{Hypeman, Result};
use napi::Env;
use napi::bindgen_prelude::ToNapiValue;
use napi_derive::napi;

use crate::handle::{CancelToken, Listener, limited};
use crate::promise::{Promised, promise};
use crate::results::Js;
use crate::threads::{Start, Threads};

/// Serves the memory of a snapshot.
#[napi]
pub struct Pager {
    pager: Arc<hypeman_core::Pager>,
    /// Keeps the data directory open: VMs must not lose their memory because JavaScript's garbage collector took the
    /// `Hypeman` away.
    _hm: Hypeman,
    threads: Threads,
}

impl Pager {
    pub fn new(pager: hypeman_core::Pager, hm: Hypeman, threads: Threads) -> Self {
        Self { pager: Arc::new(pager), _hm: hm, threads }
    }

    fn ask<'e, T: ToNapiValue + Send + 'static>(
        &self,
        env: &'e Env,
        start: Start,
        ask: impl FnOnce(&hypeman_core::Pager) -> Result<T> + Send + 'static,
    ) -> Promised<'e> {
        let pager = Arc::clone(&self.pager);
        promise(env, &self.threads, start, move || ask(&pager))
    }
}

#[napi]
impl Pager {
    #[napi(getter)]
    pub fn snapshot_id(&self) -> &str {
        self.pager.snapshot_id()
    }

    #[napi(getter)]
    pub fn socket(&self) -> String {
        self.pager.socket().to_string_lossy().into_owned()
    }

    #[napi]
    pub fn metrics<'e>(&self, env: &'e Env) -> Promised<'e> {
        self.ask(env, Threads::brief, |pager| pager.metrics().map(Js))
    }

    #[napi]
    pub fn wait<'e>(
        &self,
        env: &'e Env,
        token: &CancelToken,
        timeout_ms: Option<f64>,
        listener: Listener,
    ) -> Promised<'e> {
        let call = limited(token, timeout_ms, listener);
        self.ask(env, Threads::long, move |pager| pager.wait(call))
    }

    #[napi]
    pub fn stop<'e>(&self, env: &'e Env) -> Promised<'e> {
        // Not a brief call: it waits for the threads of the pager.
        self.ask(env, Threads::long, hypeman_core::Pager::stop)
    }
}
