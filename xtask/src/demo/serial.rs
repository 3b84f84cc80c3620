//! What a guest says on its serial port, as QEMU keeps it in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Result;

/// How long a guest may take to say something; it is emulated, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The log of a serial port.
#[derive(Clone)]
pub struct Serial {
    path: PathBuf,
}

impl Serial {
    /// The log at `path`, which may not be there yet.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    /// All that was said so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.path).unwrap_or_default()).into_owned()
    }

    /// Waits until `found` finds what it looks for in the log.
    pub fn wait_for<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            let text = self.text();
            if let Some(result) = found(&text) {
                return Ok(result);
            }
            if start.elapsed() > PATIENCE {
                let end: Vec<_> = text.lines().rev().take(5).collect();
                return Err(
                    format!("the guest did not say {what}; its last lines, newest first: {end:?}").into()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the guest has counted to `tick` or further.
    pub fn wait_for_tick(&self, tick: u64) -> Result<u64> {
        self.wait_for(&format!("tick {tick}"), |text| {
            ticks(text).last().copied().filter(|last| *last >= tick)
        })
    }
}

/// The numbers that the guest counted, in the order of the log. An unfinished last line does not count.
pub fn ticks(text: &str) -> Vec<u64> {
    let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    lines.filter_map(|line| line.trim().strip_prefix("tick ")?.parse().ok()).collect()
}

/// Tells whether the guest counted 1, 2, 3 and so on: no tick lost, none twice.
pub fn is_seamless(ticks: &[u64]) -> bool {
    !ticks.is_empty() && ticks.iter().copied().eq(1..=ticks.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_or_repeated_tick_is_seen() {
        assert!(is_seamless(&ticks("BOOTED\r\ntick 1\r\ntick 2\r\nMEM OK 2\r\ntick 3\r\n")));
        assert!(!is_seamless(&ticks("tick 1\ntick 3\n")));
        assert!(!is_seamless(&ticks("tick 1\ntick 2\ntick 2\n")));
        assert!(!is_seamless(&ticks("")));
    }

    #[test]
    fn an_unfinished_line_is_not_a_tick_yet() {
        assert_eq!(ticks("tick 9\ntick 1"), [9]);
    }
}
