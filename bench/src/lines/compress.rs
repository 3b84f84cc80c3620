//! Compression against the stock tool at the same level.
//!
//! Ours is `snapshots.compress` until `snapshots.wait` returns: it encodes with checksums, decodes frames and compares
//! them with their memory, reads back all it wrote, flushes it, rewrites the record and removes the raw file. The
//! peer encodes into a new file, which `sync` flushes; only in a line of `verified` is it also tested (`zstd -t`), as
//! ours always is. Both read the image from the page cache, and take turns in going first.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::bare;
use crate::images::{Content, Zeros};
use crate::peer::{self, Cost};
use crate::samples::Samples;
use crate::scene::Scene;
use crate::stage::{Codec, Stage};

/// What is compressed, how, and by which command of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Work {
    /// The image.
    pub content: Content,
    /// Whether it has holes.
    pub zeros: Zeros,
    /// Our codec.
    pub codec: Codec,
    /// The peer and its options.
    pub peer: &'static [&'static str],
    /// Whether the peer, too, has to show that what it wrote can be read.
    pub is_tested: bool,
}

/// One round of both.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    ours: Cost,
    peer: Cost,
    our_bytes: u64,
    peer_bytes: u64,
    /// The least that an engine does, where the codec is fast.
    bare: Option<Cost>,
}

impl Round {
    fn bare_seconds(&self, clock: fn(Cost) -> Duration) -> f64 {
        self.bare.map_or(f64::NAN, |cost| clock(cost).as_secs_f64())
    }
}

/// zstd at its default level against its command.
pub const ZSTD_1: (Codec, &[&str]) = (Codec { algorithm: "zstd", level: 1 }, &["zstd", "-q", "-f", "-1"]);
/// The same against the command on all CPUs.
pub const ZSTD_1_MT: (Codec, &[&str]) =
    (Codec { algorithm: "zstd", level: 1 }, &["zstd", "-q", "-f", "-1", "-T0"]);
/// zstd at level 3.
pub const ZSTD_3: (Codec, &[&str]) = (Codec { algorithm: "zstd", level: 3 }, &["zstd", "-q", "-f", "-3"]);
/// zstd at level 9.
pub const ZSTD_9: (Codec, &[&str]) = (Codec { algorithm: "zstd", level: 9 }, &["zstd", "-q", "-f", "-9"]);
/// lz4 at its default level.
pub const LZ4_0: (Codec, &[&str]) = (Codec { algorithm: "lz4", level: 0 }, &["lz4", "-q", "-f", "--fast=1"]);
/// lz4 at its highest level that the vendor allows.
pub const LZ4_9: (Codec, &[&str]) = (Codec { algorithm: "lz4", level: 9 }, &["lz4", "-q", "-f", "-9"]);

/// Seconds from start to end.
pub fn wall(
    scene: &mut Scene,
    image: (Content, Zeros),
    codec: (Codec, &'static [&'static str]),
) -> Result<Samples> {
    samples(scene, image, codec, false, |round| {
        (round.ours.wall.as_secs_f64(), round.peer.wall.as_secs_f64())
    })
}

/// Seconds from start to end, where the peer tests what it wrote.
pub fn verified(
    scene: &mut Scene,
    image: (Content, Zeros),
    codec: (Codec, &'static [&'static str]),
) -> Result<Samples> {
    samples(scene, image, codec, true, |round| (round.ours.wall.as_secs_f64(), round.peer.wall.as_secs_f64()))
}

/// Seconds of CPU time of all threads.
pub fn cpu(
    scene: &mut Scene,
    image: (Content, Zeros),
    codec: (Codec, &'static [&'static str]),
) -> Result<Samples> {
    samples(scene, image, codec, false, |round| (round.ours.cpu.as_secs_f64(), round.peer.cpu.as_secs_f64()))
}

/// Bytes of the compressed file.
pub fn size(
    scene: &mut Scene,
    image: (Content, Zeros),
    codec: (Codec, &'static [&'static str]),
) -> Result<Samples> {
    samples(scene, image, codec, false, |round| (round.our_bytes as f64, round.peer_bytes as f64))
}

/// Seconds that reading, the codec and writing take alone, in the place of ours.
pub fn bare_wall(
    scene: &mut Scene,
    image: (Content, Zeros),
    codec: (Codec, &'static [&'static str]),
) -> Result<Samples> {
    samples(scene, image, codec, false, |round| {
        (round.bare_seconds(|cost| cost.wall), round.peer.wall.as_secs_f64())
    })
}

/// The same in CPU time of all threads.
pub fn bare_cpu(
    scene: &mut Scene,
    image: (Content, Zeros),
    codec: (Codec, &'static [&'static str]),
) -> Result<Samples> {
    samples(scene, image, codec, false, |round| {
        (round.bare_seconds(|cost| cost.cpu), round.peer.cpu.as_secs_f64())
    })
}

fn samples(
    scene: &mut Scene,
    (content, zeros): (Content, Zeros),
    (codec, peer): (Codec, &'static [&'static str]),
    is_tested: bool,
    figure: fn(&Round) -> (f64, f64),
) -> Result<Samples> {
    let work = Work { content, zeros, codec, peer, is_tested };
    if !scene.compressions.contains_key(&work) {
        let rounds = scene.options.rounds_of(codec.level);
        let stage = scene.stage(content, zeros)?;
        let measured = (0..rounds).map(|number| round(stage, &work, number)).collect::<Result<Vec<_>>>()?;
        scene.compressions.insert(work, measured);
    }
    let (ours, peer) = scene.compressions[&work].iter().map(figure).unzip();
    Ok(Samples { ours, peer })
}

fn round(stage: &Stage, work: &Work, number: usize) -> Result<Round> {
    let id = stage.capture()?;
    let output = stage.output()?;
    let ours = || stage.compress(&id, work.codec);
    let peer = || {
        let mut command = Command::new(work.peer[0]);
        command.args(&work.peer[1..]).arg(stage.memory());
        // zstd wants to be told what is an output.
        command.args((work.codec.algorithm == "zstd").then_some("-o")).arg(&output);
        let mut cost = peer::run(&mut command)?;
        if work.is_tested {
            cost += peer::run(Command::new(work.peer[0]).args(["-q", "-t"]).arg(&output))?;
        }
        cost += peer::run(Command::new("sync").arg(&output))?;
        Ok::<_, Box<dyn std::error::Error>>(cost)
    };
    let (ours, peer) = if number.is_multiple_of(2) {
        let peer = peer()?;
        (ours()?, peer)
    } else {
        (ours()?, peer()?)
    };
    let is_fast = work.codec.level <= 1 && !work.is_tested;
    let our_bytes = fs::metadata(stage.compressed(&id, work.codec))?.len();
    let peer_bytes = fs::metadata(&output)?.len();
    let bare = || bare::compress(&stage.memory(), &stage.output()?, work.codec);
    let bare = if is_fast { Some(bare()?) } else { None };
    stage.hm.snapshots().delete(&id)?;
    stage.output()?;
    Ok(Round { ours, peer, our_bytes, peer_bytes, bare })
}
