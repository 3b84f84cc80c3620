//! The files that are there before a case begins.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hypeman_core::Timestamp;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One file, directory, link or socket of a fixture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// What it is.
    #[serde(flatten)]
    pub content: Content,
    /// Its permissions in octal, such as `0444`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// What a fixture's entry is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A file with this text.
    Text(String),
    /// A file with this JSON, and a line break.
    Json(Value),
    /// A file with these bytes.
    BytesB64(String),
    /// A file that is one hole of so many bytes.
    SizeBytes(u64),
    /// A file of words in an order that compresses, but not to nothing.
    PatternBytes(usize),
    /// A memory image: 64 KiB for each character, which is `w` for words, `0` for zeros, `-` for a hole.
    Pieces(String),
    /// A directory with nothing in it.
    Directory(Empty),
    /// A symbolic link to this path.
    Link(String),
    /// A named pipe.
    Fifo(Empty),
    /// A Unix socket.
    Socket(Socket),
    /// Nothing: for the data directory itself, which is there otherwise.
    Absent(Empty),
}

/// `{}`: nothing more to say.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// What answers on a socket of a fixture.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Socket {
    /// Nothing listens: its owner is gone.
    Dead,
    /// Someone listens and never says a word.
    Silent,
    /// Someone answers, but it is no hypervisor.
    Nonsense,
    /// Someone accepts and hangs up at once.
    HangUp,
}

/// A data directory and a working directory, as a case wants them. Removed when dropped.
#[derive(Debug)]
pub struct Fixture {
    root: tempfile::TempDir,
    made_at: Timestamp,
}

impl Fixture {
    /// Builds `files`.
    pub fn new(files: &BTreeMap<String, Entry>) -> Self {
        let root = tempfile::Builder::new().prefix("hypeman").tempdir().unwrap();
        let fixture = Self { root, made_at: Timestamp::now() };
        fs::create_dir(fixture.work()).unwrap();
        if !files.contains_key("${data}") {
            fs::create_dir(fixture.data()).unwrap();
        }
        for (path, entry) in files {
            fixture.put(path, entry);
        }
        fixture
    }

    /// When this was built.
    pub fn made_at(&self) -> Timestamp {
        self.made_at
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The directory for everything else.
    pub fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// `text` with `${data}` and `${work}` replaced.
    pub fn expand(&self, text: &str) -> String {
        let path = |path: PathBuf| path.into_os_string().into_string().expect("a temporary path is text");
        text.replace("${data}", &path(self.data())).replace("${work}", &path(self.work()))
    }

    fn put(&self, path: &str, entry: &Entry) {
        let path = PathBuf::from(self.expand(path));
        assert!(
            path.starts_with(self.root.path()),
            "{} must begin with ${{data}} or ${{work}}",
            path.display()
        );
        fs::create_dir_all(path.parent().expect("it lies in the fixture")).unwrap();
        match &entry.content {
            Content::Text(text) => fs::write(&path, self.expand(text)).unwrap(),
            Content::Json(json) => fs::write(&path, self.expand(&format!("{json:#}\n"))).unwrap(),
            Content::BytesB64(bytes) => fs::write(&path, STANDARD.decode(bytes).unwrap()).unwrap(),
            Content::SizeBytes(bytes) => File::create(&path).unwrap().set_len(*bytes).unwrap(),
            Content::PatternBytes(bytes) => fs::write(&path, words(*bytes)).unwrap(),
            Content::Pieces(pieces) => write_pieces(&path, pieces),
            Content::Directory(Empty {}) => fs::create_dir_all(&path).unwrap(),
            Content::Link(target) => symlink(self.expand(target), &path).unwrap(),
            Content::Fifo(Empty {}) => mkfifo(&path, Mode::S_IRWXU).unwrap(),
            Content::Socket(socket) => listen(&path, *socket),
            Content::Absent(Empty {}) => return,
        }
        if let Some(mode) = &entry.mode {
            let mode = u32::from_str_radix(mode, 8).expect("a mode is octal");
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
    }
}

fn words(bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["page ", "frame ", "extent ", "guest ", "memory ", "dirty ", "clean ", "\n"];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = Vec::with_capacity(bytes + 8);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = WORDS[usize::from(state.to_le_bytes()[3] & 7)];
        text.extend_from_slice(word.as_bytes());
    }
    text.truncate(bytes);
    text
}

/// Serves `path` until the test process ends.
fn write_pieces(path: &Path, pieces: &str) {
    const PIECE_BYTES: usize = 64 << 10;
    let file = File::create(path).unwrap();
    file.set_len((pieces.len() * PIECE_BYTES) as u64).unwrap();
    for (index, piece) in pieces.chars().enumerate() {
        let bytes = match piece {
            'w' => words(PIECE_BYTES),
            '0' => vec![0; PIECE_BYTES],
            '-' => continue,
            other => panic!("{}: {other:?} is none of w, 0, -", path.display()),
        };
        file.write_all_at(&bytes, (index * PIECE_BYTES) as u64).unwrap();
    }
}

fn listen(path: &Path, socket: Socket) {
    let listener = UnixListener::bind(path).unwrap();
    if matches!(socket, Socket::Dead) {
        return;
    }
    thread::spawn(move || {
        let mut silent = Vec::new();
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            match socket {
                Socket::Dead | Socket::HangUp => (),
                Socket::Silent => silent.push(connection),
                Socket::Nonsense => {
                    // The first words may be the client's (HTTP) or ours (QMP): answer both, then hang up.
                    let _ = connection.write_all(b"220 mail.example ESMTP\r\n");
                    let _ = connection.set_read_timeout(Some(Duration::from_millis(200)));
                    let _ = connection.read(&mut [0; 4096]);
                }
            }
        }
    });
}
