//! Plays a conformance case through the Rust API. `../README.md` is the protocol.

mod opened;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Disk, Duplicates, Durability, Error, ForkSnapshot, Hypeman,
    InstanceState, Options, RegisterInstance, RestoreSnapshot, Snapshot, SnapshotFilter,
};
use opened::Opened;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

type Arguments = Map<String, Value>;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(case), Some(data), Some(work)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: conformance-runner CASE.json DATA_DIR WORK_DIR"));
    };
    let text = std::fs::read_to_string(case)?.replace("${work}", &work).replace("${data}", &data);
    let case: Value = serde_json::from_str(&text)?;
    match Hypeman::open_with(&data, options(case["options"].as_object())) {
        Ok(hm) => play(&hm, case["steps"].as_array().map_or(&[], Vec::as_slice)),
        Err(e) => print(&error(&e)),
    }
}

fn play(hm: &Hypeman, steps: &[Value]) -> io::Result<()> {
    let mut saved = BTreeMap::new();
    let mut opened = Opened::default();
    for step in steps {
        let name = step["call"].as_str().unwrap_or_default();
        let args = step["args"].as_object().cloned().unwrap_or_default();
        let args = Args(args.into_iter().map(|(k, v)| (k, expand(v, &saved))).collect());
        let answer = match opened.call(hm, name, &args, step["save"].as_str()) {
            Some(answer) => answer,
            None => call(hm, name, &args),
        };
        if let (Ok(result), Some(name)) = (&answer, step["save"].as_str()) {
            saved.insert(name.to_owned(), result.clone());
        }
        print(&answer.map_or_else(|e| error(&e), |result| json!({"ok": result})))?;
    }
    Ok(())
}

fn call(hm: &Hypeman, name: &str, args: &Args) -> Result<Value, Error> {
    let (instances, snapshots) = (hm.instances(), hm.snapshots());
    let id = || args.text("id").unwrap_or_default();
    match name {
        "instances.register" => instances.register(&args.registration()).map(json),
        "instances.get" => instances.get(&id()).map(json),
        "instances.list" => instances.list().map(json),
        "instances.unregister" => instances.unregister(&id()).map(json),
        "instances.snapshots.create" => {
            instances.snapshots().create(&id(), &args.creation(), args.limit()).map(json)
        }
        "instances.snapshots.restore" => {
            let snapshot_id = args.text("snapshot_id").unwrap_or_default();
            instances.snapshots().restore(&snapshot_id, &id(), &args.restoration()?, args.limit()).map(json)
        }
        "snapshots.fork" => snapshots.fork(&id(), &args.forking()?, args.limit()).map(json),
        "snapshots.list" => snapshots
            .list(&args.filter())
            .map(|found| json(found.iter().map(AsRef::as_ref).collect::<Vec<&Snapshot>>())),
        "snapshots.get" => snapshots.get(&id()).map(json),
        "snapshots.delete" => snapshots.delete(&id()).map(json),
        "snapshots.wait" => snapshots.wait(&id(), args.limit()).map(json),
        "snapshots.verify" => snapshots.verify(&id(), args.limit()).map(json),
        "snapshots.compress" => {
            snapshots.compress(&id(), args.get::<CompressionConfig>("compression").as_ref()).map(json)
        }
        "snapshots.cancel_compression" => snapshots.cancel_compression(&id()).map(json),
        "snapshots.inspect" => snapshots.inspect(&id()).map(json),
        "finish" => hm.finish(args.limit()).map(json),
        "close" => {
            hm.close();
            Ok(Value::Null)
        }
        other => panic!("no such call: {other}"),
    }
}

/// The arguments of a step. One that is left out stays out of the call.
struct Args(Arguments);

impl Args {
    fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let value = self.0.get(name)?.clone();
        Some(serde_json::from_value(value).unwrap_or_else(|e| panic!("argument {name}: {e}")))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name)
    }

    fn limit(&self) -> Call<'static> {
        self.get("timeout_ms")
            .map_or_else(Call::default, |ms| Call::default().timeout(Duration::from_millis(ms)))
    }

    fn registration(&self) -> RegisterInstance {
        RegisterInstance {
            id: self.get("id"),
            api_socket: self.get::<PathBuf>("api_socket"),
            directory: self.get::<PathBuf>("directory"),
            disks: self.get::<Vec<Disk>>("disks").unwrap_or_default(),
            compression: self.get("compression"),
            staging_directory: self.get("staging_directory"),
            staging_directory_in_vmm: self.get("staging_directory_in_vmm"),
            exclusive_snapshots: self.get("exclusive_snapshots").unwrap_or_default(),
            ..RegisterInstance::new(
                self.text("name").unwrap_or_default(),
                self.text("hypervisor").unwrap_or_default().as_str(),
            )
        }
    }

    fn creation(&self) -> CreateSnapshot {
        CreateSnapshot {
            name: self.get("name"),
            tags: self.get("tags"),
            compression: self.get("compression"),
            ..CreateSnapshot::new(self.text("kind").unwrap_or_default().into())
        }
    }

    fn restoration(&self) -> Result<RestoreSnapshot, Error> {
        let target_state = self.text("target_state").map(|name| InstanceState::parse(&name)).transpose()?;
        let duplicates = self.text("duplicates").map(|name| Duplicates::parse(&name)).transpose()?;
        let duplicates = duplicates.unwrap_or_default();
        Ok(RestoreSnapshot { target_state, duplicates, ..RestoreSnapshot::default() })
    }

    fn forking(&self) -> Result<ForkSnapshot, Error> {
        Ok(ForkSnapshot {
            name: self.text("name").unwrap_or_default(),
            directory: self.get("directory"),
            disks: self.get("disks").unwrap_or_default(),
            restore: self.restoration()?,
        })
    }

    fn filter(&self) -> SnapshotFilter {
        SnapshotFilter {
            kind: self.get("kind"),
            name: self.get("name"),
            source_instance_id: self.get("source_instance_id"),
            tags: self.get("tags").unwrap_or_default(),
        }
    }
}

fn options(options: Option<&Arguments>) -> Options {
    let options = Args(options.cloned().unwrap_or_default());
    Options {
        read_only: options.get("read_only").unwrap_or_default(),
        compression: options.get("compression"),
        durability: options.text("durability").map_or_else(Durability::default, |name| {
            Durability::parse(&name).unwrap_or_else(|e| panic!("{e}"))
        }),
        threads: options.get("threads"),
        ..Options::default()
    }
}

/// `value` with each `${name.field}` in its strings replaced by that field of a saved result.
fn expand(value: Value, saved: &BTreeMap<String, Value>) -> Value {
    match value {
        Value::String(mut text) => {
            for (name, result) in saved {
                for (field, value) in result.as_object().into_iter().flatten() {
                    if let Some(value) = value.as_str() {
                        text = text.replace(&format!("${{{name}.{field}}}"), value);
                    }
                }
            }
            Value::String(text)
        }
        Value::Array(items) => items.into_iter().map(|item| expand(item, saved)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, expand(value, saved))).collect(),
        other => other,
    }
}

fn json(result: impl Serialize) -> Value {
    serde_json::to_value(result).expect("every result is JSON")
}

fn error(error: &Error) -> Value {
    let mut body = Map::new();
    body.insert("code".into(), error.code().into());
    body.insert("message".into(), error.message().into());
    body.extend(error.id().map(|id| ("id".into(), id.into())));
    body.extend(error.path().map(|path| ("path".into(), path.to_string_lossy().into())));
    json!({"error": body})
}

fn print(line: &Value) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
