//! The pauses of a VM, seen from outside: a witness that owes the library nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::qmp::Monitor;
use super::serial::Serial;
use super::vm::Vm;
use crate::Result;

/// A pause, from QEMU's STOP to its RESUME event.
#[derive(Clone, Debug)]
pub struct Pause {
    /// Everything that the guest had said when it was stopped.
    pub said: String,
    /// How long it was stopped, by QEMU's own clock, in milliseconds.
    pub length_ms: f64,
}

/// Notes every pause of a VM, on a thread that ends with the VM.
pub struct Pauses {
    seen: Arc<Mutex<Vec<Pause>>>,
}

impl Pauses {
    /// Begins to watch `vm`.
    pub fn of(vm: &Vm) -> Result<Self> {
        let (monitor, serial) = (vm.monitor()?, vm.serial());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let pauses = Self { seen: Arc::clone(&seen) };
        std::thread::spawn(move || watch(monitor, &serial, &seen));
        Ok(pauses)
    }

    /// Waits until there were `count` pauses: an event may arrive after the call that caused it has returned.
    pub fn wait_for(&self, count: usize) -> Result<Vec<Pause>> {
        let start = Instant::now();
        loop {
            let seen = self.seen();
            if seen.len() >= count {
                return Ok(seen);
            }
            if start.elapsed() > Duration::from_secs(20) {
                return Err(format!("QEMU reported {} pauses of {count}", seen.len()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The pauses so far.
    pub fn seen(&self) -> Vec<Pause> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn watch(mut monitor: Monitor, serial: &Serial, seen: &Mutex<Vec<Pause>>) {
    let mut stopped = None;
    // The loop ends with the error that says that QEMU is gone.
    while let Ok(line) = monitor.line() {
        let Some(now_ms) = timestamp_ms(&line) else { continue };
        if line.contains("\"event\": \"STOP\"") {
            stopped = Some((now_ms, serial.text()));
        } else if line.contains("\"event\": \"RESUME\"")
            && let Some((stopped_ms, said)) = stopped.take()
        {
            let pause = Pause { length_ms: now_ms - stopped_ms, said };
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(pause);
        }
    }
}

/// The time of an event, in milliseconds.
fn timestamp_ms(line: &str) -> Option<f64> {
    Some(number_after(line, "\"seconds\": ")? * 1e3 + number_after(line, "\"microseconds\": ")? / 1e3)
}

fn number_after(line: &str, key: &str) -> Option<f64> {
    let (_, rest) = line.split_once(key)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_its_time() {
        let line = r#"{"timestamp": {"seconds": 12, "microseconds": 3456}, "event": "STOP"}"#;
        assert_eq!(timestamp_ms(line), Some(12_003.456));
        assert_eq!(timestamp_ms(r#"{"return": {}}"#), None);
    }
}
