//! The shape of the API, for the tests of each binding: `api.json`, written (`UPDATE=1`) and compared here. It comes
//! from the tables and types of the core alone, so that a new field or code is one red test in each language.

use std::collections::BTreeMap;
use std::path::Path;

use hypeman_core::{
    Capture, CompressionConfig, CompressionState, CreateSnapshot, Defect, DefectKind, Disk, Duplicates,
    Durability, ExtentKind, FileStatus, ForkSnapshot, Host, HypervisorKind, Inspection, Instance,
    InstanceState, Kind, LogEvent, LogLevel, MemoryExtent, MemoryRange, Options, Origin, PagerMetrics,
    PayloadFile, Phase, Progress, RegisterInstance, RestoreSnapshot, ServeMemory, Snapshot, SnapshotFilter,
    SnapshotKind, Timestamp, VerifiedFile, VerifyReport,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

#[test]
fn api_json_is_the_api_of_the_core() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/api.json");
    let now = format!("{:#}\n", api());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        committed, now,
        "the API has changed: UPDATE=1 cargo test -p hypeman-tests --test api, then review"
    );
}

#[test]
fn a_snapshot_has_the_14_fields_of_the_api_pages() {
    let fields = fields(snapshot(true), snapshot(false));
    let optional = |name: &str| fields[name]["optional"].as_bool().unwrap();
    let always = [
        "id",
        "created_at",
        "kind",
        "size_bytes",
        "source_hypervisor",
        "source_instance_id",
        "source_instance_name",
    ];
    let sometimes = [
        "compressed_size_bytes",
        "compression",
        "compression_error",
        "compression_state",
        "name",
        "tags",
        "uncompressed_size_bytes",
    ];
    assert_eq!(fields.len(), 14);
    assert!(always.iter().all(|name| !optional(name)) && sometimes.iter().all(|name| optional(name)));
}

fn api() -> Value {
    let errors = Kind::ALL.map(|kind| {
        let fact = kind.fact();
        json!({"number": fact.number, "code": fact.code, "class": fact.class, "http_status": fact.http_status})
    });
    json!({
        "version": hypeman_core::VERSION,
        "errors": errors,
        "phases": Phase::ALL.map(Phase::as_str),
        "log_levels": LogLevel::ALL.map(LogLevel::as_str),
        "instance_states": InstanceState::ALL.map(InstanceState::as_str),
        "snapshot_kinds": SnapshotKind::KNOWN.each_ref().map(SnapshotKind::as_str),
        "compression_states": CompressionState::KNOWN.each_ref().map(CompressionState::as_str),
        "hypervisors": HypervisorKind::KNOWN.each_ref().map(HypervisorKind::as_str),
        "origins": (Origin::Registered.as_str(), Origin::Server.as_str()),
        "duplicates": Duplicates::ALL.map(Duplicates::as_str),
        "durabilities": (Durability::Full.as_str(), Durability::Relaxed.as_str()),
        "extent_kinds": ExtentKind::ALL.map(ExtentKind::as_str),
        "file_statuses": FileStatus::ALL.map(FileStatus::as_str),
        "defect_kinds": DefectKind::ALL.map(DefectKind::as_str),
        "results": {
            "Snapshot": fields(snapshot(true), snapshot(false)),
            "CompressionConfig": fields(CompressionConfig::with("zstd", Some(3)), CompressionConfig::on()),
            "Instance": fields(instance(true), instance(false)),
            "Disk": fields(disk(), disk()),
            "Inspection": fields(inspection(true), inspection(false)),
            "PayloadFile": fields(file(), file()),
            "Capture": fields(capture(true), capture(false)),
            "Host": fields(Host::default(), Host::default()),
            "MemoryExtent": fields(extent(), extent()),
            "MemoryRange": fields(range(), range()),
            "PagerMetrics": fields(metrics(true), metrics(false)),
            "VerifyReport": fields(report(), report()),
            "VerifiedFile": fields(verified_file(), verified_file()),
            "Defect": fields(defect(true), defect(false)),
        },
        "requests": requests(),
    })
}

