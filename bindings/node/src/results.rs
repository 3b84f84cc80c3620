//! Core's results as plain objects: the vendor's snake_case keys, no key for what is absent, sizes as numbers.
//!
//! Every struct is taken apart by name and in full, so that a new field of core's fails this build.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;

use hypeman_core::{
    Capture, CompressionConfig, Defect, DefectKind, Disk, ExtentKind, FileStatus, Host, Inspection, Instance,
    LogEvent, LogLevel, MemoryExtent, MemoryRange, Origin, PagerMetrics, PayloadFile, Phase, Progress,
    Snapshot, VerifiedFile, VerifyReport,
};
use napi::bindgen_prelude::{JsObjectValue, JsValue, Object, ToNapiValue, Uint8Array};
use napi::{Env, Property, PropertyAttributes, sys};

/// A result of core's on its way to JavaScript.
pub struct Js<T>(pub T);

impl<T: Fields> ToNapiValue for Js<T> {
    // Unsafe by its trait: whoever calls it promises that `env` is of this thread, as every method of a record wants.
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

    /// Adds a key of a struct's.
    pub fn with(self, name: &str, value: impl ToNapiValue) -> napi::Result<Self> {
        Object::from_raw(self.env.raw(), self.object).set_named_property(name, value)?;
        Ok(self)
    }

    /// Adds a key of a user's. It is always the object's own, whatever its name (`__proto__` is a legal tag), which takes
    /// several times as long.
    pub fn with_any(self, name: &str, value: impl ToNapiValue) -> napi::Result<Self> {
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

/// Implements [`Fields`]: each field by its own name, as it is or as the function beside it makes it.
macro_rules! fields {
    (@ $value:ident) => { $value };
    (@ $value:ident, $write:expr) => { $write($value) };
    (
        $name:ident { $($field:ident $(: $write:expr)?),+ $(,)? }
        $(where present { $($some:ident $(: $write_some:expr)?),+ $(,)? })?
    ) => {
        impl Fields for $name {
            fn fields(self, record: Record) -> napi::Result<Record> {
                let Self { $($field,)+ $($($some,)+)? } = self;
                $(let record = record.with(stringify!($field), fields!(@ $field $(, $write)?))?;)+
                $($(let record = record.with_some(stringify!($some), $some $(.map($write_some))?)?;)+)?
                Ok(record)
            }
        }
    };
}

fields! {
    Snapshot {
        id, created_at: written, kind: written, size_bytes: bytes,
        source_hypervisor: written, source_instance_id, source_instance_name,
    } where present {
        compressed_size_bytes: bytes, compression: Js, compression_error, compression_state: written,
        name, tags: Js, uncompressed_size_bytes: bytes,
    }
}

fields! { CompressionConfig { enabled } where present { algorithm, level } }

fields! {
    Instance { id, name, hypervisor: written, state: written, origin: Origin::as_str, created_at: written, disks: all }
    where present {
        api_socket: path_text, directory: path_text, compression: Js, generation: bytes,
        staging_directory: path_text, staging_directory_in_vmm: path_text,
    }
}

fields! { Disk { path: path_text, readonly } }

fields! { Inspection { snapshot: Js, files: all, allocated_bytes: bytes, generation: bytes } where present { capture: Js } }

fields! { PayloadFile { path, size_bytes: bytes, allocated_bytes: bytes } }

fields! {
    Capture { source_state, host: Js, libhypeman_version } where present {
        paused_ms, saving_memory_ms, copying_disks_ms, hypervisor_version, memory_format, memory_file, state_format,
    }
}

fields! { Host { kernel, architecture, cpu_model, cpu_vendor, cpu_flags } }

fields! { VerifyReport { snapshot_id, files: all, defects: all } }

fields! { VerifiedFile { path, size_bytes: bytes, status: FileStatus::as_str } }

fields! {
    Defect { path, kind: DefectKind::as_str, message } where present { offset: bytes, size_bytes: bytes }
}

fields! { MemoryExtent { offset: bytes, size_bytes: bytes, kind: ExtentKind::as_str } }

fields! { MemoryRange { guest_address: bytes, offset: bytes, size_bytes: bytes } }

fields! { LogEvent { level: LogLevel::as_str, message, id } }
fields! {
    PagerMetrics {
        vms: bytes, vms_seen: bytes, vms_whole: bytes, faults: bytes, copied_bytes: bytes, zero_bytes: bytes,
        prefetched_bytes: bytes, filled_bytes: bytes, fault_us: counts, errors: bytes,
    } where present { last_error }
}

fields! { Progress { phase: Phase::as_str, bytes_done: bytes, bytes_total: bytes } }

impl Fields for BTreeMap<String, String> {
    fn fields(self, record: Record) -> napi::Result<Record> {
        self.into_iter().try_fold(record, |record, (key, value)| record.with_any(&key, value))
    }
}

/// Bytes that become a `Uint8Array` without being copied. Until then they are a plain `Vec`, which any thread may drop.
pub struct Bytes(pub Vec<u8>);

impl ToNapiValue for Bytes {
    // Unsafe by its trait, as above.
    unsafe fn to_napi_value(env: sys::napi_env, Self(bytes): Self) -> napi::Result<sys::napi_value> {
        // SAFETY: what our own caller promises: `env` is the environment of this very call, and this is its thread.
        unsafe { Uint8Array::to_napi_value(env, Uint8Array::new(bytes)) }
    }
}

/// Bytes as a JavaScript number: exact to 8 PiB, as in the vendor's client.
pub fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn counts(counts: [u64; 20]) -> Vec<i64> {
    counts.into_iter().map(bytes).collect()
}

fn written(value: impl Display) -> String {
    value.to_string()
}

fn path_text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

/// Each of `values` on its way.
pub fn all<T>(values: Vec<T>) -> Vec<Js<T>> {
    values.into_iter().map(Js).collect()
}
