//! The gate: the one way from Python into core. The GIL is released, panics stay inside, and whatever may wait answers
//! Ctrl-C.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hypeman_core::panic::guard;
use hypeman_core::{Call, Cancel, Error, Kind, Progress, Result};
use pyo3::prelude::*;

use crate::errors::raised;
use crate::results;

/// How often a long call looks for signals. Its end is noticed at once.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// Ends the calls that hold it, from any thread. It cannot be taken back.
#[pyclass(frozen, module = "libhypeman")]
#[derive(Default)]
pub(crate) struct CancelToken(Cancel);

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Asks every call that holds this token to stop.
    fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether `cancel()` was called.
    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// How Python watches and ends a long call.
#[derive(Default)]
pub(crate) struct Watch<'py> {
    /// No limit where there is none.
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel: Option<PyRef<'py, CancelToken>>,
    /// Called with a `Progress` on the calling thread. What it raises ends the call and is raised from it.
    pub(crate) progress: Option<Bound<'py, PyAny>>,
}

/// Runs a call that ends soon, without the GIL.
pub(crate) fn short<T: Send>(py: Python<'_>, call: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    py.detach(|| guard(call)).map_err(|error| raised(py, &error))
}

/// Runs a call that nothing can cancel but that may have to wait, for a VMM or another process, on a thread of its own.
/// What a signal raises meanwhile is raised at once; the call comes to its end by itself, and no one gets its result.
pub(crate) fn apart<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> PyResult<T> {
    let (teller, mut news) = mpsc::channel();
    start(py, move || {
        let _ = teller.send(guard(work));
    })?;
    loop {
        let news = &mut news;
        match py.detach(move || news.recv_timeout(SIGNAL_CHECK)) {
            Ok(outcome) => return outcome.map_err(|error| raised(py, &error)),
            Err(RecvTimeoutError::Disconnected) => return Err(raised(py, &vanished())),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
        }
    }
}

/// Runs a call that may take minutes on a thread of its own, which has ended when this returns. The calling thread
/// hears of progress and of signals meanwhile; what either raises cancels the call.
pub(crate) fn long<T: Send + 'static>(
    py: Python<'_>,
    watch: Watch<'_>,
    work: impl FnOnce(Call<'static>) -> Result<T> + Send + 'static,
) -> PyResult<T> {
    let Watch { timeout, cancel, progress } = watch;
    let token = cancel.map(|token| token.0.clone()).unwrap_or_default();
    let (teller, mut news) = mpsc::channel();
    let mut call = Call::default().cancel(&token);
    if let Some(timeout) = timeout {
        call = call.timeout(timeout);
    }
    if progress.is_some() {
        let teller = teller.clone();
        call = call.progress(move |progress| match teller.send(News::Progress(progress)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
    }
    let worker = start(py, move || {
        // Fails only when no one listens any more, and then no one misses it.
        let _ = teller.send(News::Done(guard(|| work(call))));
    })?;

    let mut raise = None;
    let outcome = loop {
        let news = &mut news;
        let trouble = match py.detach(move || news.recv_timeout(SIGNAL_CHECK)) {
            Ok(News::Done(outcome)) => break outcome,
            Err(RecvTimeoutError::Disconnected) => break Err(vanished()),
            _ if raise.is_some() => continue,
            Err(RecvTimeoutError::Timeout) => py.check_signals(),
            Ok(News::Progress(step)) => tell(py, progress.as_ref(), step),
        };
        if let Err(exception) = trouble {
            token.cancel();
            raise = Some(exception);
        }
    };
    // Its result is here or it has none: nothing is left to learn from how it ended.
    let _ = py.detach(|| worker.join());
    match raise {
        Some(exception) => Err(exception),
        None => outcome.map_err(|error| raised(py, &error)),
    }
}

fn start(py: Python<'_>, work: impl FnOnce() + Send + 'static) -> PyResult<JoinHandle<()>> {
    thread::Builder::new().name("libhypeman-call".to_owned()).spawn(work).map_err(|error| {
        raised(py, &Error::new(Kind::Io, format!("cannot start a thread for the call: {error}")))
    })
}

fn vanished() -> Error {
    Error::new(Kind::Internal, "the thread of the call ended without a result")
}

enum News<T> {
    Progress(Progress),
    Done(Result<T>),
}

fn tell(py: Python<'_>, listener: Option<&Bound<'_, PyAny>>, step: Progress) -> PyResult<()> {
    match listener {
        Some(listener) => listener.call1((results::progress(py, step)?,)).map(|_| ()),
        None => Ok(()),
    }
}
