//! A QEMU that is newer than the installed one, where apt offers it already (backports): downloaded and unpacked beneath
//! `target`, never installed. apt's sources stay as they are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::program::{Run, program, succeeds};
use crate::{Result, target};

const PACKAGE: &str = "qemu-system-x86";
const PROGRAM: &str = "qemu-system-x86_64";

/// The program that `$HYPEMAN_TEST_QEMU` names, else what apt has; `None` where it has nothing newer than what is installed.
pub fn find() -> Result<Option<PathBuf>> {
    if let Some(named) = std::env::var_os("HYPEMAN_TEST_QEMU").filter(|name| !name.is_empty()) {
        return Ok(Some(named.into()));
    }
    let Some((version, suite)) = offered()? else { return Ok(None) };
    let directory = target().join("newer-qemu").join(version.replace(['/', ':'], "_"));
    let start = directory.join(PROGRAM);
    if !start.is_file() {
        println!("QEMU {version} of {suite} is tested, too");
        unpack(&suite, &directory)?;
        // Last, since it says that the others are there.
        write_start(&directory, &start)?;
    }
    Ok(Some(start))
}

/// The newest version that apt offers above the installed one, and its suite.
fn offered() -> Result<Option<(String, String)>> {
    let installed = program("dpkg-query").args(["--show", "--showformat=${Version}", PACKAGE]).read();
    let mut newest = (installed.unwrap_or_default(), None);
    // A machine without apt offers nothing.
    let versions = program("apt-cache").args(["madison", PACKAGE]).read().unwrap_or_default();
    for line in versions.lines() {
        // `qemu-system-x86 | VERSION | URL SUITE/COMPONENT ARCHITECTURE Packages`
        let mut columns = line.split('|').map(str::trim).skip(1);
        let (Some(version), Some(source)) = (columns.next(), columns.next()) else { continue };
        let suite = source.split_whitespace().nth(1).and_then(|place| place.split('/').next());
        let is_newer =
            succeeds(program("dpkg").args(["--compare-versions", version, "gt-nl", newest.0.as_str()]));
        if let (Some(suite), true) = (suite, is_newer && series(version) > series(&newest.0)) {
            newest = (version.to_owned(), Some(suite.to_owned()));
        }
    }
    let (version, suite) = newest;
    Ok(suite.map(|suite| (version, suite)))
}

/// `7.2` of `1:7.2+dfsg-7`: a repaired package of the same QEMU is not another one.
fn series(version: &str) -> Vec<u32> {
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    upstream.split(['.', '+', '-', '~']).map_while(|part| part.parse().ok()).take(2).collect()
}

/// Unpacks the package, and all it needs that is not installed.
fn unpack(suite: &str, directory: &Path) -> Result<()> {
    let (archives, root) = (directory.join("archives"), directory.join("root"));
    fs::create_dir_all(&archives)?;
    let wanted = ["--print-uris", "--yes", "--quiet=2", "--no-install-recommends", "--target-release", suite];
    let listed = program("apt-get").args(wanted).args(["install", PACKAGE]).read()?;
    // `'URL' NAME_VERSION_ARCHITECTURE.deb BYTES HASH`
    let files = listed.lines().filter_map(|line| line.split_whitespace().nth(1));
    for file in files.filter(|file| file.ends_with(".deb")) {
        let mut parts = file.split('_');
        let (Some(name), Some(version)) = (parts.next(), parts.next()) else { continue };
        let version = version.replace("%3a", ":");
        program("apt-get")
            .current_dir(&archives)
            .args(["--quiet=2", "download", &format!("{name}={version}")])
            .run()?;
    }
    for archive in fs::read_dir(&archives)? {
        program("dpkg-deb").arg("--extract").arg(archive?.path()).arg(&root).run()?;
    }
    Ok(())
}

/// Writes the script that runs QEMU with what was unpacked, then with what is installed.
fn write_start(directory: &Path, start: &Path) -> Result<()> {
    let root = directory.join("root");
    let root = root.display();
    let libraries = format!("{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu");
    let script = format!(
        "#!/bin/sh\n\
         LD_LIBRARY_PATH='{libraries}' exec '{root}/usr/bin/{PROGRAM}' \\\n\
         \x20   -L '{root}/usr/share/qemu' -L '{root}/usr/share/seabios' -L /usr/share/qemu -L /usr/share/seabios \"$@\"\n"
    );
    fs::write(start, script)?;
    fs::set_permissions(start, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::series;

    #[test]
    fn a_rebuilt_package_is_the_same_series() {
        assert_eq!(series("1:7.2+dfsg-7+deb12u18+b3"), [7, 2]);
        assert_eq!(series("1:7.2+dfsg-7+deb12u15"), series("1:7.2+dfsg-7+deb12u18+b3"));
        assert!(series("1:10.0.2+ds-2+deb13u1~bpo12+1") > series("1:7.2+dfsg-7+deb12u18"));
    }
}
