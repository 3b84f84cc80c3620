//! Finding snapshots among many, against reading and parsing their records, as the vendor does.
//!
//! The records are of the vendor's shape and about 2.4 kB each. The peer is Rust with serde_json, which is faster
//! than the vendor's Go.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use hypeman_core::{Hypeman, SnapshotFilter};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Result;
use crate::random::Random;
use crate::samples::{Samples, median};
use crate::scene::Scene;

const NEEDLE: &str = "the-needle";
/// After this, the time of a file tells of every change.
const SETTLES: Duration = Duration::from_millis(200);

/// A record, as whoever reads it whole parses it.
#[derive(Deserialize)]
struct Record {
    snapshot: Value,
    #[serde(rename = "stored_metadata")]
    _stored_metadata: Value,
}

/// A store of many snapshots without payloads.
pub struct Many {
    /// The store.
    pub hm: Hypeman,
    /// Ids that can be asked for.
    pub ids: Vec<String>,
}

/// `list` of everything, the catalogue in memory, against every record; seconds.
pub fn list(scene: &mut Scene, snapshots: usize) -> Result<Samples> {
    let many = Many::new(scene, snapshots)?;
    let everything = SnapshotFilter::default();
    many.hm.snapshots().list(&everything)?;
    rounds(
        scene,
        || Ok(many.hm.snapshots().list(&everything)?.len()),
        || Ok(read_all(&many, |_| true)?.len()),
    )
}

/// `open` and the first `list`, which fills the catalogue, against every record; seconds.
pub fn first_list(scene: &mut Scene, snapshots: usize) -> Result<Samples> {
    let many = Many::new(scene, snapshots)?;
    rounds(
        scene,
        || Ok(Hypeman::open(many.hm.data_dir())?.snapshots().list(&SnapshotFilter::default())?.len()),
        || Ok(read_all(&many, |_| true)?.len()),
    )
}

/// `list` of the one snapshot with a name, against every record; seconds.
pub fn list_filtered(scene: &mut Scene, snapshots: usize) -> Result<Samples> {
    let many = Many::new(scene, snapshots)?;
    let filter = SnapshotFilter { name: Some(NEEDLE.to_owned()), ..SnapshotFilter::default() };
    many.hm.snapshots().list(&filter)?;
    rounds(
        scene,
        || Ok(many.hm.snapshots().list(&filter)?.len()),
        || Ok(read_all(&many, |snapshot| snapshot["name"] == NEEDLE)?.len()),
    )
}

/// `get` of one at random, known from a `list`, against reading and parsing its record; microseconds, the median of a
/// round.
pub fn get(scene: &mut Scene, snapshots: usize) -> Result<Samples> {
    let many = Many::new(scene, snapshots)?;
    gets(scene, &many, || {
        let hm = Hypeman::open(many.hm.data_dir())?;
        hm.snapshots().list(&SnapshotFilter::default())?;
        Ok(hm)
    })
}

/// `get` of one at random by a handle that knows none, so that it reads and parses, too.
pub fn first_get(scene: &mut Scene, snapshots: usize) -> Result<Samples> {
    let many = Many::new(scene, snapshots)?;
    gets(scene, &many, || Ok(Hypeman::open(many.hm.data_dir())?))
}

fn gets(scene: &Scene, many: &Many, open: impl Fn() -> Result<Hypeman>) -> Result<Samples> {
    let mut source = Random::new(3);
    let mut samples = Samples::default();
    for _ in 0..scene.options.rounds() {
        let hm = open()?;
        let (mut ours_us, mut peer_us) = (Vec::new(), Vec::new());
        for _ in 0..5000 {
            let id = &many.ids[source.below(many.ids.len() as u64) as usize];
            // A record that was just looked at is cheaper to look at: so neither side always goes first.
            if source.below(2) == 0 {
                ours_us.push(timed(|| Ok(hm.snapshots().get(id)?))?.0);
                peer_us.push(timed(|| read_one(&many.directory().join(id)))?.0);
            } else {
                peer_us.push(timed(|| read_one(&many.directory().join(id)))?.0);
                ours_us.push(timed(|| Ok(hm.snapshots().get(id)?))?.0);
            }
        }
        samples.ours.push(median(&ours_us));
        samples.peer.push(median(&peer_us));
    }
    Ok(samples)
}

