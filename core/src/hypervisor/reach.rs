//! Whether a VMM that opens files by their paths gets at ours: it may run as another user, or in a jail.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Peer;
use crate::error::{Error, Kind, Result};
use crate::sys::process;

/// What the VMM is to do in the directory: bits of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read = 0o5,
    Write = 0o3,
}

/// Refuses `directory` (open as `opened`) where `vmm`, the process `peer`, which is to find it at `seen_as`, could not
/// have `access` to it.
///
/// Told from the outside, so that what is let through may still fail: its groups and capabilities are not known, nor is
/// the root directory of a process that hides it from us.
pub(super) fn check(
    vmm: &str,
    peer: &Peer,
    (directory, opened): (&Path, &File),
    seen_as: &Path,
    access: Access,
) -> Result<()> {
    let shown = seen_as.display();
    let refuse = |kind, message| Err(Error::new(kind, message).at(directory));
    if seen_as.to_str().is_none_or(|text| !text.starts_with('/')) {
        return refuse(
            Kind::NotSupported,
            format!("{shown} cannot be named to {vmm}: its API takes UTF-8 text"),
        );
    }
    let ours = opened.metadata().map_err(|e| Error::io("look at", directory, &e))?;
    if sees_another(peer, seen_as, &ours) {
        let message = format!(
            "{vmm} (process {}) does not see {} at {shown}: it has a root or mounts of its own; register the VM with a \
             staging_directory that both see, and its path there as staging_directory_in_vmm",
            peer.pid,
            directory.display()
        );
        return refuse(Kind::NotSupported, message);
    }
    let parents = seen_as.ancestors().skip(1).filter_map(|parent| fs::metadata(seen_by(peer, parent)).ok());
    if !allows(peer.uid, &ours, access as u32)
        || !parents.into_iter().all(|parent| allows(peer.uid, &parent, 0o1))
    {
        let message = format!(
            "{vmm} runs as user {}, who has no access to {shown}; register the VM with a staging_directory to which \
             that user has, or run it as the user of this program",
            peer.uid
        );
        return refuse(Kind::Permission, message);
    }
    Ok(())
}

/// Refuses a `vmm` of another user than `ours`, this program's, where it makes its files for its own user alone.
pub(super) fn check_reads_back(vmm: &str, peer: &Peer, ours: u32, directory: &Path) -> Result<()> {
    if ours == 0 || ours == peer.uid {
        return Ok(());
    }
    let message = format!(
        "{vmm} runs as user {}, for whom alone it makes its files: this program, of user {ours}, could not read them; run \
         it as that user, or as root",
        peer.uid
    );
    Err(Error::new(Kind::Permission, message).at(directory))
}

/// Where this process finds what the VMM, which may have a root and surely has a working directory of its own, calls
/// `path`.
pub(super) fn seen_by(peer: &Peer, path: &Path) -> PathBuf {
    let seen = match path.strip_prefix("/") {
        Ok(beneath_root) => process::root_of(peer.pid).map(|root| root.join(beneath_root)),
        Err(_) => process::working_directory_of(peer.pid).map(|directory| directory.join(path)),
    };
    // Where we may not look through its eyes, it has most likely no root of its own.
    seen.filter(|seen| path.is_relative() || seen.exists()).unwrap_or_else(|| path.to_owned())
}

/// Whether there is another directory, or none, at that path for that process. `false` where we may not look.
fn sees_another(peer: &Peer, directory: &Path, ours: &Metadata) -> bool {
    let Some(root) = process::root_of(peer.pid) else { return false };
    match fs::metadata(root.join(directory.strip_prefix("/").unwrap_or(directory))) {
        Ok(theirs) => (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()),
        // Unless we may not look through its eyes at all.
        Err(error) => error.raw_os_error() == Some(libc::ENOENT) && fs::metadata(root.join("")).is_ok(),
    }
}

/// Whether `uid` may have `bits` (of one class of a mode) of what `metadata` describes.
fn allows(uid: u32, metadata: &Metadata, bits: u32) -> bool {
    let has = |shift: u32| metadata.mode() >> shift & bits == bits;
    match uid {
        0 => true,
        _ if uid == metadata.uid() => has(6),
        // Whether it is of the group is not known.
        _ => has(0) || has(3),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sys::process;

    fn peer(uid: u32) -> Peer {
        let pid = i32::try_from(std::process::id()).unwrap();
        Peer { pid, uid, start_ticks: process::start_ticks(pid).unwrap() }
    }

    /// A directory of which all but the last parent are open to everyone.
    fn with_directory(test: impl Fn(&Path, &File)) {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let directory = root.path().join("stage");
        fs::create_dir(&directory).unwrap();
        test(&directory, &File::open(&directory).unwrap());
    }

    #[test]
    fn a_vmm_of_another_user_gets_into_no_private_directory() {
        with_directory(|directory, opened| {
            let owner = opened.metadata().unwrap().uid();
            let stranger = peer(owner + 4711);
            for (mode, access, is_let_in) in [
                (0o700, Access::Write, false),
                (0o755, Access::Write, false),
                (0o755, Access::Read, true),
                (0o777, Access::Write, true),
                (0o770, Access::Write, true),
            ] {
                fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
                let checked = check("vmm", &stranger, (directory, opened), directory, access);
                assert_eq!(checked.is_ok(), is_let_in, "{mode:o} {access:?}: {checked:?}");
                check("vmm", &peer(owner), (directory, opened), directory, access).unwrap();
                check("vmm", &peer(0), (directory, opened), directory, access).unwrap();
            }
            let parent = directory.parent().unwrap();
            fs::set_permissions(parent, fs::Permissions::from_mode(0o700)).unwrap();
            let error = check("vmm", &stranger, (directory, opened), directory, Access::Write).unwrap_err();
            assert_eq!(error.kind(), Kind::Permission);
            assert!(error.message().contains(&format!("runs as user {}", owner + 4711)), "{error}");
        });
    }

    #[test]
    fn a_vmm_that_has_another_directory_at_the_path_is_told_apart() {
        with_directory(|directory, _| {
            let other = tempfile::tempdir().unwrap();
            let opened = File::open(other.path()).unwrap();
            let owner = opened.metadata().unwrap().uid();
            for seen in [directory.to_owned(), directory.join("gone")] {
                let error = check("vmm", &peer(owner), (&seen, &opened), &seen, Access::Write).unwrap_err();
                assert_eq!(error.kind(), Kind::NotSupported);
                assert!(error.message().contains("does not see"), "{error}");
            }
        });
    }

    #[test]
    fn what_a_vmm_keeps_to_its_user_is_read_by_that_user_and_by_root() {
        let peer = Peer { pid: 1, uid: 7, start_ticks: 0 };
        let check = |ours| check_reads_back("it", &peer, ours, Path::new("/d"));
        check(7).unwrap();
        check(0).unwrap();
        let refused = check(8).unwrap_err();
        assert_eq!(refused.kind(), Kind::Permission);
        assert!(refused.message().contains("user 7") && refused.message().contains("user 8"), "{refused}");
    }
}
