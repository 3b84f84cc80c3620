//! The codec alone: what no engine around it can be faster than.
//!
//! The same memory in frames of the same length, on as many threads as there are CPUs, and frames of zeros are left out.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use zstd_safe::{CCtx, CParameter, DCtx};

use crate::Result;
use crate::stage::Codec;

/// Frames that a thread takes at a time.
const BATCH: usize = 8;
/// What core makes of memory at its fast levels.
const ZSTD_FRAME_BYTES: usize = 32 << 10;
const LZ4_FRAME_BYTES: usize = 64 << 10;

/// Memory in frames, encoded.
pub struct Frames {
    codec: Codec,
    encoded: Vec<Frame>,
    image_bytes: u64,
}

struct Frame {
    raw_at: u64,
    raw_bytes: usize,
    encoded: Vec<u8>,
}

impl Frames {
    /// The frames of the image at `path` that are not all zeros.
    pub fn of(path: &Path, codec: Codec) -> Result<Self> {
        let mut image = File::open(path)?;
        let mut encoder = Encoder::new(codec)?;
        let (mut frames, mut at) = (Vec::new(), 0);
        let mut raw = Vec::with_capacity(frame_bytes(codec));
        loop {
            raw.clear();
            let read = image.by_ref().take(frame_bytes(codec) as u64).read_to_end(&mut raw)?;
            if read == 0 {
                return Ok(Self { codec, encoded: frames, image_bytes: at });
            }
            if !is_zero(&raw) {
                frames.push(Frame { raw_at: at, raw_bytes: read, encoded: encoder.encode(&raw)?.to_vec() });
            }
            at += read as u64;
        }
    }

    /// The length of the image.
    pub fn image_bytes(&self) -> u64 {
        self.image_bytes
    }

    /// Decodes all of them and gives each, with its place in the image, to `put`.
    pub fn decode_each(&self, put: impl Fn(u64, &[u8]) -> Result<()> + Sync) -> Result<()> {
        on_all_cpus(self.encoded.len(), BATCH, || {
            let mut decoder = Decoder::new(self.codec)?;
            let put = &put;
            Ok(move |number: usize| {
                let frame = &self.encoded[number];
                put(frame.raw_at, decoder.decode(frame)?)
            })
        })
    }

    /// Decodes `count` of them, one after the other, each of which `pick` takes from so many; how long each took, in
    /// microseconds.
    pub fn decode_some(&self, count: usize, mut pick: impl FnMut(u64) -> u64) -> Result<Vec<f64>> {
        let mut decoder = Decoder::new(self.codec)?;
        (0..count)
            .map(|_| {
                let number = pick(self.encoded.len() as u64) as usize;
                let start = Instant::now();
                black_box(decoder.decode(&self.encoded[number])?);
                Ok(start.elapsed().as_secs_f64() * 1e6)
            })
            .collect()
    }
}

/// Does the work of every number below `count`, `batch` of them at a time, on a thread for each CPU.
pub fn on_all_cpus<W>(count: usize, batch: usize, worker: impl Fn() -> Result<W> + Sync) -> Result<()>
where
    W: FnMut(usize) -> Result<()>,
{
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        let mut one = worker()?;
        loop {
            let first = next.fetch_add(batch, Ordering::Relaxed);
            if first >= count {
                return Ok(());
            }
            (first..count.min(first + batch)).try_for_each(&mut one)?;
        }
    };
    thread::scope(|scope| {
        let cpus = thread::available_parallelism()?.get();
        let threads: Vec<_> = (0..cpus).map(|_| scope.spawn(|| work().map_err(|e| e.to_string()))).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread of the codec panicked")??;
        }
        Ok(())
    })
}

/// How long the frames are that core makes of memory at this level, one of the fast ones.
pub fn frame_bytes(codec: Codec) -> usize {
    if codec.algorithm == "zstd" { ZSTD_FRAME_BYTES } else { LZ4_FRAME_BYTES }
}

/// Whether all of a frame is zero.
pub fn is_zero(frame: &[u8]) -> bool {
    const PAGE: [u8; 4096] = [0; 4096];
    frame.chunks(PAGE.len()).all(|page| page == &PAGE[..page.len()])
}

/// A codec that encodes.
pub enum Encoder {
    Zstd(CCtx<'static>, Vec<u8>),
    Lz4(Vec<u8>),
}

impl Encoder {
    /// One with its tables.
    pub fn new(codec: Codec) -> Result<Self> {
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

    /// Encodes a frame, into memory of its own.
    pub fn encode(&mut self, raw: &[u8]) -> Result<&[u8]> {
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

    fn decode(&mut self, frame: &Frame) -> Result<&[u8]> {
        let (bytes, out) = match self {
            Self::Zstd(context, out) => {
                (context.decompress(&mut out[..], &frame.encoded).map_err(zstd_safe::get_error_name)?, out)
            }
            Self::Lz4(out) => {
                (lz4::block::decompress_to_buffer(&frame.encoded, Some(frame.raw_bytes as i32), out)?, out)
            }
        };
        if bytes == frame.raw_bytes { Ok(&out[..bytes]) } else { Err("the codec lost bytes".into()) }
    }
}
