//! What cannot be reached, and what is made for whom.

use std::os::unix::fs::MetadataExt;

use nix::sys::stat::Mode;

use super::*;

fn scratch() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    (temp, dir)
}

#[test]
fn nothing_outside_the_directory_can_be_reached() {
    let (temp, dir) = scratch();
    std::fs::create_dir(temp.path().join("in")).unwrap();
    std::fs::write(temp.path().join("canary"), "x").unwrap();
    std::os::unix::fs::symlink("../canary", temp.path().join("in/link")).unwrap();
    let inside = dir.dir("in").unwrap();
    for path in ["../canary", "link", "/etc/passwd"] {
        assert_eq!(inside.read(path).unwrap_err().kind(), Kind::Corrupt, "{path}");
    }
    inside.remove_tree("link").unwrap();
    assert!(temp.path().join("canary").exists());
}

#[test]
fn a_fifo_in_the_place_of_a_file_neither_blocks_nor_passes() {
    let (temp, dir) = scratch();
    nix::unistd::mkfifo(&temp.path().join("fifo"), Mode::S_IRWXU).unwrap();
    assert_eq!(dir.read("fifo").unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn files_are_for_their_owner_alone_and_never_replaced_by_mistake() {
    let (temp, dir) = scratch();
    dir.create_new("a").unwrap();
    assert_eq!(dir.create_new("a").unwrap_err().errno(), Some(libc::EEXIST));
    dir.make_dir("d").unwrap();
    for (name, mode) in [("a", 0o600), ("d", 0o700)] {
        assert_eq!(std::fs::metadata(temp.path().join(name)).unwrap().mode() & 0o7777, mode);
    }
    dir.create_new("b").unwrap();
    assert_eq!(dir.rename_new("a", &dir, "b").unwrap_err().errno(), Some(libc::EEXIST));
}

#[test]
fn a_nameless_file_appears_whole_with_its_name() {
    let (temp, dir) = scratch();
    drop(dir.nameless().unwrap());
    let file = dir.nameless().unwrap();
    use std::io::Write;
    file.file().write_all(b"whole").unwrap();
    assert!(dir.entries().unwrap().is_empty());
    dir.link(file, "memory.zst").unwrap();
    assert_eq!(std::fs::read(temp.path().join("memory.zst")).unwrap(), b"whole");
    assert_eq!(std::fs::metadata(temp.path().join("memory.zst")).unwrap().mode() & 0o7777, 0o600);
}
