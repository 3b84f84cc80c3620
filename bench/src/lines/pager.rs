//! Serving memory page by page, through `snapshots.serve_memory`, to guests without a VMM.
//!
//! "Up" is a guest that has touched its first pages: what a VMM takes to start is the same for everyone and left out.
//! Latencies are what the touching thread sees, with that thread and those of the pager on CPU 0: on two CPUs of which
//! one sleeps, waking it would be most of what is measured. Files are in the page cache.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Instant;

use hypeman_core::ServeMemory;

use super::compress::ZSTD_1;
use super::page;
use crate::Result;
use crate::guest::{Guest, PAGE_BYTES, pinned};
use crate::images::{Content, Zeros, remove};
use crate::peer;
use crate::random::Random;
use crate::samples::{Samples, median, quantile};
use crate::scene::Scene;
use crate::stage::{Codec, Stage};

const CPU: u32 = 0;
const PAGES: usize = 2000;
/// Pages that a guest wants before it does anything that can be seen.
const FIRST_PAGES: usize = 16;
const MIB: u64 = 1 << 20;
/// What is faster than this was no fault.
const NO_FAULT_US: f64 = 1.0;

fn on_one_cpu() -> ServeMemory {
    ServeMemory { prefetch: false, cpus: vec![CPU], ..ServeMemory::default() }
}

/// Touches every page at `offsets`, whatever each takes.
fn touch_all(guest: &Guest, offsets: &[u64]) {
    for offset in offsets {
        guest.touch(*offset);
    }
}

/// The page faults of a guest that touches `offsets`, each once.
fn faults(stage: &Stage, id: &str, offsets: &[u64], request: &ServeMemory) -> Result<Vec<f64>> {
    let bytes = stage.hm.snapshots().memory(id)?.size_bytes();
    let pager = stage.hm.snapshots().serve_memory(id, request)?;
    let mut guest = Guest::new(bytes)?;
    guest.connect(pager.socket())?;
    let times = pinned(CPU, || Ok(offsets.iter().map(|offset| guest.touch(*offset)).collect::<Vec<_>>()))?;
    Ok(times.into_iter().filter(|us| *us >= NO_FAULT_US).collect())
}

/// A fault in a frame that is not decoded yet; microseconds, the median of a round.
pub fn fault(scene: &mut Scene, codec: Codec) -> Result<Samples> {
    fault_with(scene, codec, &on_one_cpu())
}

/// The same with the pager on another CPU, which it keeps awake.
pub fn fault_elsewhere(scene: &mut Scene, codec: Codec) -> Result<Samples> {
    fault_with(scene, codec, &ServeMemory { cpus: vec![CPU + 1], spin_us: 1000, ..on_one_cpu() })
}

fn fault_with(scene: &mut Scene, codec: Codec, request: &ServeMemory) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let (image, id) = (page::open(stage, codec)?, stage.compressed_snapshot(codec)?);
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        let offsets = page::offsets(&image, &mut Random::new(seed as u64), PAGES)?;
        samples.ours.push(median(&faults(stage, &id, &offsets, request)?));
    }
    Ok(samples)
}

/// A fault in a frame that another guest had decoded, against a fault that is served from a raw file.
pub fn second(scene: &mut Scene) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let (image, id) = (page::open(stage, ZSTD_1.0)?, stage.compressed_snapshot(ZSTD_1.0)?);
    let raw = stage.capture()?;
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        // The frames of all of them fit into the cache.
        let offsets = page::offsets(&image, &mut Random::new(seed as u64), 500)?;
        let pager = stage.hm.snapshots().serve_memory(&id, &on_one_cpu())?;
        let [mut first, mut second] = [Guest::new(image.size_bytes())?, Guest::new(image.size_bytes())?];
        first.connect(pager.socket())?;
        second.connect(pager.socket())?;
        let times = pinned(CPU, || {
            touch_all(&first, &offsets);
            Ok(offsets
                .iter()
                .map(|offset| second.touch(*offset))
                .filter(|us| *us >= NO_FAULT_US)
                .collect::<Vec<_>>())
        })?;
        samples.ours.push(median(&times));
        samples.peer.push(median(&faults(stage, &raw, &offsets, &on_one_cpu())?));
    }
    Ok(samples)
}

/// The 99th percentile of faults while the rest is filled in the background, against those without.
pub fn during_fill(scene: &mut Scene) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let (image, id) = (page::open(stage, ZSTD_1.0)?, stage.compressed_snapshot(ZSTD_1.0)?);
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        let offsets = page::offsets(&image, &mut Random::new(seed as u64), PAGES)?;
        let filled = ServeMemory { fill: true, prefetch: false, ..ServeMemory::default() };
        let alone = ServeMemory { fill: false, ..filled.clone() };
        samples.ours.push(quantile(&faults(stage, &id, &offsets, &filled)?, 0.99));
        samples.peer.push(quantile(&faults(stage, &id, &offsets, &alone)?, 0.99));
    }
    Ok(samples)
}

/// From the call to a guest that has its first pages; seconds.
fn up(stage: &Stage, id: &str, bytes: u64, offsets: &[u64]) -> Result<f64> {
    let mut guest = Guest::new(bytes)?;
    let start = Instant::now();
    let pager =
        stage.hm.snapshots().serve_memory(id, &ServeMemory { prefetch: false, ..ServeMemory::default() })?;
    guest.connect(pager.socket())?;
    touch_all(&guest, offsets);
    Ok(start.elapsed().as_secs_f64())
}

