//! What must hold for everything that is given away.

use std::path::{Path, PathBuf};

use super::place;
use crate::program::{Run, program};
use crate::release::Build;
use crate::{Result, setup};

/// Looks into every file beneath `dist`, and into those that packages hold.
///
/// # Errors
/// Names the files that have a path of this machine in them.
pub fn check(build: &Build, dist: &Path) -> Result<()> {
    let unpacked = build.scratch().join("unpacked");
    place::empty(&unpacked)?;
    for package in files(&[dist.join("python"), dist.join("node")])? {
        let into = unpacked.join(package.file_name().unwrap_or_default());
        place::make(&into)?;
        if package.extension().is_some_and(|extension| extension == "whl") {
            program(setup::python()).args(["-m", "zipfile", "-e"]).arg(&package).arg(&into).run()?;
        } else {
            program("tar").arg("-xzf").arg(&package).arg("-C").arg(&into).run()?;
        }
    }
    let mut grep = program("grep");
    grep.args(["--recursive", "--files-with-matches", "--text", "--fixed-strings"]);
    for place in build.places() {
        grep.arg("-e").arg(place);
    }
    // It ends badly where there is nothing to find, which is what we are after.
    let found = grep.arg(dist).arg(&unpacked).output()?.stdout;
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("paths of this machine are in\n{}", String::from_utf8_lossy(&found)).into())
}

fn files(directories: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for directory in directories {
        for entry in std::fs::read_dir(directory)? {
            files.push(entry?.path());
        }
    }
    Ok(files)
}
