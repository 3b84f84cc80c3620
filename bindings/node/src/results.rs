//! Core's results as plain objects: the vendor's snake_case keys, no key for what is absent, sizes as numbers.
//!
//! Every struct is taken apart by name and in full, so that a new field of core's fails this build.

use std::collections::BTreeMap;
use std::path::Path;

use hypeman_core::{
    Capture, CompressionConfig, Disk, Host, Inspection, Instance, PayloadFile, Progress, Snapshot,
};
use napi::bindgen_prelude::{JsObjectValue, JsValue, Object, ToNapiValue};
use napi::{Env, Property, PropertyAttributes, sys};

/// A result of core's on its way to JavaScript.
pub struct Js<T>(pub T);

impl<T: Fields> ToNapiValue for Js<T> {
    unsafe fn to_napi_value(env: sys::napi_env, Self(value): Self) -> napi::Result<sys::napi_value> {
        Ok(value.fields(Record::new(env)?)?.finish())
    }
}

/// A struct that becomes a plain object.
pub trait Fields {
    /// Writes every field into `record`.
    fn fields(self, record: Record) -> napi::Result<Record>;
}

/// A plain object that is being made.
pub struct Record {
    env: Env,
    object: sys::napi_value,
}

impl Record {
    /// Begins an object without keys.
    pub fn new(env: sys::napi_env) -> napi::Result<Self> {
        let env = Env::from_raw(env);
        let object = Object::new(&env)?.raw();
        Ok(Self { env, object })
    }

    /// Adds a key. It is always the object's own, whatever its name (`__proto__` is a legal tag).
    pub fn with(self, name: &str, value: impl ToNapiValue) -> napi::Result<Self> {
        let plain =
            PropertyAttributes::Writable | PropertyAttributes::Enumerable | PropertyAttributes::Configurable;
        let property = Property::new()
            .with_name(&self.env, name)?
            .with_napi_value(&self.env, value)?
            .with_property_attributes(plain);
        Object::from_raw(self.env.raw(), self.object).define_properties(&[property])?;
        Ok(self)
    }

    /// Adds a key where there is a value for it.
    pub fn with_some(self, name: &str, value: Option<impl ToNapiValue>) -> napi::Result<Self> {
        match value {
            Some(value) => self.with(name, value),
            None => Ok(self),
        }
    }

    /// The object.
    pub fn finish(self) -> sys::napi_value {
        self.object
    }
}

/// Bytes as a JavaScript number: exact to 8 PiB, as in the vendor's client.
fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Fields for Snapshot {
    fn fields(self, record: Record) -> napi::Result<Record> {
        let Self {
            id,
            created_at,
            kind,
            size_bytes,
            source_hypervisor,
            source_instance_id,
            source_instance_name,
            compressed_size_bytes,
            compression,
            compression_error,
            compression_state,
            name,
            tags,
            uncompressed_size_bytes,
        } = self;
        record
            .with("id", id)?
            .with("created_at", created_at.to_string())?
            .with("kind", kind.as_str())?
            .with("size_bytes", bytes(size_bytes))?
            .with("source_hypervisor", source_hypervisor.as_str())?
            .with("source_instance_id", source_instance_id)?
            .with("source_instance_name", source_instance_name)?
            .with_some("compressed_size_bytes", compressed_size_bytes.map(bytes))?
            .with_some("compression", compression.map(Js))?
            .with_some("compression_error", compression_error)?
            .with_some("compression_state", compression_state.map(String::from))?
            .with_some("name", name)?
            .with_some("tags", tags.map(Js))?
            .with_some("uncompressed_size_bytes", uncompressed_size_bytes.map(bytes))
    }
}

impl Fields for CompressionConfig {
    fn fields(self, record: Record) -> napi::Result<Record> {
        let Self { enabled, algorithm, level } = self;
        record.with("enabled", enabled)?.with_some("algorithm", algorithm)?.with_some("level", level)
    }
}

impl Fields for BTreeMap<String, String> {
    fn fields(self, record: Record) -> napi::Result<Record> {
        self.into_iter().try_fold(record, |record, (key, value)| record.with(&key, value))
    }
}

impl Fields for Instance {
    fn fields(self, record: Record) -> napi::Result<Record> {
        let Self {
            id,
            name,
            hypervisor,
            state,
            origin,
            created_at,
            api_socket,
            directory,
            disks,
            compression,
        } = self;
        record
            .with("id", id)?
            .with("name", name)?
            .with("hypervisor", hypervisor.as_str())?
            .with("state", state.as_str())?
            .with("origin", origin.as_str())?
            .with("created_at", created_at.to_string())?
            .with_some("api_socket", api_socket.as_deref().map(text))?
            .with_some("directory", directory.as_deref().map(text))?
            .with("disks", disks.into_iter().map(Js).collect::<Vec<_>>())?
            .with_some("compression", compression.map(Js))
    }
}

impl Fields for Disk {
    fn fields(self, record: Record) -> napi::Result<Record> {
        let Self { path, readonly } = self;
        record.with("path", text(&path))?.with("readonly", readonly)
    }
}

impl Fields for Inspection {
    fn fields(self, record: Record) -> napi::Result<Record> {
        let Self { snapshot, files, allocated_bytes, capture } = self;
        record
            .with("snapshot", Js(snapshot))?
            .with("files", files.into_iter().map(Js).collect::<Vec<_>>())?
            .with("allocated_bytes", bytes(allocated_bytes))?
            .with_some("capture", capture.map(Js))
    }
}

impl Fields for PayloadFile {
    fn fields(self, record: Record) -> napi::Result<Record> {
        let Self { path, size_bytes, allocated_bytes } = self;
        record
            .with("path", path)?
            .with("size_bytes", bytes(size_bytes))?
            .with("allocated_bytes", bytes(allocated_bytes))
    }
}

impl Fields for Capture {
    fn fields(self, record: Record) -> napi::Result<Record> {
        let Self {
            source_state,
            paused_ms,
            saving_memory_ms,
            copying_disks_ms,
            hypervisor_version,
            memory_format,
            memory_file,
            host,
            libhypeman_version,
        } = self;
        record
            .with("source_state", source_state)?
            .with_some("paused_ms", paused_ms)?
            .with_some("saving_memory_ms", saving_memory_ms)?
            .with_some("copying_disks_ms", copying_disks_ms)?
            .with_some("hypervisor_version", hypervisor_version)?
            .with_some("memory_format", memory_format)?
            .with_some("memory_file", memory_file)?
            .with("host", Js(host))?
            .with("libhypeman_version", libhypeman_version)
    }
}

impl Fields for Host {
    fn fields(self, record: Record) -> napi::Result<Record> {
        let Self { kernel, architecture, cpu_model } = self;
        record.with("kernel", kernel)?.with("architecture", architecture)?.with("cpu_model", cpu_model)
    }
}

impl Fields for Progress {
    fn fields(self, record: Record) -> napi::Result<Record> {
        let Self { phase, bytes_done, bytes_total } = self;
        record
            .with("phase", phase.as_str())?
            .with("bytes_done", bytes(bytes_done))?
            .with("bytes_total", bytes(bytes_total))
    }
}
