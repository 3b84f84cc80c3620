//! The codec alone, from memory into memory: what no engine around it can be faster than.
//!
//! The same memory in frames of the same length, on as many threads as there are CPUs; nothing is read, checked or written,
//! and frames of zeros are left out.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use zstd_safe::{CCtx, CParameter, DCtx};

use crate::Result;
use crate::peer::{Cost, ours};
use crate::stage::Codec;

/// Frames that a thread takes at a time.
const BATCH: usize = 8;
/// What core makes of memory at its fast levels.
const ZSTD_FRAME_BYTES: usize = 32 << 10;
const LZ4_FRAME_BYTES: usize = 64 << 10;

/// Memory in frames, each of them also encoded.
pub struct Frames {
    codec: Codec,
    raw: Vec<Vec<u8>>,
    encoded: Vec<Vec<u8>>,
}

impl Frames {
    /// The frames of the image at `path` that are not all zeros.
    pub fn of(path: &Path, codec: Codec) -> Result<Self> {
        let frame_bytes = if codec.algorithm == "zstd" { ZSTD_FRAME_BYTES } else { LZ4_FRAME_BYTES };
        let mut image = File::open(path)?;
        let mut raw = Vec::new();
        loop {
            let mut frame = Vec::with_capacity(frame_bytes);
            if image.by_ref().take(frame_bytes as u64).read_to_end(&mut frame)? == 0 {
                break;
            }
            if frame.iter().any(|byte| *byte != 0) {
                raw.push(frame);
            }
        }
        let mut encoder = Encoder::new(codec)?;
        let encoded = raw.iter().map(|frame| Ok(encoder.encode(frame)?.to_vec())).collect::<Result<_>>()?;
        Ok(Self { codec, raw, encoded })
    }

    /// Encodes all of them.
    pub fn encode(&self) -> Result<Cost> {
        self.on_all_cpus(|| {
            let mut encoder = Encoder::new(self.codec)?;
            Ok(move |number: usize| {
                black_box(encoder.encode(&self.raw[number])?);
                Ok(())
            })
        })
    }

    /// Decodes all of them.
    pub fn decode(&self) -> Result<Cost> {
        self.on_all_cpus(|| {
            let mut decoder = Decoder::new(self.codec)?;
            Ok(move |number: usize| decoder.decode(&self.encoded[number], self.raw[number].len()))
        })
    }

    /// Decodes `count` of them, one after the other, each of which `pick` takes from so many; how long each took, in
    /// microseconds.
    pub fn decode_some(&self, count: usize, mut pick: impl FnMut(u64) -> u64) -> Result<Vec<f64>> {
        let mut decoder = Decoder::new(self.codec)?;
        (0..count)
            .map(|_| {
                let number = pick(self.raw.len() as u64) as usize;
                let start = Instant::now();
                decoder.decode(&self.encoded[number], self.raw[number].len())?;
                Ok(start.elapsed().as_secs_f64() * 1e6)
            })
            .collect()
    }

    fn on_all_cpus<W>(&self, worker: impl Fn() -> Result<W> + Sync) -> Result<Cost>
    where
        W: FnMut(usize) -> Result<()>,
    {
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            let mut one = worker()?;
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                if first >= self.raw.len() {
                    return Ok(());
                }
                (first..self.raw.len().min(first + BATCH)).try_for_each(&mut one)?;
            }
        };
        ours(|| {
            thread::scope(|scope| {
                let cpus = thread::available_parallelism()?.get();
                let threads: Vec<_> =
                    (0..cpus).map(|_| scope.spawn(|| work().map_err(|e| e.to_string()))).collect();
                for thread in threads {
                    thread.join().map_err(|_| "a thread of the codec panicked")??;
                }
                Ok(())
            })
        })
    }
}

enum Encoder {
    Zstd(CCtx<'static>, Vec<u8>),
    Lz4(Vec<u8>),
}

impl Encoder {
    fn new(codec: Codec) -> Result<Self> {
        if codec.algorithm != "zstd" {
            return Ok(Self::Lz4(vec![0; lz4::block::compress_bound(LZ4_FRAME_BYTES)?]));
        }
        let mut context = CCtx::create();
        let parameters = [CParameter::CompressionLevel(codec.level as i32), CParameter::ChecksumFlag(true)];
        for parameter in parameters {
            context.set_parameter(parameter).map_err(zstd_safe::get_error_name)?;
        }
        Ok(Self::Zstd(context, vec![0; zstd_safe::compress_bound(ZSTD_FRAME_BYTES)]))
    }

    fn encode(&mut self, raw: &[u8]) -> Result<&[u8]> {
        let (bytes, out) = match self {
            Self::Zstd(context, out) => {
                (context.compress2(&mut out[..], raw).map_err(zstd_safe::get_error_name)?, out)
            }
            Self::Lz4(out) => (lz4::block::compress_to_buffer(raw, None, false, out)?, out),
        };
        Ok(&out[..bytes])
    }
}

enum Decoder {
    Zstd(DCtx<'static>, Vec<u8>),
    Lz4(Vec<u8>),
}

impl Decoder {
    fn new(codec: Codec) -> Result<Self> {
        Ok(match codec.algorithm {
            "zstd" => Self::Zstd(DCtx::create(), vec![0; ZSTD_FRAME_BYTES]),
            _ => Self::Lz4(vec![0; LZ4_FRAME_BYTES]),
        })
    }

    fn decode(&mut self, encoded: &[u8], raw_bytes: usize) -> Result<()> {
        let (bytes, out) = match self {
            Self::Zstd(context, out) => {
                (context.decompress(&mut out[..], encoded).map_err(zstd_safe::get_error_name)?, out)
            }
            Self::Lz4(out) => (lz4::block::decompress_to_buffer(encoded, Some(raw_bytes as i32), out)?, out),
        };
        black_box(&out[..bytes]);
        if bytes == raw_bytes { Ok(()) } else { Err("the codec lost bytes".into()) }
    }
}