/// Runs `work` and returns how many microseconds it took, and its outcome.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let outcome = black_box(work()?);
    Ok((start.elapsed().as_secs_f64() * 1e6, outcome))
}

/// Times both, which have to find as many snapshots.
fn rounds(
    scene: &Scene,
    ours: impl Fn() -> Result<usize>,
    peer: impl Fn() -> Result<usize>,
) -> Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..scene.options.rounds() {
        let (ours_us, ours) = timed(&ours)?;
        let (peer_us, peer) = timed(&peer)?;
        samples.ours.push(ours_us / 1e6);
        samples.peer.push(peer_us / 1e6);
        if ours != peer {
            return Err(format!("we found {ours} snapshots and the peer {peer}").into());
        }
    }
    Ok(samples)
}

impl Many {
    /// Makes a store of `snapshots` records.
    pub fn new(scene: &Scene, snapshots: usize) -> Result<Self> {
        let data = scene.directory(&format!("many-{snapshots}"))?;
        let hm = Hypeman::open(&data)?;
        let ids: Vec<String> = (0..snapshots).map(|number| format!("s{number:023}")).collect();
        for (number, id) in ids.iter().enumerate() {
            let directory = data.join("snapshots").join(id);
            fs::create_dir(&directory)?;
            let name = if number == snapshots / 2 { NEEDLE.to_owned() } else { format!("nightly-{number}") };
            fs::write(
                directory.join("snapshot.json"),
                serde_json::to_vec_pretty(&record(id, &name, number))?,
            )?;
        }
        // A record that was written just now is read again by the next call, since a rewrite of it could bear the same time.
        thread::sleep(SETTLES);
        Ok(Self { hm, ids })
    }

    fn directory(&self) -> PathBuf {
        self.hm.data_dir().join("snapshots")
    }
}

fn record(id: &str, name: &str, number: usize) -> Value {
    let environment: serde_json::Map<_, _> = (0..24)
        .map(|i| (format!("SETTING_{i}"), json!(format!("/srv/instance/{number}/value-{i}"))))
        .collect();
    json!({
        "snapshot": {
            "id": id, "name": name, "kind": "Standby", "tags": {"team": format!("team-{}", number % 20)},
            "source_instance_id": format!("i{:023}", number % 500),
            "source_instance_name": format!("web-{}", number % 500),
            "SourceHypervisor": "qemu",
            "created_at": format!("2026-03-{:02}T{:02}:{:02}:{:02}Z", 1 + number / 86400 % 28, number / 3600 % 24, number / 60 % 60, number % 60),
            "size_bytes": 1_073_741_824_u64, "compression_state": "none",
        },
        "stored_metadata": {
            "Id": id, "Name": name, "Image": "docker.io/library/nginx:1.27", "Size": 1_073_741_824_u64,
            "Vcpus": 2, "Env": environment, "NetworkEnabled": true, "IP": "10.100.0.17",
            "CreatedAt": "2026-03-01T00:00:00Z", "HypervisorType": "qemu", "HypervisorVersion": "8.2.0",
        },
    })
}

/// Reads and parses one record.
fn read_one(directory: &Path) -> Result<Value> {
    let record: Record = serde_json::from_slice(&fs::read(directory.join("snapshot.json"))?)?;
    Ok(record.snapshot)
}

/// Reads and parses every record.
fn read_all(many: &Many, matches: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(many.directory())? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            let snapshot = read_one(&entry.path())?;
            if matches(&snapshot) {
                found.push(black_box(snapshot));
            }
        }
    }
    Ok(found)
}
