//! An open data directory: one method per call of core's, each a promise of an [`Outcome`].

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::Duration;

use hypeman_core::{Call, Cancel, Error, Hypeman, Kind, Progress, Result, panic};
use napi::bindgen_prelude::{Either, Object, ToNapiValue};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, JsDeferred, Status};
use napi_derive::napi;

use crate::arguments::{
    CompressionArguments, CreateArguments, FilterArguments, OpenArguments, RegisterArguments,
};
use crate::outcome::Outcome;
use crate::results::{Js, all};
use crate::threads::{Start, Threads};

/// Hears progress. Weak, so that it keeps no event loop alive, and with a short queue: while JavaScript is busy,
/// reports are dropped and the call goes on.
type Listener = ThreadsafeFunction<Js<Progress>, (), Js<Progress>, Status, false, true, 16>;

/// A promise of an outcome, or at once the outcome of a call that could not be started.
type Promised<'e> = napi::Result<Either<Object<'e>, Outcome<()>>>;

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
pub fn open(arguments: OpenArguments) -> Outcome<Handle> {
    Outcome(panic::guard(|| {
        let data_dir = arguments.data_dir.as_ref().map_or_else(Hypeman::default_data_dir, Into::into);
        let hm = Hypeman::open_with(data_dir, arguments.options()?)?;
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

    #[napi]
    pub fn list<'e>(&self, env: &'e Env, filter: FilterArguments) -> Promised<'e> {
        self.brief(env, move |hm| hm.snapshots().list(&filter.into()).map(all))
    }

    #[napi]
    pub fn get<'e>(&self, env: &'e Env, id: String) -> Promised<'e> {
        self.brief(env, move |hm| hm.snapshots().get(&id).map(Js))
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
        CancelToken(token): &CancelToken,
        timeout_ms: Option<f64>,
        listener: Listener,
        call: impl FnOnce(&Hypeman, Call<'_>) -> Result<T> + Send + 'static,
    ) -> Promised<'e> {
        let limited = Call::default().cancel(token);
        // A time that is too long to be represented is no limit.
        let limited = match timeout_ms.map(|ms| Duration::try_from_secs_f64(ms / 1000.0)) {
            Some(Ok(timeout)) => limited.timeout(timeout),
            Some(Err(_)) | None => limited,
        };
        let limited = limited.progress(move |progress| {
            // Whether it could be told is of no concern to the call.
            let _ = listener.call(Js(progress), ThreadsafeFunctionCallMode::NonBlocking);
            ControlFlow::Continue(())
        });
        self.run(env, Threads::long, move |hm| call(hm, limited))
    }

    /// Promises the outcome of `call`, which runs behind the firewall on a thread that `start` finds.
    fn run<'e, T: ToNapiValue + Send + 'static>(
        &self,
        env: &'e Env,
        start: Start,
        call: impl FnOnce(&Hypeman) -> Result<T> + Send + 'static,
    ) -> Promised<'e> {
        let hm = self.hm.clone();
        let (hand_over, promised) = mpsc::channel();
        let started = start(
            &self.threads,
            Box::new(move || {
                let outcome = panic::guard(|| call(&hm));
                // The thread comes before the promise: one that no thread will settle keeps the event loop alive.
                if let Ok(deferred) = promised.recv() {
                    let deferred: JsDeferred<_, _> = deferred;
                    deferred.resolve(move |_| Ok(Outcome(outcome)));
                }
            }),
        );
        if let Err(error) = started {
            let advice = "raise the limit of processes (ulimit -u), or make fewer calls at once";
            let error = Error::new(Kind::Busy, format!("cannot start a thread: {error}; {advice}"));
            return Ok(Either::B(Outcome(Err(error))));
        }
        let (deferred, promise) = env.create_deferred()?;
        // The thread waits for it.
        let _ = hand_over.send(deferred);
        Ok(Either::A(promise))
    }
}
