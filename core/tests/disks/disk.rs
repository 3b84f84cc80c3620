//! File systems that last as long as a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A mounted file system, unmounted when dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// A tmpfs of `mebibytes` on `at`, which is made; `None`, and a line that says so, where we may not mount and
    /// need not.
    pub fn tmpfs(at: &Path, mebibytes: u32, test: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at));
        match mounted {
            Ok(()) => Some(Self(at.to_owned())),
            Err(why) => skip(test, "root", &format!("tmpfs cannot be mounted: {why}")),
        }
    }

    /// A new file system on `at` that shares blocks between files: XFS or Btrfs in the file `image`, whichever can be
    /// made here.
    pub fn reflinking(at: &Path, image: &Path, test: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut why = String::new();
        for (make, options) in [("mkfs.xfs", ["-q", "-f"].as_slice()), ("mkfs.btrfs", &["-q", "-f"])] {
            fs::File::create(image).unwrap().set_len(512 << 20).unwrap();
            let made = run(Command::new(make).args(options).arg(image))
                .and_then(|()| run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at)));
            match made {
                Ok(()) => return Some(Self(at.to_owned())),
                Err(error) => why = format!("{why} {make}: {error};"),
            }
        }
        skip(test, "reflink", &format!("no file system that reflinks:{why}"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it read-only for everyone.
    pub fn forbid_writes(&self) {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = run(Command::new("umount").arg("-l").arg(&self.0));
        assert!(unmounted.is_ok() || std::thread::panicking(), "{unmounted:?}");
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(Output { status, .. }) if status.success() => Ok(()),
        Ok(Output { stderr, .. }) => Err(String::from_utf8_lossy(&stderr).trim().replace('\n', " ")),
        Err(error) => Err(error.to_string()),
    }
}

#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
fn skip(test: &str, need: &str, why: &str) -> Option<Disk> {
    let required = std::env::var("HYPEMAN_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == need));
    assert!(!required, "HYPEMAN_REQUIRE names {need}, but {why}");
    println!("SKIP {test}: {why}");
    None
}
