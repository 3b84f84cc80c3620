//! What the memory engine promises, told with whole files.

mod damage;
#[cfg(target_os = "linux")]
mod footprint;
mod foreign;
mod go;
mod image;
mod round_trip;

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::tempfile;

use super::{Compressed, compress, decompress};
use crate::call::Limit;
use crate::error::Result;
use crate::types::{Algorithm, CompressionSettings};

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const MIB: usize = 1 << 20;

pub(super) fn zstd(level: i32) -> CompressionSettings {
    CompressionSettings { algorithm: Algorithm::Zstd, level }
}

pub(super) fn lz4(level: i32) -> CompressionSettings {
    CompressionSettings { algorithm: Algorithm::Lz4, level }
}

/// Bytes that no codec can make shorter, always the same ones.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Memory such as a guest has: text, noise, and zeros in long and short runs, ending off every grid.
pub(super) fn guest_memory(len: usize) -> Vec<u8> {
    let noise = noise(7000);
    let mut memory = Vec::with_capacity(len + 300_000);
    let mut line = 0;
    while memory.len() < len {
        memory.extend(format!("{line:08} the quick brown fox jumps over the lazy dog\n").repeat(50).bytes());
        memory.extend(noise.iter().cycle().skip(line * 13 % 7000).take(3000 + line % 50 * 80));
        memory.resize(memory.len() + [0, 100, 5000, 70_000, 200_000][line % 5], 0);
        line += 1;
    }
    memory.truncate(len);
    memory
}

pub(super) fn file_of(bytes: &[u8]) -> File {
    let file = tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

pub(super) fn compressed(raw: &File, settings: CompressionSettings) -> (File, Compressed) {
    let out = tempfile().unwrap();
    let made = compress(raw, &out, settings, TWO, &Limit::default(), &|_, _| ()).unwrap();
    assert_eq!(made.raw_bytes, raw.metadata().unwrap().len());
    assert_eq!(made.compressed_bytes, out.metadata().unwrap().len());
    (out, made)
}

fn decompressed(file: &File, algorithm: Algorithm, max_bytes: u64) -> Result<File> {
    let out = tempfile().unwrap();
    let len = decompress(file, algorithm, &out, max_bytes, TWO, &Limit::default(), &|_, _| ())?;
    assert_eq!(len, out.metadata().unwrap().len());
    Ok(out)
}

/// Tells whether the stock `tool` is here; says that the test is skipped where it is not and need not be.
fn has(tool: &str, test: &str) -> bool {
    let found =
        Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        missing(tool, &format!("is no {tool}"), test);
    }
    found
}

/// Says that a test is skipped for want of `tool`, which fails it where that is required.
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn missing(tool: &str, what: &str, test: &str) {
    let required =
        std::env::var("HYPEMAN_REQUIRE").is_ok_and(|tools| tools.split(',').any(|name| name == tool));
    assert!(!required, "{test} requires {tool}: there {what}");
    println!("SKIP {test}: there {what}");
}

/// Runs a stock tool, which has to succeed.
fn run(tool: &str, arguments: &[&str], paths: [&Path; 2]) {
    let output = Command::new(tool).args(arguments).args(paths).output().unwrap();
    assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a stock tool on `from`, so that it writes `to`.
fn convert(tool: &str, arguments: &[&str], from: &Path, to: &Path) {
    match tool {
        "zstd" => run(tool, &[arguments, &["-q", "-f", "-o"]].concat(), [to, from]),
        _ => run(tool, &[arguments, &["-q", "-f"]].concat(), [from, to]),
    }
}
