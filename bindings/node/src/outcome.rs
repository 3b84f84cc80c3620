//! How a call ended: `{ value }`, or `{ code, message, id, path, errno }`.
//!
//! An exception of Node-API's would carry one string; the facade makes a full one of this.

use std::path::Path;

use hypeman_core::Result;
use napi::bindgen_prelude::ToNapiValue;
use napi::sys;

use crate::results::Record;

/// How a call ended, as a plain object.
pub struct Outcome<T>(pub Result<T>);

impl<T: ToNapiValue> ToNapiValue for Outcome<T> {
    // Unsafe by its trait: whoever calls it promises that `env` is of this thread, as every method of a record wants.
    unsafe fn to_napi_value(env: sys::napi_env, Self(outcome): Self) -> napi::Result<sys::napi_value> {
        let record = Record::new(env)?;
        let record = match outcome {
            Ok(value) => record.with("value", value)?,
            Err(error) => record
                .with("code", error.code())?
                .with("message", error.message())?
                .with_some("id", error.id())?
                .with_some("path", error.path().map(Path::to_string_lossy).as_deref())?
                .with_some("errno", error.errno())?,
        };
        Ok(record.finish())
    }
}
