//! A real kernel for the guest: Debian's cloud image package, unpacked beside the build and never installed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Run, program};
use crate::{Result, packages};

/// The package that depends on the newest kernel package of this Debian.
const LATEST: &str = "linux-image-cloud-amd64";

/// An unpacked kernel.
pub struct Kernel {
    /// Its release, such as `6.1.0-56-cloud-amd64`.
    pub release: String,
    /// The image that QEMU boots.
    pub image: PathBuf,
    /// The directory of its modules.
    pub modules: PathBuf,
}

/// Downloads and unpacks the kernel below `directory`, unless an earlier demo did.
pub fn kernel(directory: &Path) -> Result<Kernel> {
    let unpacked = directory.join("kernel");
    if !unpacked.exists() {
        let package = download(directory)?;
        // The rename comes last: a demo that was interrupted here starts over.
        let partial = directory.join("kernel.partial");
        program("dpkg-deb").arg("-x").arg(&package).arg(&partial).run()?;
        fs::rename(&partial, &unpacked)?;
    }
    for entry in fs::read_dir(unpacked.join("boot"))? {
        let image = entry?.path();
        let name = image.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            let modules = unpacked.join("lib/modules").join(release).join("kernel/drivers");
            return Ok(Kernel { release: release.to_owned(), image, modules });
        }
    }
    Err(format!("{} has no kernel; delete {} and try again", LATEST, unpacked.display()).into())
}

fn download(directory: &Path) -> Result<PathBuf> {
    if package_name().is_err() && packages::is_root()? {
        packages::update()?;
    }
    let name = package_name()?;
    // The lists may be older than the mirror: then the file is gone, and newer lists name a newer one.
    let name = match fetch(directory, &name) {
        Err(_) if packages::is_root()? => {
            packages::update()?;
            let name = package_name()?;
            fetch(directory, &name)?;
            name
        }
        fetched => fetched.map(|()| name)?,
    };
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        if file.starts_with(&name) && file.ends_with(".deb") {
            return Ok(path);
        }
    }
    Err(format!("apt-get download {name} left no package in {}", directory.display()).into())
}

fn fetch(directory: &Path, name: &str) -> Result<()> {
    program("apt-get").args(["download", "--quiet", name]).current_dir(directory).read().map(|_| ())
}

/// The kernel package behind [`LATEST`].
fn package_name() -> Result<String> {
    let answer = program("apt-cache").args(["depends", LATEST]).read().unwrap_or_default();
    let dependency = answer.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let name = dependency.ok_or_else(|| format!("apt knows no {LATEST}; run: sudo apt-get update"))?;
    Ok(name.trim().to_owned())
}
