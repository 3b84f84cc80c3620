//! A guest's whole file system: busybox, the modules of its disks, and its first program.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::kernel::Kernel;
use crate::Result;
use crate::program::program;

/// Packs the initramfs of a guest that starts with the shell script `init` into `directory`, and returns its path.
pub fn initramfs(directory: &Path, kernel: &Kernel, init: &str) -> Result<PathBuf> {
    let tree = directory.join("initramfs");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for name in ["bin", "modules"] {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox"))?;
    fs::write(tree.join("init"), init)?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
    for module in ["virtio", "block"] {
        copy_modules(&kernel.modules.join(module), &tree.join("modules"))?;
    }
    pack(&tree, &directory.join("initramfs.cpio"))
}

fn copy_modules(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("virtio") {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn pack(tree: &Path, archive: &Path) -> Result<PathBuf> {
    let mut names = Vec::new();
    list(tree, Path::new("."), &mut names)?;
    let mut cpio = program("cpio")
        .args(["--create", "--format=newc", "--owner=0:0", "--quiet"])
        .current_dir(tree)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(archive)?)
        .spawn()?;
    // The pipe is dropped, and so closed, at the end of this statement: cpio then writes its trailer.
    cpio.stdin.take().ok_or("cpio has no stdin")?.write_all(names.join("\n").as_bytes())?;
    if cpio.wait()?.success() { Ok(archive.to_path_buf()) } else { Err("cpio failed".into()) }
}

/// Every path below `tree`, directories before what is in them, as cpio wants them.
fn list(tree: &Path, directory: &Path, names: &mut Vec<String>) -> Result<()> {
    names.push(directory.display().to_string());
    for entry in fs::read_dir(tree.join(directory))? {
        let entry = entry?;
        let path = directory.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(tree, &path, names)?;
        } else {
            names.push(path.display().to_string());
        }
    }
    Ok(())
}
