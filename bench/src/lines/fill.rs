//! Filling all of a guest, through `snapshots.serve_memory`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use hypeman_core::{Call, ServeMemory};

use super::compress::ZSTD_1;
use crate::Result;
use crate::bare;
use crate::guest::Guest;
use crate::images::{Content, Zeros};
use crate::peer::{Cost, ours};
use crate::samples::Samples;
use crate::scene::Scene;

/// What the peer reads at once.
const PIECE_BYTES: usize = 2 << 20;

/// What is told of a fill: seconds on the clock, or those of all CPUs together, which other programs blur less.
#[derive(Clone, Copy)]
pub enum Seconds {
    Wall,
    Cpu,
}

impl Seconds {
    fn of(self, cost: Cost) -> f64 {
        match self {
            Self::Wall => cost.wall.as_secs_f64(),
            Self::Cpu => cost.cpu.as_secs_f64(),
        }
    }
}

/// Filling a whole guest with two threads, against one that copies the raw file in pieces of 2 MiB.
pub fn fill(scene: &mut Scene, content: Content, seconds: Seconds) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(content, Zeros::Written)?;
    let id = stage.compressed_snapshot(ZSTD_1.0)?;
    let raw = File::open(stage.memory())?;
    let bytes = raw.metadata()?.len();
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let request = ServeMemory { fill: true, prefetch: false, ..ServeMemory::default() };
        let pager = stage.hm.snapshots().serve_memory(&id, &request)?;
        let mut guest = Guest::new(bytes)?;
        let filled = ours(|| {
            guest.connect(pager.socket())?;
            Ok(pager.wait(Call::default())?)
        })?;
        samples.ours.push(seconds.of(filled));
        drop(guest);

        samples.peer.push(seconds.of(copy_in(&raw, bytes)?));
    }
    Ok(samples)
}

/// What the codec and the kernel take alone, from memory into a guest that gets no page of zeros, against the same; seconds.
pub fn bare_fill(scene: &mut Scene, content: Content) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(content, Zeros::Written)?;
    let frames = stage.frames(ZSTD_1.0)?;
    let raw = File::open(stage.memory())?;
    let bytes = raw.metadata()?.len();
    let mut samples = Samples::default();
    for _ in 0..rounds {
        samples.ours.push(Seconds::Wall.of(bare::fill(&frames)?));
        samples.peer.push(Seconds::Wall.of(copy_in(&raw, bytes)?));
    }
    Ok(samples)
}

/// The peer of a fill: a raw file, in pieces of 2 MiB, by one thread.
fn copy_in(raw: &File, bytes: u64) -> Result<Cost> {
    let guest = Guest::new(bytes)?;
    let mut piece = vec![0; PIECE_BYTES];
    ours(|| {
        for at in (0..bytes).step_by(piece.len()) {
            let part = piece.len().min((bytes - at) as usize);
            raw.read_exact_at(&mut piece[..part], at)?;
            guest.install(at, &piece[..part])?;
        }
        Ok(())
    })
}
