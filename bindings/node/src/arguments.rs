//! What JavaScript passes. Core's structs are written out in full, so that a new field of theirs fails this build.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use hypeman_core::{
    CompressionConfig, CreateSnapshot, Disk, Duplicates, Durability, Error, ForkSnapshot, InstanceState,
    Kind, Log, Options, RegisterInstance, RestoreSnapshot, Result, ServeMemory, SnapshotFilter,
};
use napi_derive::napi;

#[napi(object, object_to_js = false)]
pub struct OpenArguments {
    pub data_dir: Option<String>,
    pub read_only: Option<bool>,
    pub compression: Option<CompressionArguments>,
    pub durability: Option<String>,
    pub threads: Option<i64>,
    pub allow_network_fs: Option<bool>,
    pub owns_server_instances: Option<bool>,
    pub offload_memory: Option<bool>,
}

impl OpenArguments {
    /// What is no plain value comes beside: who hears of events.
    pub fn options(self, log: Log) -> Result<Options> {
        let Self {
            data_dir: _,
            read_only,
            compression,
            durability,
            threads,
            allow_network_fs,
            owns_server_instances,
            offload_memory,
        } = self;
        Ok(Options {
            read_only: read_only.unwrap_or_default(),
            compression: compression.map(Into::into),
            durability: durability.as_deref().map(Durability::parse).transpose()?.unwrap_or_default(),
            threads: threads.map(at_least_one).transpose()?,
            allow_network_fs: allow_network_fs.unwrap_or_default(),
            owns_server_instances: owns_server_instances.unwrap_or_default(),
            log,
            offload_memory: offload_memory.unwrap_or_default(),
        })
    }
}

fn at_least_one(threads: i64) -> Result<NonZeroUsize> {
    usize::try_from(threads)
        .ok()
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| Error::new(Kind::InvalidRequest, format!("threads must be at least 1, got {threads}")))
}

#[napi(object, object_to_js = false)]
pub struct CompressionArguments {
    pub enabled: bool,
    pub algorithm: Option<String>,
    pub level: Option<i64>,
}

impl From<CompressionArguments> for CompressionConfig {
    fn from(CompressionArguments { enabled, algorithm, level }: CompressionArguments) -> Self {
        Self { enabled, algorithm, level }
    }
}

#[napi(object, object_to_js = false)]
pub struct DiskArguments {
    pub path: String,
    pub readonly: Option<bool>,
}

impl From<DiskArguments> for Disk {
    fn from(DiskArguments { path, readonly }: DiskArguments) -> Self {
        Self { path: path.into(), readonly: readonly.unwrap_or_default() }
    }
}

#[napi(object, object_to_js = false)]
pub struct RegisterArguments {
    pub name: String,
    pub hypervisor: String,
    pub id: Option<String>,
    #[napi(js_name = "api_socket")]
    pub api_socket: Option<String>,
    pub directory: Option<String>,
    pub disks: Option<Vec<DiskArguments>>,
    pub compression: Option<CompressionArguments>,
    #[napi(js_name = "staging_directory")]
    pub staging_directory: Option<String>,
    #[napi(js_name = "staging_directory_in_vmm")]
    pub staging_directory_in_vmm: Option<String>,
    #[napi(js_name = "exclusive_snapshots")]
    pub exclusive_snapshots: Option<bool>,
}

impl From<RegisterArguments> for RegisterInstance {
    fn from(arguments: RegisterArguments) -> Self {
        let RegisterArguments {
            name,
            hypervisor,
            id,
            api_socket,
            directory,
            disks,
            compression,
            staging_directory,
            staging_directory_in_vmm,
            exclusive_snapshots,
        } = arguments;
        Self {
            name,
            hypervisor: hypervisor.into(),
            id,
            api_socket: api_socket.map(Into::into),
            directory: directory.map(Into::into),
            disks: disks.unwrap_or_default().into_iter().map(Into::into).collect(),
            compression: compression.map(Into::into),
            staging_directory: staging_directory.map(Into::into),
            staging_directory_in_vmm: staging_directory_in_vmm.map(Into::into),
            exclusive_snapshots: exclusive_snapshots.unwrap_or_default(),
        }
    }
}

#[napi(object, object_to_js = false)]
pub struct CreateArguments {
    pub kind: String,
    pub name: Option<String>,
    pub tags: Option<BTreeMap<String, String>>,
    pub compression: Option<CompressionArguments>,
}

