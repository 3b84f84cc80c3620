//! What the library tells Python beside the answers of calls.

use hypeman_core::{Log, LogEvent};
use pyo3::prelude::*;

/// A log that calls `listener` with the level, the message and the id of each event, on whatever thread it happens.
pub(crate) fn to(listener: Py<PyAny>) -> Log {
    Log::to(move |event| {
        let LogEvent { level, message, id } = event;
        // An interpreter that is going down hears nothing more.
        Python::try_attach(|py| {
            if let Err(error) = listener.call1(py, (level.as_str(), message, id)) {
                error.write_unraisable(py, Some(listener.bind(py)));
            }
        });
    })
}
