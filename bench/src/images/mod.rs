//! The memory images that are measured with. Made once, then kept below `target/bench/images`.
//!
//! `--quick` takes every fourth MiB of a guest, which keeps its shares of zeros, text and noise.

mod guest;
mod mix;
mod payload;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::options::Options;
use crate::{Result, peer};

const MIB: u64 = 1 << 20;
const FULL_MIB: u64 = 1024;
const QUICK_ONE_IN: u64 = 4;
/// Noise, zeros and all else repeat in far less than this.
const QUICK_MIX_MIB: u64 = 64;
/// Where the zero-free part of a busy guest is looked for, and how much of it slow levels get.
const SLICE_MIB: u64 = 128;
const QUICK_SLICE_MIB: u64 = 32;

/// What an image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A guest that serves nothing: mostly zeros.
    Idle,
    /// A guest at work.
    Busy,
    /// Zero, text, binary, heap-like and random pages in the shares of a busy guest, without a guest.
    Mix,
    /// A part of the busy guest without long runs of zeros.
    Slice,
}

/// Whether zeros are written or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zeros {
    /// Every byte is in the file.
    Written,
    /// Blocks of zeros are holes.
    Holes,
}

impl Content {
    /// The name of its files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Mix => "mix",
            Self::Slice => "slice",
        }
    }
}

/// Copies an image of `content` to `to`, with or without holes.
pub fn stage(options: &Options, content: Content, zeros: Zeros, to: &Path) -> Result<()> {
    let from = image(options, content)?;
    let sparse = match zeros {
        Zeros::Written => "--sparse=never",
        Zeros::Holes => "--sparse=always",
    };
    peer::run(Command::new("cp").args(["--reflink=never", sparse]).arg(from).arg(to))?;
    // What is dirty would be written out while something else is measured.
    File::open(to)?.sync_all()?;
    Ok(())
}

/// The image of `content`, which is made if it is missing.
fn image(options: &Options, content: Content) -> Result<PathBuf> {
    let directory = options.target.join("bench/images");
    fs::create_dir_all(&directory)?;
    let size = if options.quick { "-quick" } else { "" };
    let path = directory.join(format!("{}{size}.raw", content.as_str()));
    if path.exists() {
        return Ok(path);
    }
    // The rename comes last: an image that is there is whole.
    let partial = path.with_extension("partial");
    remove(&partial)?;
    match content {
        Content::Mix => mix::write(&partial, if options.quick { QUICK_MIX_MIB } else { FULL_MIB } * MIB)?,
        Content::Slice => slice(&image(options, Content::Busy)?, options, &partial)?,
        Content::Idle | Content::Busy if options.quick => {
            let whole = Options { quick: false, ..options.clone() };
            thin_out(&image(&whole, content)?, &partial)?;
        }
        Content::Idle | Content::Busy => guest::capture(options, content, FULL_MIB, &partial)?,
    }
    fs::rename(&partial, &path)?;
    Ok(path)
}

/// Copies every [`QUICK_ONE_IN`]th MiB.
fn thin_out(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; MIB as usize];
    for chunk in 0..from.metadata()?.len() / MIB / QUICK_ONE_IN {
        from.read_exact_at(&mut buffer, chunk * QUICK_ONE_IN * MIB)?;
        to.write_all_at(&buffer, chunk * MIB)?;
    }
    Ok(())
}

/// Copies, in order, those MiB that are not mostly zeros, until there are enough.
fn slice(from: &Path, options: &Options, to: &Path) -> Result<()> {
    let wanted = if options.quick { QUICK_SLICE_MIB } else { SLICE_MIB };
    let (from, to) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; MIB as usize];
    let mut kept = 0;
    for chunk in 0..from.metadata()?.len() / MIB {
        from.read_exact_at(&mut buffer, chunk * MIB)?;
        let zero_pages = buffer.chunks(4096).filter(|page| page.iter().all(|byte| *byte == 0)).count();
        if kept < wanted && zero_pages < 128 {
            to.write_all_at(&buffer, kept * MIB)?;
            kept += 1;
        }
    }
    Ok(())
}

/// Removes a file that need not be there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
