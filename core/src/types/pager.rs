//! Serving the memory of a snapshot to VMs that run already.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check_path;
use crate::error::{Error, Kind, Result};

/// How to serve the memory of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeMemory {
    /// Where to listen: an absolute path at which nothing lies yet, of at most 107 bytes. Default: one of its own in
    /// the directory for temporary files.
    pub socket: Option<PathBuf>,
    /// The most decoded memory that is kept for the next VM that wants it. Default: 64 MiB. Beside it each VM has 4 MiB, or
    /// one frame, of what is about to be installed.
    pub cache_bytes: u64,
    /// Install the pages that the first VM wanted first before the next one asks for them; where that is not known yet,
    /// find it out and note it beside the snapshot. Default: yes.
    pub prefetch: bool,
    /// Install all other pages, too, in the background. A VM that has all of its memory needs no pager any more.
    /// Default: no.
    pub fill: bool,
    /// For how many microseconds after a fault a CPU is kept busy with waiting for the next one, at most; less where
    /// that turns out to be in vain. At most 1000, default 30.
    pub spin_us: u32,
    /// The CPUs that the threads of the pager may run on: best those that share a cache with the VMs' own. Default: all.
    pub cpus: Vec<u32>,
}

impl Default for ServeMemory {
    fn default() -> Self {
        Self {
            socket: None,
            cache_bytes: 64 << 20,
            prefetch: true,
            fill: false,
            spin_us: 30,
            cpus: Vec::new(),
        }
    }
}

impl ServeMemory {
    /// The rules that need no look at anything else.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::new(Kind::InvalidRequest, what));
        if self.spin_us > MOST_SPIN_US {
            return refuse(format!("spin_us must be at most {MOST_SPIN_US}, got {}", self.spin_us));
        }
        self.socket.as_ref().map_or(Ok(()), |socket| check_path("socket", socket))
    }
}

const MOST_SPIN_US: u32 = 1000;

/// What a pager has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagerMetrics {
    /// VMs that are connected now.
    pub vms: u64,
    /// VMs that ever were.
    pub vms_seen: u64,
    /// VMs that were given all of their memory, and need the pager no more.
    pub vms_whole: u64,
    /// Page faults that were answered.
    pub faults: u64,
    /// Bytes that were copied into VMs.
    pub copied_bytes: u64,
    /// Bytes of zeros that VMs were given, which take no memory.
    pub zero_bytes: u64,
    /// Of both, what was installed because a VM before wanted it first.
    pub prefetched_bytes: u64,
    /// Of both, what was installed in the background.
    pub filled_bytes: u64,
    /// How long faults took from the moment they were noticed: entry `i` counts those of less than `2^i` microseconds
    /// and not of a lower entry; the last one counts all longer ones.
    pub fault_us: [u64; 20],
    /// Errors: damaged frames, VMs that were refused.
    pub errors: u64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What a pager is told of a VM whose VMM asks for the pages of its guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskedMemory {
    pub(crate) asks_for: Vec<AskedRegion>,
}

/// A piece of its memory.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct AskedRegion {
    /// The address that the guest has for it.
    pub(crate) gpa: u64,
    pub(crate) bytes: u64,
    /// Where it begins in the image, and in the file that is the memory of the guest.
    pub(crate) offset: u64,
}

/// Which parts of a memory image a VM wanted first after its restore, in that order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkingSet {
    /// The size of a part.
    pub(crate) part_bytes: u64,
    /// Numbers of parts, and runs of them: `7 3-5`.
    order: String,
}

impl WorkingSet {
    /// The most parts in one.
    pub(crate) const MOST: usize = 16_384;

    pub(crate) fn new(part_bytes: u64, parts: &[u64]) -> Self {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for part in parts.iter().take(Self::MOST) {
            match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(*part) => *last = *part,
                _ => runs.push((*part, *part)),
            }
        }
        let words = runs.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        Self { part_bytes, order: words.collect::<Vec<_>>().join(" ") }
    }

    /// The numbers of its parts. What is no number is left out: a hint may be damaged.
    pub(crate) fn parts(&self) -> Vec<u64> {
        let mut parts = Vec::new();
        for word in self.order.split(' ') {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            if let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse()) {
                parts.extend((first..=last).take(Self::MOST - parts.len()));
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_working_set_keeps_its_order_and_stays_small_whatever_it_says() {
        let parts = [9, 3, 4, 5, 2, 1, 1, u64::MAX];
        let set = WorkingSet::new(65536, &parts);
        assert_eq!(
            (set.order.as_str(), set.parts().as_slice()),
            ("9 3-5 2 1 1 18446744073709551615", &parts[..])
        );
        assert!(WorkingSet::new(1, &[]).parts().is_empty());
        assert_eq!(WorkingSet::new(1, &vec![7; 20_000]).parts().len(), WorkingSet::MOST);
        let hostile = WorkingSet { part_bytes: 1, order: "x 7 9-8 -3 0-18446744073709551615".to_owned() };
        assert_eq!((hostile.parts().len(), hostile.parts()[1]), (WorkingSet::MOST, 0));
    }

    #[test]
    fn options_are_checked_before_anything_is_opened() {
        ServeMemory::default().check().unwrap();
        let wrong = [
            ServeMemory { spin_us: 1001, ..ServeMemory::default() },
            ServeMemory { socket: Some("pager.sock".into()), ..ServeMemory::default() },
        ];
        for request in wrong {
            assert_eq!(request.check().unwrap_err().kind(), Kind::InvalidRequest);
        }
    }
}
