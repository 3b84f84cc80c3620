//! Running a VMM as another user, in a mount namespace of its own. Only root can.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// What starts `program` as user `uid`, where /dev/kvm is its own, and the directory `staging` lies at `seen_as` and no longer
/// where it was; both are directories.
pub fn jailed(program: &Path, uid: u32, staging: &Path, seen_as: &Path) -> Command {
    let script = "set -e; mount --bind \"$1\" \"$2\"; mount -t tmpfs none \"$1\"; cp -a /dev/kvm \"$1/kvm\"; \
                  chmod 666 \"$1/kvm\"; mount --bind \"$1/kvm\" /dev/kvm; rm \"$1/kvm\"; shift 2; exec \"$@\"";
    let mut jail = Command::new("unshare");
    jail.args(["--mount", "--propagation", "private", "sh", "-c", script, "jail"]);
    jail.args([staging, seen_as]).args(as_user(uid)).arg(program);
    jail
}

/// The words that run what follows them as user `uid` alone.
pub fn as_user(uid: u32) -> [String; 4] {
    let [user, group] = ["reuid", "regid"].map(|option| format!("--{option}={uid}"));
    ["setpriv".to_owned(), "--clear-groups".to_owned(), user, group]
}

/// Makes the directory of a VMM that runs as `uid`: `owner`'s, and open to both.
pub fn share_with_owner(directory: &Path, uid: u32, owner: u32) {
    fs::create_dir_all(directory).unwrap();
    chown(directory, Some(owner), Some(owner)).unwrap();
    if uid != owner {
        fs::set_permissions(directory, Permissions::from_mode(0o777)).unwrap();
    }
}

/// Gives the owner of `directory` all that lies in it, for others to use as the directory itself.
pub fn give_to_owner(directory: &Path) {
    let owner = fs::metadata(directory).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        fs::set_permissions(path, Permissions::from_mode(owner.mode() & 0o666)).unwrap();
    }
}
