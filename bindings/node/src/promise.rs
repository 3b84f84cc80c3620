//! How a call becomes a promise.

use std::sync::mpsc;

use hypeman_core::{Error, Kind, Result, panic};
use napi::bindgen_prelude::{Either, Object, ToNapiValue};
use napi::{Env, JsDeferred};

use crate::outcome::Outcome;
use crate::threads::{Start, Threads};

/// A promise of an outcome, or at once the outcome of a call that could not be started.
pub type Promised<'e> = napi::Result<Either<Object<'e>, Outcome<()>>>;

/// Promises the outcome of `call`, which runs behind the firewall on a thread that `start` finds.
pub fn promise<'e, T: ToNapiValue + Send + 'static>(
    env: &'e Env,
    threads: &Threads,
    start: Start,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Promised<'e> {
    let (hand_over, promised) = mpsc::channel();
    let started = start(
        threads,
        Box::new(move || {
            let outcome = panic::guard(call);
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
