//! One page of a compressed image, through `snapshots.memory`.
//!
//! Pages are taken at random from the extents that hold data; nearly every one is in a frame that is not decoded yet.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use hypeman_core::{ExtentKind, MemoryImage};

use crate::Result;
use crate::images::{Content, Zeros};
use crate::random::Random;
use crate::samples::{Samples, median};
use crate::scene::Scene;
use crate::stage::{Codec, Stage};

const PAGE_BYTES: u64 = 4096;
const PIECE_BYTES: u64 = 4 << 20;
const PAGES: usize = 3000;

/// A random page against a `pread` of the same bytes of the raw file; microseconds, the median of a round.
pub fn page(scene: &mut Scene, codec: Codec) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let image = open(stage, codec)?;
    let raw = File::open(stage.memory())?;
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        let offsets = offsets(&image, &mut Random::new(seed as u64), PAGES)?;
        samples.ours.push(median(&page_times_us(&image, &offsets)?));
        samples.peer.push(median(&times_us(&offsets, |offset, page| Ok(raw.read_exact_at(page, offset)?))?));
    }
    Ok(samples)
}

/// What the codec takes alone for the frame of a page, against the same `pread`; microseconds, the median of a round.
pub fn codec_page(scene: &mut Scene, codec: Codec) -> Result<Samples> {
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let (frames, image) = (stage.frames(codec)?, open(stage, codec)?);
    let raw = File::open(stage.memory())?;
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        let mut random = Random::new(seed as u64);
        let offsets = offsets(&image, &mut random, PAGES)?;
        samples.ours.push(median(&frames.decode_some(PAGES, |count| random.below(count))?));
        samples.peer.push(median(&times_us(&offsets, |offset, page| Ok(raw.read_exact_at(page, offset)?))?));
    }
    Ok(samples)
}

/// `snapshots.memory` and its first page, against decoding the whole image on all CPUs in memory; seconds.
pub fn first_page(scene: &mut Scene, codec: Codec) -> Result<Samples> {
    const TIMES: usize = 100;
    let rounds = scene.options.rounds();
    let stage = scene.stage(Content::Busy, Zeros::Written)?;
    let id = stage.compressed_snapshot(codec)?;
    let mut samples = Samples::default();
    for seed in 1..=rounds {
        let offsets = offsets(&open(stage, codec)?, &mut Random::new(seed as u64), TIMES)?;
        let ours = times_us(&offsets, |offset, page| {
            stage.hm.snapshots().memory(&id)?.read_at(offset, page)?;
            Ok(())
        })?;
        samples.ours.push(median(&ours) / 1e6);
        samples.peer.push(decode_seconds(&open(stage, codec)?)?);
    }
    Ok(samples)
}

/// Opens the memory of the snapshot of `stage` that is compressed with `codec`.
pub fn open(stage: &Stage, codec: Codec) -> Result<MemoryImage> {
    let id = stage.compressed_snapshot(codec)?;
    let image = stage.hm.snapshots().memory(&id)?;
    // The raw file goes a moment after the compressed one is there.
    if image.path() == stage.compressed(&id, codec) { Ok(image) } else { Err("the raw file is read".into()) }
}

/// Offsets of random pages that hold data.
pub fn offsets(image: &MemoryImage, source: &mut Random, pages: usize) -> Result<Vec<u64>> {
    let mut data = image.extents()?;
    data.retain(|extent| extent.kind == ExtentKind::Data && extent.size_bytes >= PAGE_BYTES);
    let all = data.iter().map(|extent| extent.size_bytes / PAGE_BYTES).sum();
    let nth = |mut page: u64| {
        for extent in &data {
            let here = extent.size_bytes / PAGE_BYTES;
            if page < here {
                return extent.offset + page * PAGE_BYTES;
            }
            page -= here;
        }
        0
    };
    Ok((0..pages).map(|_| nth(source.below(all))).collect())
}

/// How long each of the pages at `offsets` takes, in microseconds.
pub fn page_times_us(image: &MemoryImage, offsets: &[u64]) -> Result<Vec<f64>> {
    times_us(offsets, |offset, page| match image.read_at(offset, page)? as u64 {
        PAGE_BYTES => Ok(()),
        short => Err(format!("{short} bytes instead of a page").into()),
    })
}

fn times_us(offsets: &[u64], read: impl Fn(u64, &mut [u8]) -> Result<()>) -> Result<Vec<f64>> {
    let mut page = vec![0; PAGE_BYTES as usize];
    let mut times = Vec::with_capacity(offsets.len());
    for offset in offsets {
        let start = Instant::now();
        read(*offset, &mut page)?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
        black_box(&page);
    }
    Ok(times)
}

/// Decodes the whole image on all CPUs, and keeps nothing of it: the least that comes before the first page where
/// pages cannot be had alone. In seconds.
pub fn decode_seconds(image: &MemoryImage) -> Result<f64> {
    let next = AtomicU64::new(0);
    let work = || -> hypeman_core::Result<()> {
        let mut piece = vec![0; PIECE_BYTES as usize];
        loop {
            let at = next.fetch_add(PIECE_BYTES, Ordering::Relaxed);
            if image.read_at(at, &mut piece)? == 0 {
                return Ok(());
            }
            black_box(&piece);
        }
    };
    let start = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread that decodes panicked")??;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    Ok(start.elapsed().as_secs_f64())
}
