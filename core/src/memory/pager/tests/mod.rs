//! What a pager promises, told with guests that need no VMM: memory of our own, whose faults it answers.

mod ask;
mod damage;
mod guard;
mod handshakes;
mod memory;
mod prefetch;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::memory::tests::{compressed, file_of, guest_memory, zstd};
use crate::sys::socket;
use crate::sys::uffd::client::Guest;
use crate::types::CompressionSettings;

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

/// A pager of some memory, and its socket.
struct Scene {
    pager: Pager,
    socket: PathBuf,
    kept: Arc<Mutex<Option<WorkingSet>>>,
    _directory: TempDir,
}

impl Scene {
    fn new(image: Image, settings: &ServeMemory, known: Option<&WorkingSet>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("pager.sock");
        let listener = socket::listen_at(&socket).unwrap();
        let kept = Arc::new(Mutex::new(None));
        let keeper = Arc::clone(&kept);
        let keep: Keep = Box::new(move |set| {
            *keeper.lock().unwrap() = Some(set.clone());
            true
        });
        let pager = Pager::start(
            image,
            listener,
            settings,
            known,
            keep,
            Arc::new(Guarded::new(Box::new(guard_is_missing))),
        )
        .unwrap();
        Self { pager, socket, kept, _directory: directory }
    }

    fn of(memory: &[u8], settings: &ServeMemory) -> Self {
        Self::new(image(memory, Some(zstd(1))), settings, None)
    }

    /// Connects a guest whose memory is the whole image.
    fn connect(&self, guest: &Guest) -> UnixStream {
        self.say(&mappings(guest, PAGE), Some(guest))
    }

    fn say(&self, message: &str, guest: Option<&Guest>) -> UnixStream {
        let stream = socket::connect(&self.socket).unwrap();
        let uffd: Vec<_> = guest.iter().map(|guest| guest.uffd.as_fd()).collect();
        let sent = socket::send(&stream, message.as_bytes(), &uffd).unwrap();
        assert_eq!(sent, message.len());
        stream
    }

    fn until(&self, what: &str, is_so: impl Fn(&PagerMetrics) -> bool) {
        let patience = Instant::now() + Duration::from_secs(60);
        while !is_so(&self.pager.metrics()) {
            assert!(Instant::now() < patience, "{what}: {:?}", self.pager.metrics());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A guard lets go of what ThreadSanitizer has in each process, and ends there.
fn guard_is_missing(why: String) {
    assert!(std::env::var_os("TSAN_OPTIONS").is_some(), "{why}");
}

fn image(memory: &[u8], settings: Option<CompressionSettings>) -> Image {
    let raw = file_of(memory);
    match settings {
        None => Image::raw(raw).unwrap(),
        Some(settings) => Image::compressed(compressed(&raw, settings).0, settings.algorithm).unwrap(),
    }
}

fn mappings(guest: &Guest, page: usize) -> String {
    format!(
        r#"[{{"base_host_virt_addr":{},"size":{},"offset":0,"page_size":{page},"page_size_kib":{page}}}]"#,
        guest.base, guest.bytes
    )
}

/// A guest, or `None` where there cannot be one; then the test is skipped, by name, unless it is required.
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn guest(bytes: usize, test: &str) -> Option<Guest> {
    match Guest::new(bytes, false, 0) {
        Ok(guest) => Some(guest),
        Err(e) => {
            let required = std::env::var("HYPEMAN_REQUIRE")
                .is_ok_and(|all| all.split(',').any(|one| one == "userfaultfd"));
            assert!(!required, "{test} requires userfaultfd: {e}");
            println!("SKIP {test}: no userfaultfd ({e})");
            None
        }
    }
}

fn read_page(guest: &Guest, page: usize) -> Vec<u8> {
    let mut bytes = vec![0xAA; PAGE];
    guest.read(page * PAGE, &mut bytes);
    bytes
}

fn reads_as(guest: &Guest, memory: &[u8], what: &str) {
    for page in 0..guest.bytes / PAGE {
        assert!(read_page(guest, page) == memory[page * PAGE..][..PAGE], "{what}: page {page}");
    }
}

/// Numbers below `end` in an order of their own, each once.
fn shuffled(end: usize, seed: usize) -> impl Iterator<Item = usize> {
    // Any odd step visits every number of a power of two.
    let all = end.next_power_of_two();
    (0..all).map(move |number| (number * 2_654_435_761 + seed * 97) % all).filter(move |number| *number < end)
}
