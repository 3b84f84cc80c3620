//! What was asked for on the command line.

use std::path::{Path, PathBuf};

use crate::Result;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Small images and few rounds.
    pub quick: bool,
    /// Only the line of this id.
    pub only: Option<String>,
    /// Where images are kept and reports go.
    pub target: PathBuf,
    /// What a guest boots; needed until its memory was taken once.
    pub kernel: Option<PathBuf>,
    /// Its root file system.
    pub initramfs: Option<PathBuf>,
}

impl Options {
    /// Reads the words after the name of the program.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut words = words;
        let mut options =
            Self { quick: false, only: None, target: root().join("target"), kernel: None, initramfs: None };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                "--quick" => options.quick = true,
                "--only" => options.only = Some(value()?),
                "--target" => options.target = PathBuf::from(value()?),
                "--kernel" => options.kernel = Some(PathBuf::from(value()?)),
                "--initramfs" => options.initramfs = Some(PathBuf::from(value()?)),
                other => {
                    return Err(format!("unknown option {other}; there are --quick and --only ID").into());
                }
            }
        }
        Ok(options)
    }

    /// Samples of each side, one a round, both sides in each.
    pub fn rounds(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    /// The same for a compression at a level: the slow ones take seconds each.
    pub fn rounds_of(&self, level: i64) -> usize {
        if self.quick && level > 3 { 2 } else { self.rounds() }
    }
}

/// The root of the repository.
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}
