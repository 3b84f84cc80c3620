//! A data directory with one VM in Standby, whose memory is an image: what the lines on memory are measured on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use hypeman_core::{
    Call, CompressionConfig, CompressionState, CreateSnapshot, Hypeman, RegisterInstance, SnapshotKind,
};

use crate::Result;
use crate::codec::Frames;
use crate::images::{self, Content, Zeros};
use crate::options::Options;
use crate::peer::{self, Cost, ours};

const MEMORY: &str = "snapshots/snapshot-latest/memory";
// A background job on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// The name of the VM.
pub const VM: &str = "vm";

/// A codec at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Codec {
    /// `zstd` or `lz4`.
    pub algorithm: &'static str,
    /// Its level.
    pub level: i64,
}

impl Codec {
    /// The suffix of the compressed file.
    pub fn extension(self) -> &'static str {
        if self.algorithm == "zstd" { "zst" } else { "lz4" }
    }
}

/// The VM, its store, and a directory for what peers write.
pub struct Stage {
    /// The store.
    pub hm: Hypeman,
    directory: PathBuf,
    compressed: RefCell<HashMap<Codec, String>>,
    frames: RefCell<HashMap<Codec, Rc<Frames>>>,
}

impl Stage {
    /// Puts an image into a new VM beneath `directory`, and into the page cache.
    pub fn new(options: &Options, content: Content, zeros: Zeros, directory: &Path) -> Result<Self> {
        Self::with_memory(directory, |memory| images::stage(options, content, zeros, memory))
    }

    /// The same with memory that `write` puts at a path.
    pub fn with_memory(directory: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let stage = Self {
            hm: Hypeman::open(directory.join("data"))?,
            directory: directory.to_owned(),
            compressed: RefCell::default(),
            frames: RefCell::default(),
        };
        let memory = stage.memory();
        fs::create_dir_all(memory.parent().ok_or("the memory lies in no directory")?)?;
        write(&memory)?;
        peer::run(Command::new("cat").arg(&memory))?;
        let vm = stage.directory.join(VM);
        let request = RegisterInstance { directory: Some(vm), ..RegisterInstance::new(VM, "firecracker") };
        stage.hm.instances().register(&request)?;
        Ok(stage)
    }

    /// The raw memory of the VM, which peers read.
    pub fn memory(&self) -> PathBuf {
        self.directory.join(VM).join(MEMORY)
    }

    /// A path for what a peer writes, where nothing is yet.
    pub fn output(&self) -> Result<PathBuf> {
        let path = self.file("output");
        images::remove(&path)?;
        Ok(path)
    }

    /// A path for what a line makes once.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Captures a raw snapshot and returns its id.
    pub fn capture(&self) -> Result<String> {
        let request = CreateSnapshot {
            compression: Some(CompressionConfig::off()),
            ..CreateSnapshot::new(SnapshotKind::Standby)
        };
        let id = self.hm.instances().snapshots().create(VM, &request, Call::default())?.id;
        self.settle(&id)?;
        Ok(id)
    }

    /// Waits until the job of a snapshot has ended, so that what it does after its callers were answered is not
    /// measured with something else: its note is gone then.
    fn settle(&self, id: &str) -> Result<()> {
        let note = self.directory.join("data/snapshots/.libhypeman/jobs").join(id);
        let start = Instant::now();
        while note.exists() {
            if start.elapsed() > PATIENCE {
                return Err(format!("the job of {id} does not end").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Compresses the raw memory of a snapshot, to the end: written, read back, checked, flushed, the raw file gone.
    pub fn compress(&self, id: &str, codec: Codec) -> Result<Cost> {
        let config = CompressionConfig::with(codec.algorithm, Some(codec.level));
        let cost = ours(|| {
            self.hm.snapshots().compress(id, Some(&config))?;
            let done = self.hm.snapshots().wait(id, Call::default())?;
            match done.compression_state {
                Some(CompressionState::Compressed) => Ok(()),
                _ => Err(format!("compression did not end well: {:?}", done.compression_error).into()),
            }
        })?;
        self.settle(id)?;
        Ok(cost)
    }

    /// A snapshot that is compressed with `codec`, made when it is first asked for.
    pub fn compressed_snapshot(&self, codec: Codec) -> Result<String> {
        if let Some(id) = self.compressed.borrow().get(&codec) {
            return Ok(id.clone());
        }
        let id = self.capture()?;
        self.compress(&id, codec)?;
        self.compressed.borrow_mut().insert(codec, id.clone());
        Ok(id)
    }

    /// The memory of the VM for the codec alone, read when it is first asked for.
    pub fn frames(&self, codec: Codec) -> Result<Rc<Frames>> {
        if let Some(frames) = self.frames.borrow().get(&codec) {
            return Ok(Rc::clone(frames));
        }
        let frames = Rc::new(Frames::of(&self.memory(), codec)?);
        self.frames.borrow_mut().insert(codec, Rc::clone(&frames));
        Ok(frames)
    }

    /// The path of memory in a snapshot that is compressed with `codec`.
    pub fn compressed(&self, id: &str, codec: Codec) -> PathBuf {
        let guest = self.directory.join("data/snapshots").join(id).join("guest");
        guest.join(format!("{MEMORY}.{}", codec.extension()))
    }
}
