//! The last image of each VMM process, and whether the next one can build on it: a file for each pid.
//!
//! A process that writes an image forgets what had changed before. So its note is taken back before it is asked, and
//! made again only when that image is a snapshot: whoever dies in between leaves a note that says nothing. None of this
//! needs a flush: a power cut ends the process, too, and the note is of another boot then.

use serde::{Deserialize, Serialize};

use super::durable::UNFLUSHED;
use super::locks::wait;
use super::{Store, json};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::Peer;
use crate::sys::lock::{ByteLock, Sharing};
use crate::sys::process;

/// The file whose bytes are the pids of the VMMs that are captured now.
const PROCESSES: &str = "processes";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastImage {
    pub(crate) snapshot_id: String,
    /// The boot of this machine in which the VMM runs.
    pub(crate) boot_id: String,
    pub(crate) peer: Peer,
    /// The image is a snapshot. Else it is being made, or its maker has failed or died.
    pub(crate) is_whole: bool,
    /// What the VMM said of itself when it stood where the image was taken, if it stayed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) standstill: Option<String>,
}

impl LastImage {
    /// An image that `peer` is about to write, or has just loaded.
    pub(crate) fn of(snapshot_id: &str, peer: &Peer) -> Result<Self> {
        let boot_id =
            process::boot_id().map_err(|e| Error::io("read", "/proc/sys/kernel/random/boot_id", &e))?;
        Ok(Self {
            snapshot_id: snapshot_id.to_owned(),
            boot_id,
            peer: peer.clone(),
            is_whole: false,
            standstill: None,
        })
    }

    fn is_of(&self, peer: &Peer) -> bool {
        self.peer == *peer && process::boot_id().is_ok_and(|now| now == self.boot_id)
    }
}

impl Store {
    /// Waits for the right to have the process `peer` write an image: two instances may be one VM.
    pub(crate) fn process_turn(&self, peer: &Peer, limit: &Limit) -> Result<ByteLock> {
        wait(limit, || self.try_process_turn(peer))
    }

    /// Takes that right, if no one has it.
    pub(crate) fn try_process_turn(&self, peer: &Peer) -> Result<Option<ByteLock>> {
        self.try_pid_turn(peer.pid)
    }

    fn try_pid_turn(&self, pid: i32) -> Result<Option<ByteLock>> {
        self.try_lock(PROCESSES, i64::from(pid), Sharing::Exclusive)
    }

    /// The last image of the process `peer`, if it is a snapshot. A note that cannot be read says nothing.
    pub(crate) fn last_image(&self, peer: &Peer) -> Result<Option<LastImage>> {
        Ok(self.image_note(peer)?.filter(|last| last.is_whole))
    }

    /// Takes back what is noted of the process of `image`, which is about to write it. The caller has its turn.
    pub(crate) fn begin_image(&self, image: &LastImage) -> Result<()> {
        self.write_image(&LastImage { is_whole: false, ..image.clone() })
    }

    /// Notes that `image` is a snapshot, unless its process was asked for another one since [`Store::begin_image`], or
    /// is being asked now. An image that was used again is followed by its copy.
    pub(crate) fn finish_image(&self, image: &LastImage) -> Result<()> {
        let Some(_turn) = self.try_process_turn(&image.peer)? else { return Ok(()) };
        let noted = self.image_note(&image.peer)?;
        let is_last = noted.is_some_and(|noted| {
            noted.snapshot_id == image.snapshot_id
                || (noted.standstill.is_some() && noted.standstill == image.standstill)
        });
        if is_last { self.write_image(&LastImage { is_whole: true, ..image.clone() }) } else { Ok(()) }
    }

    /// Removes the notes of processes that are gone, and what dead writers had not finished.
    pub(crate) fn clear_dead_images(&self) -> Result<()> {
        let images = &self.private()?.images;
        for entry in images.entries()? {
            let Some(name) = entry.name.to_str() else { continue };
            let pid = name.trim_start_matches('.').trim_end_matches(".json").parse::<u32>();
            let Some(pid) = pid.ok().and_then(|pid| i32::try_from(pid).ok()) else { continue };
            let Some(_turn) = self.try_pid_turn(pid)? else { continue };
            let noted = images.read_if_any(name)?.and_then(|file| {
                let noted = json::read(&file, &images.join(name)).ok()?;
                serde_json::from_value::<LastImage>(noted).ok().filter(|noted| noted.is_of(&noted.peer))
            });
            let lives = noted.is_some_and(|noted| noted.peer.lives().unwrap_or(true));
            if !lives {
                images.unlink(name)?;
            }
        }
        Ok(())
    }

    fn image_note(&self, peer: &Peer) -> Result<Option<LastImage>> {
        let images = &self.private()?.images;
        let name = file_name(peer);
        let Some(file) = images.read_if_any(&name)? else { return Ok(None) };
        let noted = json::read(&file, &images.join(&name)).ok();
        let noted = noted.and_then(|value| serde_json::from_value::<LastImage>(value).ok());
        Ok(noted.filter(|noted| noted.is_of(peer)))
    }

    fn write_image(&self, image: &LastImage) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(image)
            .map_err(|e| Error::new(Kind::Internal, format!("cannot write the note of an image: {e}")))?;
        let images = &self.private()?.images;
        let (name, scratch) = (file_name(&image.peer), format!(".{}", image.peer.pid));
        UNFLUSHED.replace(images, &name, &bytes, images, &scratch)
    }
}

fn file_name(peer: &Peer) -> String {
    format!("{}.json", peer.pid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypeman::Durability;
    use crate::log::Log;

    #[test]
    fn notes_of_processes_that_are_gone_are_removed_and_those_of_living_ones_stay() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path(), Durability::Full, false, Log::default()).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let living = Peer { pid, uid: 0, start_ticks: process::start_ticks(pid).unwrap() };
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let gone = Peer { pid: i32::try_from(ended.id()).unwrap(), uid: 0, start_ticks: 1 };
        ended.wait().unwrap();
        for peer in [&living, &gone] {
            let image = LastImage::of("a", peer).unwrap();
            store.begin_image(&image).unwrap();
            store.finish_image(&image).unwrap();
        }
        let images = temp.path().join("snapshots/.libhypeman/images");
        std::fs::write(images.join(format!(".{}", gone.pid)), "half").unwrap();
        store.clear_dead_images().unwrap();
        assert_eq!(std::fs::read_dir(&images).unwrap().count(), 1);
        assert!(store.last_image(&living).unwrap().is_some());
    }
}
