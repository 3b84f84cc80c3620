//! What has to be on the machine beside Rust, and the Debian packages that bring it.

use std::path::Path;

use crate::Result;
use crate::program::{Run, is_on_path, program, succeeds};

/// How to see that something is there.
enum Probe {
    Program(&'static str),
    File(&'static str),
    PythonModules(&'static str),
}

/// Everything that building, testing and showing need, with the package that brings it.
const NEEDED: &[(Probe, &str)] = &[
    (Probe::Program("gcc"), "gcc"),
    (Probe::Program("g++"), "g++"),
    (Probe::File("/usr/include/stdio.h"), "libc6-dev"),
    (Probe::File("/usr/include/cjson/cJSON.h"), "libcjson-dev"),
    (Probe::Program("pkg-config"), "pkg-config"),
    (Probe::Program("cmake"), "cmake"),
    (Probe::Program("objcopy"), "binutils"),
    (Probe::Program("python3"), "python3"),
    (Probe::PythonModules("import ensurepip, venv"), "python3-venv"),
    (Probe::Program("node"), "nodejs"),
    (Probe::Program("npm"), "npm"),
    (Probe::Program("qemu-system-x86_64"), "qemu-system-x86"),
    (Probe::Program("strace"), "strace"),
    (Probe::File("/bin/busybox"), "busybox-static"),
    (Probe::Program("cpio"), "cpio"),
    (Probe::Program("zstd"), "zstd"),
    (Probe::Program("lz4"), "lz4"),
    (Probe::Program("go"), "golang-go"),
    (
        Probe::File("/usr/share/gocode/src/github.com/klauspost/compress"),
        "golang-github-klauspost-compress-dev",
    ),
    (Probe::File("/usr/share/gocode/src/github.com/pierrec/lz4"), "golang-github-pierrec-lz4-dev"),
    (Probe::Program("dpkg-deb"), "dpkg"),
    (Probe::Program("qemu-storage-daemon"), "qemu-system-common"),
    (Probe::File("/sbin/mkfs.ext4"), "e2fsprogs"),
    (Probe::File("/sbin/mkfs.xfs"), "xfsprogs"),
    (Probe::File("/sbin/mkfs.btrfs"), "btrfs-progs"),
    (Probe::Program("faketime"), "faketime"),
    (Probe::Program("valgrind"), "valgrind"),
];

impl Probe {
    fn finds_it(&self) -> bool {
        match self {
            Self::Program(name) => is_on_path(name),
            Self::File(path) => Path::new(path).exists(),
            Self::PythonModules(script) => succeeds(program("python3").args(["-c", script])),
        }
    }
}

/// Installs what is missing, where we are root.
///
/// # Errors
/// Names the missing packages and the command that installs them, where we are not.
pub fn install_missing() -> Result<()> {
    let missing: Vec<_> =
        NEEDED.iter().filter(|(probe, _)| !probe.finds_it()).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !is_root()? {
        return Err(format!("missing Debian packages; run: sudo apt-get install --yes {names}").into());
    }
    println!("installing {names}");
    update()?;
    apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&missing).run()
}

/// Refreshes apt's lists; needs root.
pub fn update() -> Result<()> {
    apt_get().args(["update", "--quiet"]).run()
}

/// Tells whether we may install packages.
pub fn is_root() -> Result<bool> {
    Ok(program("id").arg("-u").read()?.trim() == "0")
}

fn apt_get() -> std::process::Command {
    let mut command = program("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
