//! An open data directory: one method per call of core's, each a promise of an [`Outcome`].

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use hypeman_core::{Call, Cancel, Hypeman, Log, LogEvent, Progress, Result, Snapshot, panic};
use napi::bindgen_prelude::ToNapiValue;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use napi_derive::napi;

use crate::arguments::{
    CompressionArguments, CreateArguments, FilterArguments, ForkArguments, OpenArguments, RegisterArguments,
    RestoreArguments, ServeArguments,
};
use crate::memory::Memory;
use crate::outcome::Outcome;
use crate::pager::Pager;
use crate::promise::{Promised, promise};
use crate::results::{Js, all};
use crate::threads::{Start, Threads};

/// Hears progress. Weak, so that it keeps no event loop alive, and with a short queue: while JavaScript is busy,
/// reports are dropped and the call goes on.
pub type Listener = ThreadsafeFunction<Js<Progress>, (), Js<Progress>, Status, false, true, 16>;

/// Hears of events. Weak as well, but with a queue that has no end: warnings are rare, and none is dropped.
type LogListener = ThreadsafeFunction<Js<LogEvent>, (), Js<LogEvent>, Status, false, true>;

fn listened(listener: LogListener) -> Log {
    Log::to(move |event| {
        // An environment that goes away hears nothing more.
        let _ = listener.call(Js(event.clone()), ThreadsafeFunctionCallMode::NonBlocking);
    })
}

/// Ends a running call. JavaScript holds it for as long as the call runs, so that a call whose environment goes away
/// (a worker that is terminated) ends, too.
#[napi]
#[derive(Default)]
pub struct CancelToken(Cancel);

#[napi]
impl CancelToken {
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    #[napi]
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl Drop for CancelToken {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// An open data directory.
#[napi]
pub struct Handle {
    hm: Hypeman,
    threads: Threads,
}

/// Opens a data directory, blocking.
#[napi]
pub fn open(arguments: OpenArguments, log: Option<LogListener>) -> Outcome<Handle> {
    Outcome(panic::guard(|| {
        let data_dir = arguments.data_dir.as_ref().map_or_else(Hypeman::default_data_dir, Into::into);
        let hm = Hypeman::open_with(data_dir, arguments.options(log.map(listened).unwrap_or_default())?)?;
        Ok(Handle { hm, threads: Threads::default() })
    }))
}

#[napi]
impl Handle {
    #[napi(getter)]
    pub fn data_dir(&self) -> String {
        self.hm.data_dir().to_string_lossy().into_owned()
    }

    #[napi]
    pub fn register<'e>(&self, env: &'e Env, request: RegisterArguments) -> Promised<'e> {
        self.brief(env, move |hm| hm.instances().register(&request.into()).map(Js))
    }

