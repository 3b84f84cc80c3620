//! The death of a host: its guests end, rather than stand still for ever. And its guard costs next to nothing.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::*;
use crate::sys::guard::actors::{child_with_all_descriptors, connection_of_no_one, guards_of};

/// Names the part that a process plays, and where.
const ROLE: &str = "HYPEMAN_TEST_GUARD";
const BYTES: usize = 4 * MIB;
/// The guest has it from the beginning, and never gives it back.
const HAD: usize = 3;
/// The guest has it from the beginning, too.
const GIVEN_BACK: usize = 900;
/// Far from those that the guest has.
const MISSED: usize = 512;
/// How long something that is not to happen is waited for.
const CALM: Duration = Duration::from_millis(500);

/// Not a story but the actors: a host, or a guest, in a process of its own.
#[test]
fn a_host_or_a_guest_in_a_process_of_its_own() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (part, directory) = role.split_once(' ').unwrap();
    let directory = Path::new(directory);
    match part {
        "guest" => be_guest(directory, connection_to(&directory.join("pager.sock"))),
        "stranger" => {
            let path = directory.join("pager.sock");
            drop(connection_to(&path));
            be_guest(directory, connection_of_no_one(&path));
        }
        part => be_host(directory, part),
    }
}

fn be_host(directory: &Path, part: &str) {
    // So that there is something to copy, if it were copied.
    let heap: Vec<u8> = (0..64 * MIB).map(|at| at as u8).collect();
    let listener = socket::listen_at(&directory.join("pager.sock")).unwrap();
    let settings = ServeMemory { fill: part == "fills", prefetch: false, ..ServeMemory::default() };
    let image = image(&guest_memory(BYTES), Some(zstd(1)));
    let guarded = Arc::new(Guarded::new(Box::new(|why| panic!("{why}"))));
    let keep: Keep = Box::new(|_| true);
    let pager = Pager::start(image, listener, &settings, None, keep, Arc::clone(&guarded)).unwrap();
    if part == "fills" {
        pager.wait(&Limit::default()).unwrap();
    }
    await_file(&directory.join("has"));
    if part == "forks" {
        child_with_all_descriptors(60);
    }
    say(directory, "serves");
    if part == "stops" {
        await_file(&directory.join("stop"));
        pager.stop();
        say(directory, "stopped");
        await_file(&directory.join("close"));
        guarded.stop();
        say(directory, "closed");
    }
    std::thread::sleep(Duration::from_secs(120));
    assert_eq!(heap[77], 77);
}

