//! The part for C and C++: what `cc`, pkg-config and CMake look for beneath a prefix.

use std::fs;
use std::path::{Path, PathBuf};

use super::{LEGAL, VERSION, archive, place};
use crate::program::{Run, program};
use crate::release::Build;
use crate::{Result, root};

/// The name that programs record. `ffi/build.rs` writes it into the library.
const SONAME: &str = "libhypeman.so.0";
/// What the Rust standard library needs of the system, for programs that link `libhypeman.a`.
const SYSTEM_LIBRARIES: [&str; 6] = ["gcc_s", "util", "rt", "pthread", "m", "dl"];

const PKG_CONFIG: &str = include_str!("../../../ffi/package/hypeman.pc.in");
const PKG_CONFIG_STATIC: &str = include_str!("../../../ffi/package/hypeman-static.pc.in");
const CMAKE_CONFIG: &str = include_str!("../../../ffi/package/hypemanConfig.cmake.in");
const CMAKE_VERSION: &str = include_str!("../../../ffi/package/hypemanConfigVersion.cmake.in");

/// Installs the built library, its headers and its descriptions beneath `prefix`.
pub fn install(build: &Build, prefix: &Path) -> Result<()> {
    let (lib, include) = (prefix.join("lib"), prefix.join("include"));
    for header in headers()? {
        place::copy(&root().join("include").join(&header), &include.join(&header), 0o644)?;
    }
    let scratch = build.scratch();
    place::make(&scratch)?;

    let shared = scratch.join("libhypeman.so");
    strip(&build.output().join("libhypeman.so"), &shared)?;
    let real = format!("libhypeman.so.{VERSION}");
    place::copy(&shared, &lib.join(&real), 0o755)?;
    place::link(&real, &lib.join(SONAME))?;
    place::link(SONAME, &lib.join("libhypeman.so"))?;

    let archive = archive::localised(&build.output().join("libhypeman.a"), &scratch)?;
    place::copy(&archive, &lib.join("libhypeman.a"), 0o644)?;

    let descriptions = [("hypeman.pc", PKG_CONFIG), ("hypeman-static.pc", PKG_CONFIG_STATIC)];
    for (name, template) in descriptions {
        place::write(&lib.join("pkgconfig").join(name), filled(template, &flags()), 0o644)?;
    }
    let cmake = lib.join("cmake/hypeman");
    place::write(
        &cmake.join("hypemanConfig.cmake"),
        filled(CMAKE_CONFIG, &SYSTEM_LIBRARIES.join(";")),
        0o644,
    )?;
    place::write(&cmake.join("hypemanConfigVersion.cmake"), filled(CMAKE_VERSION, ""), 0o644)?;
    for document in LEGAL.into_iter().chain(["docs/abi.md", "docs/errors.md"]) {
        let name = Path::new(document).file_name().unwrap_or_default();
        place::copy(&root().join(document), &prefix.join("share/doc/hypeman").join(name), 0o644)?;
    }
    Ok(())
}

/// Every header, by its path beneath `include`.
fn headers() -> Result<Vec<PathBuf>> {
    let include = root().join("include");
    let mut headers = Vec::new();
    for directory in ["", "hypeman"] {
        for entry in fs::read_dir(include.join(directory))? {
            let header = Path::new(directory).join(entry?.file_name());
            if header.extension().is_some() {
                headers.push(header);
            }
        }
    }
    Ok(headers)
}

/// Copies a program or library without its line tables, which are nine tenths of it, and without the names of what
/// no one can call.
pub fn strip(from: &Path, to: &Path) -> Result<()> {
    program("objcopy").arg("--strip-unneeded").arg(from).arg(to).run()
}

fn flags() -> String {
    SYSTEM_LIBRARIES.map(|library| format!("-l{library}")).join(" ")
}

fn filled(template: &str, system_libraries: &str) -> String {
    template
        .replace("@VERSION@", VERSION)
        .replace("@MAJOR@", env!("CARGO_PKG_VERSION_MAJOR"))
        .replace("@SONAME@", SONAME)
        .replace("@SYSTEM_LIBRARIES@", system_libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_template_is_left_open() {
        for template in [PKG_CONFIG, PKG_CONFIG_STATIC, CMAKE_CONFIG, CMAKE_VERSION] {
            let filled = filled(template, "-lm");
            assert!(template.contains('@') && !filled.contains('@'), "{filled}");
        }
    }

    #[test]
    fn the_soname_counts_the_major_version() {
        assert_eq!(SONAME, concat!("libhypeman.so.", env!("CARGO_PKG_VERSION_MAJOR")));
    }
}
