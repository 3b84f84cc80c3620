//! Two tarballs: the package, in JavaScript alone, and the native addon for this platform, which npm chooses by the
//! package's optional dependencies. Neither has an install script.

use std::fs;
use std::path::Path;

use super::{VERSION, place, prefix};
use crate::program::{Run, program};
use crate::{Result, root, setup, target};

const PACKAGE: &str = "bindings/node";

/// Builds the addon and packs both into `directory`.
pub fn package(directory: &Path) -> Result<()> {
    setup::build_node_addon()?;
    place::make(directory)?;
    let stage = target().join("dist/node");
    place::empty(&stage)?;
    let platform = platform()?;
    pack(&main_package(&stage.join("libhypeman"), &platform)?, directory)?;
    pack(&platform_package(&stage.join(&platform), &platform)?, directory)
}

/// The name that `loader.js` asks for on this machine.
fn platform() -> Result<String> {
    let words = "const { platform, arch, report } = process;\
        const libc = platform !== 'linux' ? '' : report.getReport().header.glibcVersionRuntime ? '-gnu' : '-musl';\
        console.log(`libhypeman-${platform}-${arch}${libc}`)";
    Ok(program("node").args(["-e", words]).read()?.trim().to_owned())
}

/// The published files of the package, whose `package.json` names the platform packages.
fn main_package(stage: &Path, platform: &str) -> Result<std::path::PathBuf> {
    let package = root().join(PACKAGE);
    place::make(stage)?;
    let listed =
        program("node").args(["-p", "require('./bindings/node/package.json').files.join('\\n')"]).read()?;
    for name in listed.lines().chain(["package.json", "README.md"]) {
        place::copy(&package.join(name), &stage.join(name), 0o644)?;
    }
    place::copy(&root().join("LICENSE"), &stage.join("LICENSE"), 0o644)?;
    npm(stage).args(["pkg", "set", &format!("optionalDependencies.{platform}={VERSION}")]).read()?;
    npm(stage).args(["pkg", "delete", "devDependencies", "scripts"]).read()?;
    Ok(stage.to_owned())
}

/// The addon, and a `package.json` by which npm installs it on this platform alone.
fn platform_package(stage: &Path, name: &str) -> Result<std::path::PathBuf> {
    let addon = root().join(PACKAGE).join("hypeman.node");
    place::make(stage)?;
    prefix::strip(&addon, &stage.join("hypeman.node"))?;
    place::copy(&root().join("LICENSE"), &stage.join("LICENSE"), 0o644)?;
    let mut words = name.trim_start_matches("libhypeman-").split('-');
    let (os, cpu, libc) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next());
    let libc = match libc {
        Some("gnu") => "\n  \"libc\": [\"glibc\"],",
        Some("musl") => "\n  \"libc\": [\"musl\"],",
        _ => "",
    };
    let manifest = format!(
        "{{\n  \"name\": \"{name}\",\n  \"version\": \"{VERSION}\",\n  \
         \"description\": \"The native addon of libhypeman for {os} on {cpu}\",\n  \"license\": \"Apache-2.0\",\n  \
         \"main\": \"hypeman.node\",\n  \"files\": [\"hypeman.node\"],\n  \"os\": [\"{os}\"],\n  \"cpu\": [\"{cpu}\"],{libc}\n  \
         \"engines\": {{ \"node\": \">=18\" }}\n}}\n"
    );
    fs::write(stage.join("package.json"), manifest)?;
    Ok(stage.to_owned())
}

fn pack(stage: &Path, into: &Path) -> Result<()> {
    npm(stage).args(["pack", "--silent", "--pack-destination"]).arg(into).read().map(drop)
}

fn npm(directory: &Path) -> std::process::Command {
    let mut command = program("npm");
    command.current_dir(directory);
    command
}
