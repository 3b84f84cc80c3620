//! A QMP client for tests: the second opinion on what QEMU does. Shares no code with the driver under test.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// A conversation with one QEMU.
#[derive(Debug)]
pub struct Qmp {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    events: Vec<String>,
}

impl Qmp {
    /// Opens a conversation, unless nothing listens; no answer may take longer than a minute.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let writer = UnixStream::connect(socket)?;
        writer.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let reader = BufReader::new(writer.try_clone().unwrap());
        let mut qmp = Self { writer, reader, events: Vec::new() };
        assert!(qmp.read().get("QMP").is_some(), "no greeting on {}", socket.display());
        qmp.run("qmp_capabilities", json!({}));
        Ok(qmp)
    }

    /// Runs a command and returns its answer.
    pub fn run(&mut self, command: &str, arguments: Value) -> Value {
        let line = json!({"execute": command, "arguments": arguments}).to_string();
        self.writer.write_all(line.as_bytes()).unwrap();
        loop {
            let mut answer = self.read();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(result) = answer.get_mut("return") {
                return result.take();
            }
        }
    }

    /// What `query-status` says: `running`, `paused`, `postmigrate`, `inmigrate`, ...
    pub fn status(&mut self) -> String {
        self.run("query-status", json!({}))["status"].as_str().expect("a status is a string").to_owned()
    }

    /// Waits for the next event `name`.
    pub fn wait_for_event(&mut self, name: &str) {
        while self.read()["event"] != name {}
    }

    /// The names of the events that came before the last answer, and forgets them.
    pub fn take_events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events)
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("QEMU answers within a minute");
        let value: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("QEMU said {line:?}: {e}"));
        self.events.extend(value["event"].as_str().map(str::to_owned));
        value
    }
}