/// The fields of a type as JSON: `all` has every one, `least` only those that are never left out.
fn fields(all: impl Serialize, least: impl Serialize) -> Map<String, Value> {
    let object = |value: Value| value.as_object().cloned().expect("a type with fields");
    let (all, least) =
        (object(serde_json::to_value(all).unwrap()), object(serde_json::to_value(least).unwrap()));
    let describe = |name: String, value: &Value| {
        let field = json!({"type": type_of(value), "optional": !least.contains_key(&name)});
        (name, field)
    };
    all.iter().map(|(name, value)| describe(name.clone(), value)).collect()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What is asked: these types are never JSON, so their names are taken from patterns that break with each new field.
fn requests() -> Value {
    macro_rules! names {
        ($type:ident { $($field:ident),* $(,)? } = $value:expr) => {{
            let $type { $($field: _),* } = $value;
            [$(stringify!($field)),*]
        }};
    }
    json!({
        "Options": names!(Options {
            read_only, compression, durability, threads, allow_network_fs, owns_server_instances,
            log, offload_memory
        } = Options::default()),
        "RegisterInstance": names!(RegisterInstance {
            name, hypervisor, id, api_socket, directory, disks, compression, staging_directory,
            staging_directory_in_vmm, exclusive_snapshots
        } = RegisterInstance::new("a", "qemu")),
        "CreateSnapshot": names!(CreateSnapshot {
            kind, name, tags, compression
        } = CreateSnapshot::new(SnapshotKind::Standby)),
        "RestoreSnapshot": names!(RestoreSnapshot {
            target_state, api_socket, network_overrides, on_demand, uffd_socket, allow_incompatible, duplicates
        } = RestoreSnapshot::default()),
        "ForkSnapshot": names!(ForkSnapshot {
            name, directory, disks, restore
        } = ForkSnapshot::new("a")),
        "ServeMemory": names!(ServeMemory {
            socket, cache_bytes, prefetch, fill, spin_us, cpus
        } = ServeMemory::default()),
        "SnapshotFilter": names!(SnapshotFilter {
            kind, name, source_instance_id, tags
        } = SnapshotFilter::default()),
        "LogEvent": names!(LogEvent {
            level, message, id
        } = LogEvent { level: LogLevel::Info, message: String::new(), id: String::new() }),
        "Progress": names!(Progress {
            phase, bytes_done, bytes_total
        } = Progress { phase: Phase::Preparing, bytes_done: 0, bytes_total: 0 }),
    })
}

fn snapshot(all: bool) -> Snapshot {
    Snapshot {
        id: "q7z1w7l2af4l8y7q1h7g2m3s".into(),
        created_at: Timestamp::default(),
        kind: SnapshotKind::Standby,
        size_bytes: 1,
        source_hypervisor: HypervisorKind::Qemu,
        source_instance_id: "a".into(),
        source_instance_name: "a".into(),
        compressed_size_bytes: all.then_some(1),
        compression: all.then(CompressionConfig::on),
        compression_error: all.then(|| "a".into()),
        compression_state: all.then_some(CompressionState::None),
        name: all.then(|| "a".into()),
        tags: all.then(|| BTreeMap::from([("a".into(), "b".into())])),
        uncompressed_size_bytes: all.then_some(1),
    }
}

fn instance(all: bool) -> Instance {
    Instance {
        id: "a".into(),
        name: "a".into(),
        hypervisor: HypervisorKind::Qemu,
        state: InstanceState::Running,
        origin: Origin::Registered,
        created_at: Timestamp::default(),
        api_socket: all.then(|| "/a".into()),
        directory: all.then(|| "/a".into()),
        disks: vec![disk()],
        compression: all.then(CompressionConfig::on),
        generation: all.then_some(1),
        staging_directory: all.then(|| "/a".into()),
        staging_directory_in_vmm: all.then(|| "/a".into()),
    }
}

fn disk() -> Disk {
    Disk { path: "/a".into(), readonly: true }
}

fn inspection(all: bool) -> Inspection {
    Inspection {
        snapshot: snapshot(all),
        files: vec![file()],
        allocated_bytes: 1,
        generation: 1,
        capture: all.then(|| capture(all)),
    }
}

fn file() -> PayloadFile {
    PayloadFile { path: "a".into(), size_bytes: 1, allocated_bytes: 1 }
}

fn capture(all: bool) -> Capture {
    Capture {
        source_state: "Running".into(),
        paused_ms: all.then_some(0.5),
        saving_memory_ms: all.then_some(0.5),
        copying_disks_ms: all.then_some(0.5),
        hypervisor_version: all.then(|| "a".into()),
        memory_format: all.then(|| "raw".into()),
        memory_file: all.then(|| "a".into()),
        state_format: all.then(|| "a".into()),
        host: Host::default(),
        libhypeman_version: hypeman_core::VERSION.into(),
    }
}

fn extent() -> MemoryExtent {
    MemoryExtent { offset: 1, size_bytes: 1, kind: ExtentKind::Data }
}

fn range() -> MemoryRange {
    MemoryRange { guest_address: 1, offset: 1, size_bytes: 1 }
}

fn metrics(all: bool) -> PagerMetrics {
    PagerMetrics { last_error: all.then(|| "a".into()), ..PagerMetrics::default() }
}

fn report() -> VerifyReport {
    VerifyReport { snapshot_id: "a".into(), files: vec![verified_file()], defects: vec![defect(true)] }
}

fn verified_file() -> VerifiedFile {
    VerifiedFile { path: "a".into(), size_bytes: 1, status: FileStatus::Good }
}

fn defect(all: bool) -> Defect {
    Defect {
        path: "a".into(),
        kind: DefectKind::Content,
        offset: all.then_some(1),
        size_bytes: all.then_some(1),
        message: "a".into(),
    }
}
