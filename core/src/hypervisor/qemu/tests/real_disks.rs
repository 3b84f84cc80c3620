//! Which disks a real QEMU says that its guest writes to.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::process::{RealQemu, ask, with_each_qemu};
use super::*;

/// `path`, which is absolute, as seen from the working directory.
fn relative(path: &Path) -> PathBuf {
    let depth = std::env::current_dir().unwrap().components().count() - 1;
    Path::new(&"../".repeat(depth)).join(path.strip_prefix("/").unwrap())
}

fn inode(path: impl AsRef<Path>) -> Option<u64> {
    fs::metadata(path).ok().map(|file| file.ino())
}

#[test]
fn disks_are_found_by_whatever_name_qemu_has_for_them() {
    with_each_qemu("disks_are_found_by_whatever_name", |program| {
        let root = tempfile::tempdir().unwrap();
        let disk = |name: &str| {
            let path = root.path().join(name);
            fs::write(&path, [0; 8192]).unwrap();
            path
        };
        let [plain, cut, near, readonly, overlaid, given] =
            ["plain,.raw", "cut.raw", "near.raw", "readonly.raw", "overlaid.raw", "given.raw"].map(disk);
        let drive = |path: &Path, more: &str| {
            let path = path.to_str().unwrap().replace(',', ",,");
            format!("file={path},format=raw,if=virtio{more}")
        };
        let qemu = RealQemu::start(
            program,
            &[
                "-drive",
                &drive(&plain, ""),
                "-drive",
                &drive(&cut, ",offset=512,size=1024"),
                "-drive",
                &drive(&relative(&near), ""),
                "-drive",
                &drive(&readonly, ",readonly=on"),
                "-drive",
                &drive(&overlaid, ",snapshot=on"),
                "-drive",
                "file=null-co://,format=raw,if=virtio",
                "-device",
                "ide-cd",
                "-device",
                "virtio-scsi-pci",
            ],
        );
        let mut vm = qemu.connect("ours");
        let file = File::options().read(true).write(true).open(&given).unwrap();
        let limit = Limit::default();
        let _: Value = vm.qmp.ask_with("add-fd", json!({ "fdset-id": 5 }), &file, &limit).unwrap();
        let medium =
            json!({ "driver": "file", "node-name": "given", "filename": "/dev/fdset/5", "locking": "off" });
        ask(&mut vm, "blockdev-add", medium);
        ask(&mut vm, "device_add", json!({ "driver": "scsi-hd", "drive": "given" }));

        let disks = vm.written_disks(&limit).unwrap();
        let found: Vec<_> = disks.iter().map(|disk| disk.path.as_ref().and_then(inode)).collect();
        // What an overlay takes is in a file without a name.
        assert_eq!(found, [inode(&plain), inode(&cut), inode(&near), None, inode(&given)], "{disks:?}");
    });
}