    #[napi]
    pub fn get_instance<'e>(&self, env: &'e Env, id: String) -> Promised<'e> {
        self.brief(env, move |hm| hm.instances().get(&id).map(Js))
    }

    #[napi]
    pub fn list_instances<'e>(&self, env: &'e Env) -> Promised<'e> {
        self.brief(env, |hm| hm.instances().list().map(all))
    }

    #[napi]
    pub fn unregister<'e>(&self, env: &'e Env, id: String) -> Promised<'e> {
        self.brief(env, move |hm| hm.instances().unregister(&id))
    }

    #[napi]
    pub fn create<'e>(
        &self,
        env: &'e Env,
        id: String,
        request: CreateArguments,
        token: &CancelToken,
        timeout_ms: Option<f64>,
        listener: Listener,
    ) -> Promised<'e> {
        self.long(env, token, timeout_ms, listener, move |hm, call| {
            hm.instances().snapshots().create(&id, &request.into(), call).map(Js)
        })
    }

    // napi copies attributes: an expectation would be met in one copy only.
    #[allow(
        clippy::too_many_arguments,
        reason = "the snapshot, the instance, how it is restored, and the limits"
    )]
    #[napi]
    pub fn restore<'e>(
        &self,
        env: &'e Env,
        snapshot_id: String,
        id: String,
        arguments: RestoreArguments,
        token: &CancelToken,
        timeout_ms: Option<f64>,
        listener: Listener,
    ) -> Promised<'e> {
        self.long(env, token, timeout_ms, listener, move |hm, call| {
            let request = arguments.try_into()?;
            hm.instances().snapshots().restore(&snapshot_id, &id, &request, call).map(Js)
        })
    }

    #[allow(clippy::too_many_arguments, reason = "as a restore")]
    #[napi]
    pub fn fork<'e>(
        &self,
        env: &'e Env,
        id: String,
        arguments: ForkArguments,
        restore: RestoreArguments,
        token: &CancelToken,
        timeout_ms: Option<f64>,
        listener: Listener,
    ) -> Promised<'e> {
        self.long(env, token, timeout_ms, listener, move |hm, call| {
            hm.snapshots().fork(&id, &arguments.request(restore)?, call).map(Js)
        })
    }

    #[napi]
    pub fn list<'e>(&self, env: &'e Env, filter: FilterArguments) -> Promised<'e> {
        self.brief(env, move |hm| {
            let snapshots = hm.snapshots().list(&filter.into())?;
            Ok(all(snapshots.into_iter().map(Arc::unwrap_or_clone).collect()))
        })
    }

    #[napi]
    pub fn get<'e>(&self, env: &'e Env, id: String) -> Promised<'e> {
        self.brief(env, move |hm| hm.snapshots().get(&id).map(Js))
    }

    /// The outcome of `get` at once, or null where that would wait for the disk: it takes less time than to hand a call
    /// to a thread.
    #[napi]
    pub fn get_in_memory(&self, id: String) -> Option<Outcome<Js<Snapshot>>> {
        let known = panic::guard(|| self.hm.snapshots().get_in_memory(&id)).transpose()?;
        Some(Outcome(known.map(Js)))
    }

    #[napi]
    pub fn delete<'e>(&self, env: &'e Env, id: String) -> Promised<'e> {
        self.brief(env, move |hm| hm.snapshots().delete(&id))
    }

    #[napi]
    pub fn wait<'e>(
        &self,
        env: &'e Env,
        id: String,
        token: &CancelToken,
        timeout_ms: Option<f64>,
        listener: Listener,
    ) -> Promised<'e> {
        self.long(env, token, timeout_ms, listener, move |hm, call| hm.snapshots().wait(&id, call).map(Js))
    }

    #[napi]
    pub fn compress<'e>(
        &self,
        env: &'e Env,
        id: String,
        compression: Option<CompressionArguments>,
    ) -> Promised<'e> {
        self.brief(env, move |hm| hm.snapshots().compress(&id, compression.map(Into::into).as_ref()).map(Js))
    }

    #[napi]
    pub fn cancel_compression<'e>(&self, env: &'e Env, id: String) -> Promised<'e> {
        self.brief(env, move |hm| hm.snapshots().cancel_compression(&id).map(Js))
    }

    #[napi]
    pub fn inspect<'e>(&self, env: &'e Env, id: String) -> Promised<'e> {
        self.brief(env, move |hm| hm.snapshots().inspect(&id).map(Js))
    }

    #[napi]
    pub fn verify<'e>(
        &self,
        env: &'e Env,
        id: String,
        token: &CancelToken,
        timeout_ms: Option<f64>,
        listener: Listener,
    ) -> Promised<'e> {
        self.long(env, token, timeout_ms, listener, move |hm, call| hm.snapshots().verify(&id, call).map(Js))
    }

    #[napi]
    pub fn memory<'e>(&self, env: &'e Env, id: String) -> Promised<'e> {
        let threads = self.threads.clone();
        // Not a brief call: of some files it reads every byte.
        self.run(env, Threads::long, move |hm| Ok(Memory::new(hm.snapshots().memory(&id)?, threads)))
    }

    #[napi]
    pub fn finish<'e>(
        &self,
        env: &'e Env,
        token: &CancelToken,
        timeout_ms: Option<f64>,
        listener: Listener,
    ) -> Promised<'e> {
        self.long(env, token, timeout_ms, listener, move |hm, call| hm.finish(call))
    }

    #[napi]
    pub fn serve_memory<'e>(&self, env: &'e Env, id: String, arguments: ServeArguments) -> Promised<'e> {
        let threads = self.threads.clone();
        // As in `memory`.
        self.run(env, Threads::long, move |hm| {
            Ok(Pager::new(hm.snapshots().serve_memory(&id, &arguments.into())?, hm.clone(), threads))
        })
    }

    #[napi]
    pub fn close<'e>(&self, env: &'e Env) -> Promised<'e> {
        // Not a brief call: those may be waiting their turn, and closing is what ends them.
        self.run(env, Threads::long, |hm| {
            hm.close();
            Ok(())
        })
    }

    /// Panics on a thread of this handle: the outcome shows that this build keeps such panics inside, too.
    #[napi]
    pub fn selftest_panic<'e>(&self, env: &'e Env) -> Promised<'e> {
        self.brief(env, |_| -> Result<()> { panic!("this panic was asked for by a self-test") })
    }

    /// Closes, blocking: for a `using` declaration, which cannot wait.
    #[napi]
    pub fn close_now(&self) -> Outcome<()> {
        Outcome(panic::guard(|| {
            self.hm.close();
            Ok(())
        }))
    }
}

impl Handle {
    fn brief<'e, T: ToNapiValue + Send + 'static>(
        &self,
        env: &'e Env,
        call: impl FnOnce(&Hypeman) -> Result<T> + Send + 'static,
    ) -> Promised<'e> {
        self.run(env, Threads::brief, call)
    }

    fn long<'e, T: ToNapiValue + Send + 'static>(
        &self,
        env: &'e Env,
        token: &CancelToken,
        timeout_ms: Option<f64>,
        listener: Listener,
        call: impl FnOnce(&Hypeman, Call<'_>) -> Result<T> + Send + 'static,
    ) -> Promised<'e> {
        let limited = limited(token, timeout_ms, listener);
        self.run(env, Threads::long, move |hm| call(hm, limited))
    }

    fn run<'e, T: ToNapiValue + Send + 'static>(
        &self,
        env: &'e Env,
        start: Start,
        call: impl FnOnce(&Hypeman) -> Result<T> + Send + 'static,
    ) -> Promised<'e> {
        let hm = self.hm.clone();
        promise(env, &self.threads, start, move || call(&hm))
    }
}

/// A call that JavaScript can watch and end.
pub fn limited(
    CancelToken(token): &CancelToken,
    timeout_ms: Option<f64>,
    listener: Listener,
) -> Call<'static> {
    let limited = Call::default().cancel(token);
    // A time that is too long to be represented is no limit.
    let limited = match timeout_ms.map(|ms| Duration::try_from_secs_f64(ms / 1000.0)) {
        Some(Ok(timeout)) => limited.timeout(timeout),
        Some(Err(_)) | None => limited,
    };
    limited.progress(move |progress| {
        // Whether it could be told is of no concern to the call.
        let _ = listener.call(Js(progress), ThreadsafeFunctionCallMode::NonBlocking);
        ControlFlow::Continue(())
    })
}