/// The socket may be there before anyone listens.
fn connection_to(path: &Path) -> UnixStream {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match socket::connect(path) {
            Ok(stream) => return stream,
            Err(e) => assert!(Instant::now() < patience, "nobody listens: {e}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn be_guest(directory: &Path, stream: UnixStream) {
    let memory = guest_memory(BYTES);
    let guest = Guest::new(BYTES, false, 0).unwrap();
    socket::send(&stream, mappings(&guest, PAGE).as_bytes(), &[guest.uffd.as_fd()]).unwrap();
    let is_right = |page: usize| read_page(&guest, page) == memory[page * PAGE..][..PAGE];
    assert!(is_right(HAD) && is_right(GIVEN_BACK));
    say(directory, "has");
    await_file(&directory.join("again"));
    assert!(is_right(HAD) && is_right(GIVEN_BACK), "what it has it keeps");
    say(directory, "had");
    await_file(&directory.join("give back"));
    guest.remove(GIVEN_BACK * PAGE, PAGE);
    assert_eq!(read_page(&guest, GIVEN_BACK), [0; PAGE]);
    say(directory, "gave back");
    await_file(&directory.join("touch"));
    assert!(is_right(MISSED), "it reads nothing wrong");
    say(directory, "read it");
    std::thread::sleep(Duration::from_secs(120));
}

fn say(directory: &Path, what: &str) {
    fs::write(directory.join(what), "").unwrap();
}

fn await_file(file: &Path) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !file.exists() {
        assert!(Instant::now() < patience, "nobody says {}", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A host and its guest, each a process. Both end with this.
struct Play {
    directory: TempDir,
    host: Child,
    guest: Child,
    guard: u32,
}

impl Play {
    /// Begins when the guest has its first pages; `None` where there is no userfaultfd.
    fn new(part: &str, test: &str) -> Option<Self> {
        Self::with("guest", part, test)
    }

    fn with(guests_part: &str, part: &str, test: &str) -> Option<Self> {
        guest(PAGE, test)?;
        let directory = tempfile::tempdir().unwrap();
        let start = |part: &str| {
            let name = "memory::pager::tests::guard::a_host_or_a_guest_in_a_process_of_its_own";
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--test-threads=1"])
                .env(ROLE, format!("{part} {}", directory.path().display()))
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        let host = start(part);
        await_file(&directory.path().join("pager.sock"));
        let guest = start(guests_part);
        await_file(&directory.path().join("serves"));
        let guards = guards_of(host.id());
        let [guard] = guards[..] else { panic!("one guard: {guards:?}") };
        Some(Self { directory, host, guest, guard })
    }

    fn say(&self, what: &str) {
        say(self.directory.path(), what);
    }

    fn await_word(&self, what: &str) {
        await_file(&self.directory.path().join(what));
    }

    /// Sends it to sleep, and returns when all of its threads do.
    fn stop_host(&self) {
        Command::new("kill").args(["-STOP", &self.host.id().to_string()]).status().unwrap();
        let sleeps = |thread: fs::DirEntry| {
            fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stat.contains(") T "))
        };
        let patience = Instant::now() + Duration::from_secs(20);
        let threads = || fs::read_dir(format!("/proc/{}/task", self.host.id())).unwrap().map(Result::unwrap);
        while !threads().all(sleeps) {
            assert!(Instant::now() < patience, "it does not stop");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn kill_host(&mut self) {
        self.host.kill().unwrap();
        self.host.wait().unwrap();
    }

    fn has_guard(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.guard)).unwrap_or_default();
        stat.contains("(hypeman-guard)") && !stat.contains(") Z ")
    }

    fn await_guards_end(&self) {
        let patience = Instant::now() + Duration::from_secs(20);
        while self.has_guard() {
            assert!(Instant::now() < patience, "it ends");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How the guest ended, if it does within some seconds.
    fn guests_end(&mut self) -> Option<ExitStatus> {
        let patience = Instant::now() + Duration::from_secs(20);
        while Instant::now() < patience {
            if let Some(ended) = self.guest.try_wait().unwrap() {
                return Some(ended);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Has the guest touch what it misses; it stands still there.
    fn assert_stands(&mut self) {
        self.say("again");
        self.await_word("had");
        // To give memory back waits for someone who reads that, too: it is not tried.
        self.say("give back");
        std::thread::sleep(CALM);
        assert!(self.guest.try_wait().unwrap().is_none(), "it waits");
        assert!(!self.directory.path().join("gave back").exists());
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        for child in [&mut self.host, &mut self.guest] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_guest_whose_host_is_killed_ends_at_the_next_page_that_it_misses() {
    let name = "a_guest_whose_host_is_killed_ends_at_the_next_page_that_it_misses";
    // That of the second has a child, which keeps all of its descriptors.
    for part in ["serves", "forks"] {
        let Some(mut play) = Play::new(part, name) else { return };
        play.kill_host();
        play.say("again");
        play.await_word("had");
        std::thread::sleep(CALM);
        assert!(play.guest.try_wait().unwrap().is_none(), "what it has it can use");
        play.say("give back");
        play.say("touch");
        let ended = play.guests_end().expect("it does not stand still");
        assert_eq!(ended.signal(), Some(libc::SIGBUS), "{part}: {ended}");
        play.await_guards_end();
        assert!(!play.directory.path().join("read it").exists());
    }
}

#[test]
fn a_vmm_that_no_one_knows_ends_of_poison_and_may_give_memory_back_before() {
    let name = "a_vmm_that_no_one_knows_ends_of_poison_and_may_give_memory_back_before";
    let Some(mut play) = Play::with("stranger", "serves", name) else { return };
    play.kill_host();
    // All is done then: a guest that is slow to touch anything needs no one.
    play.await_guards_end();
    for (word, answer) in [("again", "had"), ("give back", "gave back")] {
        play.say(word);
        play.await_word(answer);
    }
    assert!(play.guest.try_wait().unwrap().is_none(), "what it has it can use");
    play.say("touch");
    let ended = play.guests_end().expect("it does not stand still");
    assert_eq!(ended.signal(), Some(libc::SIGBUS), "{ended}");
}

#[test]
fn a_guest_that_waits_when_its_host_is_killed_ends() {
    let Some(mut play) = Play::new("serves", "a_guest_that_waits_when_its_host_is_killed_ends") else {
        return;
    };
    for word in ["again", "give back", "touch"] {
        play.say(word);
        if word == "give back" {
            play.await_word("gave back");
            play.stop_host();
        }
    }
    std::thread::sleep(CALM);
    assert!(play.guest.try_wait().unwrap().is_none(), "it waits for its host");
    play.kill_host();
    let ended = play.guests_end().expect("it does not stand still");
    assert_eq!(ended.signal(), Some(libc::SIGBUS), "{ended}");
}

#[test]
fn without_its_guard_a_guest_of_a_killed_host_stands_still() {
    let name = "without_its_guard_a_guest_of_a_killed_host_stands_still";
    let Some(mut play) = Play::new("serves", name) else { return };
    Command::new("kill").args(["-KILL", &play.guard.to_string()]).status().unwrap();
    play.await_guards_end();
    play.kill_host();
    play.assert_stands();
}

#[test]
fn a_stop_leaves_its_guests_alone_and_a_closed_handle_has_no_guard() {
    let name = "a_stop_leaves_its_guests_alone_and_a_closed_handle_has_no_guard";
    for is_closed in [false, true] {
        let Some(mut play) = Play::new("stops", name) else { return };
        play.say("stop");
        play.await_word("stopped");
        assert!(play.has_guard(), "for the next pager");
        if is_closed {
            play.say("close");
            play.await_word("closed");
            assert_eq!(guards_of(play.host.id()), [0; 0], "neither running nor ended");
        }
        play.kill_host();
        play.assert_stands();
        play.await_guards_end();
    }
}

#[test]
fn a_guest_with_all_of_its_memory_outlives_its_host() {
    let Some(mut play) = Play::new("fills", "a_guest_with_all_of_its_memory_outlives_its_host") else {
        return;
    };
    play.kill_host();
    for (word, answer) in [("again", "had"), ("give back", "gave back"), ("touch", "read it")] {
        play.say(word);
        play.await_word(answer);
    }
    play.await_guards_end();
}

#[test]
fn a_guard_has_nothing_of_its_host() {
    let Some(play) = Play::new("serves", "a_guard_has_nothing_of_its_host") else { return };
    let proc = Path::new("/proc").join(play.guard.to_string());
    let mut open: Vec<_> = fs::read_dir(proc.join("fd"))
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().to_str().unwrap().to_owned())
        .map(|link| link.split('[').next_back().unwrap().split(':').next_back().unwrap().to_owned())
        .collect();
    open.sort();
    // A socket, the descriptor of its VM, and pidfds of the host and of the VMM.
    assert_eq!(open.len(), 4, "{open:?}");
    assert!(open.iter().any(|one| one == "userfaultfd]"), "{open:?}");
    let status = fs::read_to_string(proc.join("status")).unwrap();
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse().unwrap()
    };
    let own = fs::read_to_string(format!("/proc/{}/status", play.host.id())).unwrap();
    // The host has 64 MiB of its own. What is left is what the loader wrote into our code.
    assert!(number("RssAnon:") < 4096 && number("RssShmem:") == 0, "{status}\nof a host with {own}");
    assert_eq!(fs::read_link(proc.join("cwd")).unwrap(), Path::new("/"));
    assert_eq!(fs::read(proc.join("cmdline")).unwrap(), b"", "who looks for its host does not find it");
}
