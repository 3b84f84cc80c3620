//! Decompression to a sparse raw file.
//!
//! Ours is `instances.snapshots.restore` to Standby: it decodes and checks every frame on all CPUs into a new
//! instance directory, flushes it, and exchanges it with the live one under its journal. Peers decode what the stock
//! tool had compressed, or copy the raw file; `sync` flushes what they wrote. All read from the page cache.

use std::fs;
use std::path::Path;
use std::process::Command;

use hypeman_core::{Call, InstanceState, RestoreSnapshot};

use super::page;
use crate::Result;
use crate::bare;
use crate::images::{Content, Zeros};
use crate::peer;
use crate::samples::Samples;
use crate::scene::Scene;
use crate::stage::{Codec, Stage, VM};

/// Seconds, against `cp --sparse=never` of the raw file.
pub fn against_cp(scene: &mut Scene, codec: Codec) -> Result<Samples> {
    measure(scene, codec, |raw, _, output| {
        let mut command = Command::new("cp");
        command.args(["--sparse=never", "--reflink=never"]).arg(raw).arg(output);
        command
    })
}

/// Seconds that the codec and writing take alone, from memory into a file, against the same.
pub fn bare_against_cp(scene: &mut Scene, codec: Codec) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let frames = stage.frames(codec)?;
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let output = stage.output()?;
        let mut copy = Command::new("cp");
        copy.args(["--sparse=never", "--reflink=never"]).arg(stage.memory()).arg(&output);
        let mut peer = peer::run(&mut copy)?;
        peer += peer::run(Command::new("sync").arg(&output))?;
        samples.ours.push(bare::decompress(&frames, &stage.output()?)?.wall.as_secs_f64());
        samples.peer.push(peer.wall.as_secs_f64());
    }
    stage.output()?;
    Ok(samples)
}

/// Seconds, against the stock tool.
pub fn against_tool(scene: &mut Scene, codec: Codec) -> Result<Samples> {
    measure(scene, codec, |_, compressed, output| {
        let mut command = Command::new(compressed[0]);
        command.args(["-q", "-d", "-f"]).arg(compressed[1]);
        command.args((compressed[0] == "zstd").then_some("-o")).arg(output);
        command
    })
}

/// Seconds of CPU time to read, check and decode all of it and keep nothing, against the test of the stock tool: what the
/// proof at the end of a compression costs, but for comparing.
pub fn decode_cpu(scene: &mut Scene, codec: Codec) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let compressed = stage.file("stock");
    compress_with_tool(codec, &stage.memory(), &compressed)?;
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let image = page::open(stage, codec)?;
        let ours = peer::ours(|| page::decode_seconds(&image).map(|_| ()))?;
        let peer = peer::run(Command::new(codec.algorithm).args(["-q", "-t"]).arg(&compressed))?;
        samples.ours.push(ours.cpu.as_secs_f64());
        samples.peer.push(peer.cpu.as_secs_f64());
    }
    Ok(samples)
}

fn measure(scene: &mut Scene, codec: Codec, peer: fn(&Path, [&str; 2], &Path) -> Command) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let id = stage.compressed_snapshot(codec)?;
    // What is restored takes the place of the memory of the VM; the peer goes on reading the one of before.
    let raw = stage.file("raw");
    fs::hard_link(stage.memory(), &raw)?;
    let compressed = stage.file("stock");
    compress_with_tool(codec, &raw, &compressed)?;
    let compressed = compressed.to_str().ok_or("the directory to work in has no name in UTF-8")?;

    let mut samples = Samples::default();
    for number in 0..rounds {
        let output = stage.output()?;
        let mut command = peer(&raw, [codec.algorithm, compressed], &output);
        let mut peer = || {
            let mut cost = peer::run(&mut command)?;
            cost += peer::run(Command::new("sync").arg(&output))?;
            Ok::<_, Box<dyn std::error::Error>>(cost)
        };
        let (ours, peer) = if number.is_multiple_of(2) {
            let peer = peer()?;
            (restore(stage, &id)?, peer)
        } else {
            (restore(stage, &id)?, peer()?)
        };
        samples.ours.push(ours.wall.as_secs_f64());
        samples.peer.push(peer.wall.as_secs_f64());
    }
    stage.output()?;
    // The memory of the VM has holes now.
    scene.clear();
    Ok(samples)
}

fn restore(stage: &Stage, id: &str) -> Result<peer::Cost> {
    // Removing what was there is no part of decompression.
    fs::remove_file(stage.memory())?;
    let request =
        RestoreSnapshot { target_state: Some(InstanceState::Standby), ..RestoreSnapshot::default() };
    peer::ours(|| {
        stage.hm.instances().snapshots().restore(id, VM, &request, Call::default())?;
        Ok(())
    })
}

fn compress_with_tool(codec: Codec, from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new(codec.algorithm);
    command.args(["-q", "-f", "-1"]).arg(from);
    command.args((codec.algorithm == "zstd").then_some("-o")).arg(to);
    peer::run(&mut command).map(|_| ())
}