impl From<CreateArguments> for CreateSnapshot {
    fn from(CreateArguments { kind, name, tags, compression }: CreateArguments) -> Self {
        Self { kind: kind.into(), name, tags, compression: compression.map(Into::into) }
    }
}

#[napi(object, object_to_js = false)]
pub struct RestoreArguments {
    #[napi(js_name = "target_state")]
    pub target_state: Option<String>,
    #[napi(js_name = "api_socket")]
    pub api_socket: Option<String>,
    #[napi(js_name = "network_overrides")]
    pub network_overrides: Option<BTreeMap<String, String>>,
    #[napi(js_name = "on_demand")]
    pub on_demand: Option<bool>,
    #[napi(js_name = "uffd_socket")]
    pub uffd_socket: Option<String>,
    #[napi(js_name = "allow_incompatible")]
    pub allow_incompatible: Option<bool>,
    pub duplicates: Option<String>,
}

impl TryFrom<RestoreArguments> for RestoreSnapshot {
    type Error = Error;

    fn try_from(given: RestoreArguments) -> Result<Self> {
        let RestoreArguments {
            target_state,
            api_socket,
            network_overrides,
            on_demand,
            uffd_socket,
            allow_incompatible,
            duplicates,
        } = given;
        Ok(Self {
            target_state: target_state.as_deref().map(InstanceState::parse).transpose()?,
            api_socket: api_socket.map(Into::into),
            network_overrides: network_overrides.unwrap_or_default(),
            on_demand: on_demand.unwrap_or_default(),
            uffd_socket: uffd_socket.map(Into::into),
            allow_incompatible: allow_incompatible.unwrap_or_default(),
            duplicates: duplicates.as_deref().map(Duplicates::parse).transpose()?.unwrap_or_default(),
        })
    }
}

#[napi(object, object_to_js = false)]
pub struct ForkArguments {
    pub name: String,
    pub directory: Option<String>,
    pub disks: Option<BTreeMap<String, String>>,
}

impl ForkArguments {
    /// What to fork, to be restored as `restore` says.
    pub fn request(self, restore: RestoreArguments) -> Result<ForkSnapshot> {
        let Self { name, directory, disks } = self;
        let disks = disks.unwrap_or_default().into_iter().map(|(from, to)| (from.into(), to.into()));
        Ok(ForkSnapshot {
            name,
            directory: directory.map(Into::into),
            disks: disks.collect(),
            restore: restore.try_into()?,
        })
    }
}

#[napi(object, object_to_js = false)]
pub struct ServeArguments {
    pub socket: Option<String>,
    #[napi(js_name = "cache_bytes")]
    pub cache_bytes: Option<i64>,
    pub prefetch: Option<bool>,
    pub fill: Option<bool>,
    #[napi(js_name = "spin_us")]
    pub spin_us: Option<i64>,
    pub cpus: Option<Vec<i64>>,
}

impl From<ServeArguments> for ServeMemory {
    fn from(ServeArguments { socket, cache_bytes, prefetch, fill, spin_us, cpus }: ServeArguments) -> Self {
        let defaults = Self::default();
        // JavaScript has checked that they are not negative; what is too large core refuses.
        let small = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            socket: socket.map(Into::into),
            cache_bytes: cache_bytes
                .and_then(|bytes| u64::try_from(bytes).ok())
                .unwrap_or(defaults.cache_bytes),
            prefetch: prefetch.unwrap_or(defaults.prefetch),
            fill: fill.unwrap_or(defaults.fill),
            spin_us: spin_us.map_or(defaults.spin_us, small),
            cpus: cpus.unwrap_or_default().into_iter().map(small).collect(),
        }
    }
}

#[napi(object, object_to_js = false)]
pub struct FilterArguments {
    pub kind: Option<String>,
    pub name: Option<String>,
    #[napi(js_name = "source_instance_id")]
    pub source_instance_id: Option<String>,
    pub tags: Option<BTreeMap<String, String>>,
}

impl From<FilterArguments> for SnapshotFilter {
    fn from(FilterArguments { kind, name, source_instance_id, tags }: FilterArguments) -> Self {
        Self { kind: kind.map(Into::into), name, source_instance_id, tags: tags.unwrap_or_default() }
    }
}
