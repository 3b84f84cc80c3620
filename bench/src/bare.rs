//! The least that any engine does: it reads a file, calls the codec, and writes a file or the memory of a guest, on all CPUs,
//! with the system calls for that.
//!
//! Nothing is checked, compared, put in order or noted beside it. What ours takes beyond that is the price of its proof.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::Result;
use crate::codec::{Encoder, Frames, frame_bytes, is_zero, on_all_cpus};
use crate::guest::Guest;
use crate::peer::{Cost, ours};
use crate::stage::Codec;

/// What is read at once: as much as core does.
const PART_BYTES: u64 = 256 << 10;

/// Encodes what is not zero in `image` into a new file at `output`.
pub fn compress(image: &Path, output: &Path, codec: Codec) -> Result<Cost> {
    let (image, output) = (File::open(image)?, File::create(output)?);
    let end = AtomicU64::new(0);
    ours(|| {
        let parts = parts(&image)?;
        on_all_cpus(parts.len(), 1, || {
            let mut encoder = Encoder::new(codec)?;
            let (mut raw, mut encoded) = (vec![0; PART_BYTES as usize], Vec::new());
            let (image, output, parts, end) = (&image, &output, &parts, &end);
            Ok(move |number: usize| {
                let (at, bytes) = parts[number];
                let raw = &mut raw[..bytes as usize];
                image.read_exact_at(raw, at)?;
                encoded.clear();
                for frame in raw.chunks(frame_bytes(codec)).filter(|frame| !is_zero(frame)) {
                    encoded.extend_from_slice(encoder.encode(frame)?);
                }
                let to = end.fetch_add(encoded.len() as u64, Ordering::Relaxed);
                Ok(output.write_all_at(&encoded, to)?)
            })
        })?;
        Ok(output.sync_data()?)
    })
}

/// Decodes `frames`, from memory, into a new file at `output` that has holes where there are none.
pub fn decompress(frames: &Frames, output: &Path) -> Result<Cost> {
    let output = File::create(output)?;
    ours(|| {
        output.set_len(frames.image_bytes())?;
        frames.decode_each(|at, memory| Ok(output.write_all_at(memory, at)?))?;
        Ok(output.sync_data()?)
    })
}

/// Decodes `frames`, from memory, into a new guest. Pages of zeros are left missing.
pub fn fill(frames: &Frames) -> Result<Cost> {
    let guest = Guest::new(frames.image_bytes())?;
    ours(|| frames.decode_each(|at, memory| guest.install(at, memory)))
}

/// The data of a file, without its holes, in parts: where each is, and how long.
fn parts(file: &File) -> Result<Vec<(u64, u64)>> {
    let bytes = file.metadata()?.len();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < bytes {
        let data = match lseek(file, at as i64, Whence::SeekData) {
            Ok(data) => data as u64,
            Err(Errno::ENXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let hole = (lseek(file, data as i64, Whence::SeekHole)? as u64).min(bytes);
        parts.extend((data..hole).step_by(PART_BYTES as usize).map(|at| (at, PART_BYTES.min(hole - at))));
        at = hole;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_bare_is_what_was_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let image = File::create(path("image")).unwrap();
        let memory: Vec<u8> = (0..300 << 10).map(|at: u32| (at / 7) as u8).collect();
        image.write_all_at(&memory, 1 << 20).unwrap();
        image.set_len(2 << 20).unwrap();
        for codec in [Codec { algorithm: "zstd", level: 1 }, Codec { algorithm: "lz4", level: 0 }] {
            compress(&path("image"), &path("encoded"), codec).unwrap();
            let encoded = fs::metadata(path("encoded")).unwrap().len();
            assert!((1000..200_000).contains(&encoded), "{encoded}");
            let frames = Frames::of(&path("image"), codec).unwrap();
            decompress(&frames, &path("decoded")).unwrap();
            assert!(fs::read(path("decoded")).unwrap() == fs::read(path("image")).unwrap());
        }
    }
}
