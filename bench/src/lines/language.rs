//! `snapshots.get` in a language, against the same JSON from a server on loopback, parsed. Each side is timed inside
//! the language, by its own clock; microseconds, the median of a round.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::catalogue::Many;
use crate::options::root;
use crate::samples::Samples;
use crate::scene::Scene;
use crate::{Result, http, peer};

/// Snapshots in the store; a server usually holds more, and is not the slower for it here.
const SNAPSHOTS: usize = 1000;

#[derive(Deserialize)]
struct Said {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

/// In Python, with the package of `.venv`.
pub fn python(scene: &mut Scene) -> Result<Samples> {
    get(scene, &root().join(".venv/bin/python"), "get.py")
}

/// In Node, with the addon beside its binding.
pub fn node(scene: &mut Scene) -> Result<Samples> {
    get(scene, Path::new("node"), "get.js")
}

fn get(scene: &Scene, program: &Path, script: &str) -> Result<Samples> {
    let many = Many::new(scene, SNAPSHOTS)?;
    let id = many.ids.last().ok_or("there is no snapshot")?;
    let json = serde_json::to_vec(&many.hm.snapshots().get(id)?)?;
    let address = http::serve(HashMap::from([(format!("/snapshots/{id}"), json)]))?;
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("languages").join(script);
    let said = peer::read(
        Command::new(program)
            .arg(script)
            .arg(many.hm.data_dir())
            .arg(id)
            .arg(address.to_string())
            .arg(scene.options.rounds().to_string()),
    )
    .map_err(|error| format!("{error}\n(cargo xtask setup builds the bindings)"))?;
    let Said { ours, peer } = serde_json::from_str(&said)?;
    Ok(Samples { ours, peer })
}