/// A guest that is up from a compressed image, against decompressing all of it first, with the stock tool; seconds.
pub fn restore(scene: &mut Scene) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let (image, id) = (page::open(stage, ZSTD_1.0)?, stage.compressed_snapshot(ZSTD_1.0)?);
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        let offsets = page::offsets(&image, &mut Random::new(seed as u64), FIRST_PAGES)?;
        samples.ours.push(up(stage, &id, image.size_bytes(), &offsets)?);
        samples.peer.push(whole_file(stage, &id, image.size_bytes(), &offsets)?);
    }
    Ok(samples)
}

/// The vendor's way: the whole file first, then the guest's pages from that.
fn whole_file(stage: &Stage, id: &str, bytes: u64, offsets: &[u64]) -> Result<f64> {
    let out = stage.output()?;
    let guest = Guest::new(bytes)?;
    let start = Instant::now();
    peer::run(
        Command::new("zstd").args(["-q", "-d", "-f", "-o"]).arg(&out).arg(stage.compressed(id, ZSTD_1.0)),
    )?;
    let raw = File::open(&out)?;
    let mut memory = vec![0; PAGE_BYTES as usize];
    for offset in offsets {
        raw.read_exact_at(&mut memory, *offset)?;
        // A page may come up twice.
        let _ = guest.install(*offset, &memory);
    }
    let took = start.elapsed().as_secs_f64();
    remove(&out)?;
    Ok(took)
}

/// Ten guests that are up from one pager, against ten whole files one after the other; seconds.
pub fn forks(scene: &mut Scene) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let (image, id) = (page::open(stage, ZSTD_1.0)?, stage.compressed_snapshot(ZSTD_1.0)?);
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        let offsets = page::offsets(&image, &mut Random::new(seed as u64), FIRST_PAGES)?;
        let mut guests = (0..10).map(|_| Guest::new(image.size_bytes())).collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        let pager = stage
            .hm
            .snapshots()
            .serve_memory(&id, &ServeMemory { prefetch: false, ..ServeMemory::default() })?;
        for guest in &mut guests {
            guest.connect(pager.socket())?;
        }
        std::thread::scope(|scope| {
            for guest in &guests {
                let offsets = &offsets;
                scope.spawn(move || touch_all(guest, offsets));
            }
        });
        samples.ours.push(start.elapsed().as_secs_f64());
        drop(guests);
        let mut peer = 0.0;
        for _ in 0..10 {
            peer += whole_file(stage, &id, image.size_bytes(), &offsets)?;
        }
        samples.peer.push(peer);
    }
    Ok(samples)
}

/// A guest of 4 GiB that is up, against one of 256 MiB; both mostly zeros. Seconds.
pub fn sizes(scene: &mut Scene) -> Result<Samples> {
    let rounds = scene.options.rounds() * 20;
    let large = if scene.options.quick { 1 << 30 } else { 4 << 30 };
    let [one, other] = [("large", large), ("small", 256 * MIB)].map(|(name, bytes)| -> Result<_> {
        let directory = scene.directory(name)?;
        let stage = Stage::with_memory(&directory, |memory| mostly_zeros(memory, bytes))?;
        let id = stage.compressed_snapshot(ZSTD_1.0)?;
        Ok((stage, id, bytes))
    });
    let (one, other) = (one?, other?);
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        for ((stage, id, bytes), into) in [(&one, &mut samples.ours), (&other, &mut samples.peer)] {
            let image = page::open(stage, ZSTD_1.0)?;
            let offsets = page::offsets(&image, &mut Random::new(seed as u64), FIRST_PAGES)?;
            into.push(up(stage, id, *bytes, &offsets)?);
        }
    }
    Ok(samples)
}

/// A sixteenth of the memory is noise and text, a MiB here and there.
fn mostly_zeros(path: &std::path::Path, bytes: u64) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(bytes)?;
    let mut random = Random::new(7);
    for at in (0..bytes).step_by(16 * MIB as usize) {
        let data: Vec<u8> =
            (0..MIB).map(|byte| if byte % 8 < 3 { random.below(256) as u8 } else { 7 }).collect();
        file.write_all_at(&data, at)?;
    }
    Ok(())
}

/// The second guest that wants the same pages, against the first; seconds from the call to the last of them.
pub fn prefetch(scene: &mut Scene) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let image = page::open(stage, ZSTD_1.0)?;
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        let offsets = page::offsets(&image, &mut Random::new(seed as u64), PAGES)?;
        // A snapshot of its own, which knows nothing yet.
        let id = stage.capture()?;
        stage.compress(&id, ZSTD_1.0)?;
        let run = || -> Result<f64> {
            let mut guest = Guest::new(image.size_bytes())?;
            let start = Instant::now();
            let pager = stage.hm.snapshots().serve_memory(&id, &ServeMemory::default())?;
            guest.connect(pager.socket())?;
            touch_all(&guest, &offsets);
            let took = start.elapsed().as_secs_f64();
            pager.stop()?;
            Ok(took)
        };
        let first = run()?;
        let second = run()?;
        samples.ours.push(second);
        samples.peer.push(first);
        stage.hm.snapshots().delete(&id)?;
    }
    Ok(samples)
}
