//! A watch on a directory: which names come and go in it, told by the kernel.

use std::ffi::OsString;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::sys::dir::Dir;

/// Hears of every entry that is made, removed or renamed in one directory, by whomever on this host.
#[derive(Debug)]
pub(crate) struct Watch(Inotify);

impl Watch {
    /// Watches `dir` from now on. None where the system has no watch for us: a user has a limited number.
    pub(crate) fn on(dir: &Dir) -> Option<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
        let names = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
        // By its descriptor: what lies at its path may be another directory by now.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsFd::as_fd(dir).as_raw_fd());
        inotify.add_watch(path.as_str(), names | AddWatchFlags::IN_ONLYDIR).ok()?;
        Some(Self(inotify))
    }

    /// The names that came or went since this was last asked. None when that is not known: there were too many, or
    /// the directory itself is gone.
    pub(crate) fn news(&self) -> Option<Vec<OsString>> {
        let mut names = Vec::new();
        loop {
            let events = match self.0.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Some(names),
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
            };
            for event in events {
                names.push(event.name?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_comes_and_goes_is_told_once_and_what_happens_deeper_is_not() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("old")).unwrap();
        let watch = Watch::on(&Dir::open(temp.path()).unwrap()).unwrap();
        fs::create_dir(temp.path().join("new")).unwrap();
        fs::write(temp.path().join("new/inside"), "x").unwrap();
        fs::rename(temp.path().join("old"), temp.path().join("moved")).unwrap();
        assert_eq!(watch.news().unwrap(), ["new", "old", "moved"]);
        assert_eq!(watch.news().unwrap(), [] as [&str; 0]);
    }

    #[test]
    fn more_than_the_kernel_remembers_is_not_taken_for_all() {
        let temp = tempfile::tempdir().unwrap();
        let watch = Watch::on(&Dir::open(temp.path()).unwrap()).unwrap();
        let most: usize =
            fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        // One rename is two events.
        fs::write(temp.path().join("0"), "").unwrap();
        for n in 0..=most / 2 {
            fs::rename(temp.path().join(n.to_string()), temp.path().join((n + 1).to_string())).unwrap();
        }
        assert_eq!(watch.news(), None);
    }
}
