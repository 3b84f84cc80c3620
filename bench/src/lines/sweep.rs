//! Throughput and page latency from level to level, and so from frame size to frame size: what the plot shows.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::page;
use crate::Result;
use crate::images::{Content, Zeros};
use crate::random::Random;
use crate::samples::{median, quantile};
use crate::scene::Scene;
use crate::stage::Codec;

const PAGES: usize = 2000;

/// What one level comes to.
pub struct Point {
    /// The level.
    pub codec: Codec,
    /// Memory in a frame, as the file says.
    pub frame_bytes: u64,
    /// Memory in, per second, with the check of what was written.
    pub compress_mb_s: f64,
    /// Memory out, per second.
    pub decode_mb_s: f64,
    /// Compressed size, as a part of the memory.
    pub size: f64,
    /// The median page.
    pub page_p50_us: f64,
    /// The slow page.
    pub page_p99_us: f64,
}

/// Measures every level that the plot shows, on the part of the busy guest that is not zero.
pub fn sweep(scene: &mut Scene) -> Result<Vec<Point>> {
    let zstd: &[i64] = if scene.options.quick { &[1, 3, 4, 9] } else { &[1, 2, 3, 4, 6, 9, 10, 15, 19] };
    let lz4: &[i64] = if scene.options.quick { &[0, 9] } else { &[0, 2, 3, 6, 9] };
    let zstd = zstd.iter().map(|level| Codec { algorithm: "zstd", level: *level });
    let lz4 = lz4.iter().map(|level| Codec { algorithm: "lz4", level: *level });
    zstd.chain(lz4).map(|codec| point(scene, codec)).collect()
}

fn point(scene: &mut Scene, codec: Codec) -> Result<Point> {
    let stage = scene.stage(Content::Slice, Zeros::Written)?;
    let id = stage.capture()?;
    let cost = stage.compress(&id, codec)?;
    let image = stage.hm.snapshots().memory(&id)?;
    let megabytes = image.size_bytes() as f64 / 1e6;
    let offsets = page::offsets(&image, &mut Random::new(5), PAGES)?;
    let pages_us = page::page_times_us(&image, &offsets)?;
    let compressed = File::open(stage.compressed(&id, codec))?;
    let point = Point {
        codec,
        frame_bytes: frame_bytes(stage.compressed(&id, codec).as_path(), codec)?,
        compress_mb_s: megabytes / cost.wall.as_secs_f64(),
        decode_mb_s: megabytes / page::decode_seconds(&image)?,
        size: compressed.metadata()?.len() as f64 / image.size_bytes() as f64,
        page_p50_us: median(&pages_us),
        page_p99_us: quantile(&pages_us, 0.99),
    };
    drop(image);
    stage.hm.snapshots().delete(&id)?;
    println!(
        "{:<5} {:>2}: frames of {:>4} KiB, compress {:>6.0} MB/s, decode {:>6.0} MB/s, size {:>4.1} %, page {:>6.1} us (p99 {:>6.1})",
        codec.algorithm,
        codec.level,
        point.frame_bytes >> 10,
        point.compress_mb_s,
        point.decode_mb_s,
        point.size * 100.0,
        point.page_p50_us,
        point.page_p99_us,
    );
    Ok(point)
}

/// Memory in most frames of a file, by the standard parts of its format.
fn frame_bytes(path: &Path, codec: Codec) -> Result<u64> {
    let file = File::open(path)?;
    match codec.algorithm {
        "zstd" => zstd_frame_bytes(&file),
        _ => lz4_block_bytes(&file),
    }
}

/// From the seek table at the end of the file: the median of its frames, since zeros make longer ones.
fn zstd_frame_bytes(file: &File) -> Result<u64> {
    const FOOTER_BYTES: u64 = 9;
    let end = file.metadata()?.len();
    let mut footer = [0; FOOTER_BYTES as usize];
    file.read_exact_at(&mut footer, end - FOOTER_BYTES)?;
    let [n0, n1, n2, n3, descriptor, magic @ ..] = footer;
    if u32::from_le_bytes(magic) != 0x8F92_EAB1 {
        return Err("the file has no seek table".into());
    }
    let frames = u64::from(u32::from_le_bytes([n0, n1, n2, n3]));
    let entry_bytes = if descriptor & 0x80 == 0 { 8 } else { 12 };
    let mut table = vec![0; (frames * entry_bytes) as usize];
    file.read_exact_at(&mut table, end - FOOTER_BYTES - frames * entry_bytes)?;
    let mut sizes: Vec<u32> = table
        .chunks_exact(entry_bytes as usize)
        .map(|entry| u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]))
        .collect();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).map(|size| u64::from(*size)).ok_or_else(|| "the file has no frames".into())
}

/// From the header of the lz4 frame that follows whatever can be skipped.
fn lz4_block_bytes(file: &File) -> Result<u64> {
    let mut at = 0;
    loop {
        let mut head = [0; 8];
        file.read_exact_at(&mut head, at)?;
        let [m0, m1, m2, m3, a, b, c, d] = head;
        match u32::from_le_bytes([m0, m1, m2, m3]) {
            0x184D_2204 => return Ok(1 << (8 + 2 * (b >> 4 & 7))),
            0x184D_2A50..=0x184D_2A5F => at += 8 + u64::from(u32::from_le_bytes([a, b, c, d])),
            other => return Err(format!("{other:#x} is no lz4 frame").into()),
        }
    }
}
