//! What the lines share: the options, a directory to work in, and what one line measured that another needs too.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::Result;
use crate::images::{Content, Zeros};
use crate::lines::compress::{Round, Work};
use crate::options::Options;
use crate::stage::Stage;

/// An image, its snapshot and what is made of both, with room to spare.
const ROOM_BYTES: u64 = 8 << 30;

/// The state of a run.
pub struct Scene {
    /// What was asked for.
    pub options: Options,
    /// Rounds of compression by what was done in them: wall, CPU and size are lines of their own.
    pub compressions: HashMap<Work, Vec<Round>>,
    directory: PathBuf,
    stage: Option<(Content, Zeros, Stage)>,
}

impl Scene {
    /// Makes the directory to work in: on tmpfs where there is room, so that disks are not what is measured.
    pub fn new(options: Options) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let free = statvfs(memory).map(|stat| stat.blocks_available() * stat.fragment_size());
        let needed = if options.quick { ROOM_BYTES / 4 } else { ROOM_BYTES };
        let parent = match free {
            Ok(free) if free >= needed => memory.to_owned(),
            _ => options.target.join("bench"),
        };
        let directory = parent.join(format!("hypeman-bench-work-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        println!("working in {}", directory.display());
        Ok(Self { options, compressions: HashMap::new(), directory, stage: None })
    }

    /// A directory of this name, empty.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A VM with an image. The last one is kept, so that lines on the same image come one after the other.
    pub fn stage(&mut self, content: Content, zeros: Zeros) -> Result<&Stage> {
        if !matches!(&self.stage, Some((c, z, _)) if (*c, *z) == (content, zeros)) {
            // The old one first: both would need the room twice.
            self.stage = None;
            let stage = Stage::new(&self.options, content, zeros, &self.directory("stage")?)?;
            self.stage = Some((content, zeros, stage));
        }
        self.stage.as_ref().map(|(_, _, stage)| stage).ok_or_else(|| "there is no stage".into())
    }

    /// Forgets the VM, for a line that left it another than it found it.
    pub fn clear(&mut self) {
        self.stage = None;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stage = None;
        // What is left there is in no one's way but takes memory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
