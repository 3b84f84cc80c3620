//! What steps of a case have opened: memory images and pagers, by the name under which they were saved.

use std::collections::BTreeMap;
use std::fmt::Write;

use hypeman_core::{Error, Hypeman, MemoryImage, Pager, ServeMemory};
use serde_json::{Value, json as object};

use super::{Args, json};

#[derive(Default)]
pub struct Opened {
    images: BTreeMap<String, MemoryImage>,
    pagers: BTreeMap<String, Pager>,
}

impl Opened {
    /// Plays a call that opens something, which is kept as `save`, or that is made on what was opened. `None` for others.
    pub fn call(
        &mut self,
        hm: &Hypeman,
        name: &str,
        args: &Args,
        save: Option<&str>,
    ) -> Option<Result<Value, Error>> {
        let id = args.text("id").unwrap_or_default();
        let of = args.text("of").unwrap_or_default();
        let save = save.unwrap_or_default().to_owned();
        Some(match name {
            "snapshots.memory" => hm.snapshots().memory(&id).map(|image| {
                let told = object!({
                    "snapshot_id": image.snapshot_id(),
                    "path": image.path(),
                    "size_bytes": image.size_bytes(),
                });
                self.images.insert(save, image);
                told
            }),
            "memory.read_at" => read_at(&self.images[&of], args),
            "memory.extents" => self.images[&of].extents().map(json),
            "memory.ranges" => self.images[&of].ranges().map(json),
            "memory.close" => {
                self.images.remove(&of);
                Ok(Value::Null)
            }
            "snapshots.serve_memory" => hm.snapshots().serve_memory(&id, &service(args)).map(|pager| {
                let told = object!({"snapshot_id": pager.snapshot_id(), "socket": pager.socket()});
                self.pagers.insert(save, pager);
                told
            }),
            "pager.metrics" => self.pagers[&of].metrics().map(json),
            "pager.wait" => self.pagers[&of].wait(args.limit()).map(json),
            "pager.stop" => self.pagers[&of].stop().map(json),
            _ => return None,
        })
    }
}

/// What was read, in hexadecimal digits.
fn read_at(image: &MemoryImage, args: &Args) -> Result<Value, Error> {
    let mut buffer = vec![0; args.get("length").unwrap_or_default()];
    let count = image.read_at(args.get("offset").unwrap_or_default(), &mut buffer)?;
    let mut text = String::new();
    for byte in &buffer[..count] {
        write!(text, "{byte:02x}").expect("a string takes it");
    }
    Ok(text.into())
}

fn service(args: &Args) -> ServeMemory {
    let default = ServeMemory::default();
    ServeMemory {
        socket: args.get("socket"),
        cache_bytes: args.get("cache_bytes").unwrap_or(default.cache_bytes),
        prefetch: args.get("prefetch").unwrap_or(default.prefetch),
        fill: args.get("fill").unwrap_or(default.fill),
        spin_us: args.get("spin_us").unwrap_or(default.spin_us),
        cpus: args.get("cpus").unwrap_or(default.cpus),
    }
}
