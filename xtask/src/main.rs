//! The commands of this repository: `cargo xtask setup`, `test`, `demo`, `bench`, `dist`, `install`. Standard library only, so that it is
//! there before anything else is.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to the person who typed it")]

mod bench;
mod coverage;
mod demo;
mod dist;
mod newer_qemu;
mod packages;
mod program;
mod release;
mod setup;
mod test;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
cargo xtask setup               install what is missing, build the library and its bindings
cargo xtask test [--long] [--only STAGE] run every test of every language; the last line is the count
cargo xtask coverage            lines and branches that the tests go through; target/reports/coverage.txt
cargo xtask demo                snapshot a running Linux VM from Python, Node and C, and restore it
cargo xtask bench [--quick] [--only ID] measure against the stock tools; target/reports/bench.json and .svg
cargo xtask dist                fill dist/: an install prefix for C, a wheel and sdist, npm tarballs, the command
cargo xtask install --prefix P  install the library for C and C++ beneath P";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["setup"] => setup::setup().map(|()| ExitCode::SUCCESS),
        ["test", options @ ..] => test::test(options),
        ["coverage"] => coverage::coverage().map(|()| ExitCode::SUCCESS),
        ["demo"] => demo::demo(),
        ["bench", options @ ..] => bench::bench(options),
        ["dist"] => dist::dist().map(|()| ExitCode::SUCCESS),
        ["install", "--prefix", prefix] => dist::install(prefix).map(|()| ExitCode::SUCCESS),
        _ => Err(USAGE.into()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// The root of the repository, wherever the command was typed.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The directory of everything that is built.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
