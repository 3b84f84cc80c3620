//! Whatever the umask of the host: what a call makes is its owner's alone, files 0600 and directories 0700, wherever it
//! makes them. Only a restored file has the mode of the one whose place it takes: that the host gave to its VMM.
//!
//! The vendor's server makes its files 0644 in directories 0755; what it made stays as it is.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hypeman_core::{Call, CompressionConfig, ForkSnapshot, RegisterInstance, RestoreSnapshot, ServeMemory};
use hypeman_tests::report::Report;
use hypeman_tests::scripted::{CloudHypervisor, memory};
use nix::sys::stat::{Mode, umask};

use crate::scene::{
    close_to_others, inodes, jobs_end, open, open_to_others, scratch, snapshot, standby_vm_as,
};

const ROLE: &str = "HYPEMAN_HOSTILE_UMASK";

/// Each of these holds something that was made when all calls were.
const PLACES: [&str; 8] = [
    "data/snapshots",
    "data/snapshots/.libhypeman/instances",
    "data/snapshots/.libhypeman/locks",
    "data/snapshots/.libhypeman/names",
    "data/snapshots/.libhypeman/placed",
    "data/snapshots/.libhypeman/catalogue",
    "data/guests",
    "web",
];

/// What the host has open to a group, and keeps so.
const SHARED: &str = "web/overlay.raw";

/// Is the host, if that is what this process is for.
pub fn plays_a_part() -> bool {
    let Some(root) = std::env::var_os(ROLE).map(PathBuf::from) else { return false };
    umask(Mode::empty());
    every_call(&root);
    true
}

/// Makes one of everything.
fn every_call(root: &Path) {
    let hm = open(&root.join("data")).unwrap();
    let request = |name: &str, hypervisor: &str| RegisterInstance {
        directory: Some(root.join(name)),
        ..RegisterInstance::new(name, hypervisor)
    };
    hm.instances().register(&request("web", "firecracker")).unwrap();
    let live = RegisterInstance { api_socket: Some(root.join("vmm")), ..request("live", "cloud-hypervisor") };
    hm.instances().register(&live).unwrap();
    let raw = snapshot(&hm, "web", Some("raw"), None).id;
    let packed = snapshot(&hm, "web", Some("packed"), Some("lz4")).id;
    for id in [&raw, &packed] {
        let restore = RestoreSnapshot::default();
        hm.instances().snapshots().restore(id, "web", &restore, Call::default()).unwrap();
        hm.snapshots().fork(id, &ForkSnapshot::new(format!("fork-{id}")), Call::default()).unwrap();
    }
    hm.snapshots().compress(&raw, Some(&CompressionConfig::with("zstd", None))).unwrap();
    hm.snapshots().wait(&raw, Call::default()).unwrap();
    snapshot(&hm, "live", Some("live"), None);
    let to_go = snapshot(&hm, "web", None, None).id;
    hm.snapshots().delete(&to_go).unwrap();
    jobs_end(hm.data_dir()).unwrap();
    let pager = hm.snapshots().serve_memory(&packed, &ServeMemory::default()).unwrap();
    // It is gone when the pager is.
    assert_eq!(open_to_others(pager.socket(), &BTreeSet::new()), [""; 0].map(PathBuf::from));
}

pub fn every_mode() -> Result<(), String> {
    let mut report = Report::new("modes", 1);
    let temp = scratch();
    let root = temp.path();
    // The instances are there, for no one else either.
    let hm = open(&root.join("elsewhere")).unwrap();
    standby_vm_as(&hm, RegisterInstance::new("web", "firecracker"), &root.join("web"), b"a disk", &memory());
    hm.close();
    fs::create_dir(root.join("live")).unwrap();
    fs::write(root.join("live/disk.raw"), b"the disk of a live guest").unwrap();
    close_to_others(root);
    fs::set_permissions(root.join(SHARED), Permissions::from_mode(0o640)).unwrap();
    let _vmm = CloudHypervisor::listen(&root.join("vmm"), &root.join("live/disk.raw"));
    let theirs = inodes(root);

    let played = Command::new(std::env::current_exe().unwrap()).env(ROLE, root).status();
    if !played.is_ok_and(|status| status.success()) {
        return Err("not every call went well".to_owned());
    }
    for path in open_to_others(root, &theirs) {
        let is_shared = path == root.join(SHARED);
        let mode = path.symlink_metadata().map_err(|e| e.to_string())?.permissions().mode() & 0o7777;
        if !is_shared || mode != 0o640 {
            report.failure(format!("{} is open to others: {mode:o}", path.display()));
        }
    }
    let made: BTreeSet<_> = inodes(root).difference(&theirs).copied().collect();
    report.tried("files and directories made", made.len() as u64);
    report.at_least("files and directories made", 60);
    for place in PLACES.map(|place| root.join(place)) {
        if inodes(&place).is_disjoint(&made) {
            report.failure(format!("nothing was made in {}", place.display()));
        }
        let open = place.join("open");
        fs::write(&open, "").map_err(|e| e.to_string())?;
        fs::set_permissions(&open, Permissions::from_mode(0o604)).map_err(|e| e.to_string())?;
        let name = format!("a file that others may read in {}", place.strip_prefix(root).unwrap().display());
        report.control(&name, open_to_others(root, &theirs).contains(&open));
    }
    report.finish();
    Ok(())
}
