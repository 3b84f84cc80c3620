//! As much of QEMU's monitor protocol as the demo needs: one line of JSON each way.
//!
//! Answers are matched by the text that QEMU prints, not parsed: this is a narrator's tool. The library has a
//! client of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;

/// A connection to a QEMU, past its greeting.
pub struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to `socket`, waiting for a QEMU that is still starting.
    pub fn connect(socket: &Path) -> Result<Self> {
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if start.elapsed() > Duration::from_secs(20) => {
                    return Err(format!("QEMU does not listen on {}: {error}", socket.display()).into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut monitor = Self { reader: BufReader::new(stream) };
        monitor.line()?;
        monitor.execute("qmp_capabilities", "{}")?;
        Ok(monitor)
    }

    /// Runs `command` and returns the line of its answer.
    pub fn execute(&mut self, command: &str, arguments: &str) -> Result<String> {
        let request = format!("{{\"execute\": \"{command}\", \"arguments\": {arguments}}}\n");
        self.reader.get_mut().write_all(request.as_bytes())?;
        loop {
            let line = self.line()?;
            if line.starts_with("{\"return\"") {
                return Ok(line);
            }
            if line.starts_with("{\"error\"") {
                return Err(format!("QEMU refused {command}: {line}").into());
            }
        }
    }

    /// The next line from QEMU: an event or an answer.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err("QEMU hung up".into());
        }
        Ok(line.trim().to_owned())
    }
}

/// A string as JSON, for paths in arguments.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
