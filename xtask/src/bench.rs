//! `cargo xtask bench`: builds what is measured and a guest to measure with, then starts `hypeman-bench`.

use std::fs;
use std::process::ExitCode;

use crate::demo::{initramfs, kernel};
use crate::program::{Run, cargo, program};
use crate::{Result, packages, setup, target};

/// Runs the benches that `options` ask for. All of them measure the bindings too, so that these are built first.
pub fn bench(options: &[&str]) -> Result<ExitCode> {
    if options.contains(&"--only") {
        packages::install_missing()?;
    } else {
        setup::setup()?;
    }
    let (demo, files) = (target().join("demo"), target().join("bench"));
    fs::create_dir_all(&demo)?;
    fs::create_dir_all(&files)?;
    let kernel = kernel::kernel(&demo)?;
    let initramfs = initramfs::initramfs(&files, &kernel, include_str!("../../bench/guest/init.sh"))?;
    cargo().args(["build", "--release", "--quiet", "--package", "hypeman-bench"]).run()?;
    let mut bench = program(target().join("release/hypeman-bench"));
    bench.arg("--target").arg(target()).arg("--kernel").arg(&kernel.image).arg("--initramfs").arg(&initramfs);
    let status = bench.args(options).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
