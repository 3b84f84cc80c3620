//! VMMs that answer the faults of their guests themselves, and ask for each page: as cloud-hypervisor does, without one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

use super::damage::damaged_image;
use super::*;
use crate::memory::tests::lz4;
use crate::sys::memfd;
use crate::types::{AskedMemory, AskedRegion};

/// The addresses of the guest have a gap in the middle of its memory.
const GAP: u64 = 1 << 30;
const OK: u8 = 1;
const FAILED: u8 = 2;

/// A VMM: the memory that it shares, and the connection on which it asks.
struct Vmm {
    memory: File,
    questions: UnixStream,
    bytes: u64,
}

impl Vmm {
    /// One whose memory is the whole image, in two pieces, of which the second lies above the gap.
    fn new(scene: &Scene, bytes: usize) -> Self {
        let bytes = bytes as u64;
        let memory = memfd::create().unwrap();
        memory.set_len(bytes).unwrap();
        let (questions, theirs) = UnixStream::pair().unwrap();
        let half = bytes / 2;
        let asked = AskedMemory {
            asks_for: vec![
                AskedRegion { gpa: GAP, bytes: half, offset: half },
                AskedRegion { gpa: 0, bytes: half, offset: 0 },
            ],
        };
        say(scene, &asked, &[theirs.as_fd(), memory.as_fd()]);
        Self { memory, questions, bytes }
    }

    fn ask(&mut self, gpa: u64, bytes: u64) -> u8 {
        let mut request = [0; 32];
        request[0] = 9;
        request[8] = 16;
        request[16..24].copy_from_slice(&gpa.to_le_bytes());
        request[24..].copy_from_slice(&bytes.to_le_bytes());
        self.questions.write_all(&request).unwrap();
        let mut answer = [0xEE; 16];
        self.questions.read_exact(&mut answer).unwrap();
        assert_eq!(answer[1..], [0; 15]);
        answer[0]
    }

    /// What the guest would read in a page of the image, once it was asked for.
    fn read(&mut self, page: usize) -> Vec<u8> {
        let gpa = self.address_of(page);
        assert_eq!(self.ask(gpa, PAGE as u64), OK);
        let mut memory = vec![0xEE; PAGE];
        self.memory.read_exact_at(&mut memory, (page * PAGE) as u64).unwrap();
        memory
    }

    fn address_of(&self, page: usize) -> u64 {
        let at = (page * PAGE) as u64;
        if at < self.bytes / 2 { at } else { GAP + at - self.bytes / 2 }
    }
}

fn say(scene: &Scene, asked: &AskedMemory, files: &[std::os::fd::BorrowedFd<'_>]) -> UnixStream {
    let stream = socket::connect(&scene.socket).unwrap();
    let text = serde_json::to_vec(asked).unwrap();
    assert_eq!(socket::send(&stream, &text, files).unwrap(), text.len());
    stream
}

#[test]
fn a_vmm_that_asks_is_given_every_page_from_every_form_of_image() {
    let memory = guest_memory(8 * MIB);
    for settings in [None, Some(zstd(1)), Some(lz4(0))] {
        let scene = Scene::new(image(&memory, settings), &ServeMemory::default(), None);
        let mut vmm = Vmm::new(&scene, memory.len());
        for page in shuffled(memory.len() / PAGE, 3) {
            assert!(vmm.read(page) == memory[page * PAGE..][..PAGE], "{settings:?}, page {page}");
        }
        let metrics = scene.pager.metrics();
        assert_eq!((metrics.vms, metrics.vms_seen, metrics.errors), (1, 1, 0), "{metrics:?}");
        assert_eq!(metrics.copied_bytes + metrics.zero_bytes, memory.len() as u64, "each once: {metrics:?}");
        drop(vmm);
        scene.pager.wait(crate::Call::default().timeout(Duration::from_secs(60)).limit()).unwrap();
        assert_eq!((scene.pager.metrics().vms, scene.pager.metrics().vms_whole), (0, 1));
    }
}

#[test]
fn what_the_guest_has_made_of_a_page_is_never_written_over() {
    let memory: Vec<u8> = (0..MIB).map(|at| (at / PAGE % 251 + 1) as u8).collect();
    let scene = Scene::of(&memory, &ServeMemory::default());
    let mut vmm = Vmm::new(&scene, memory.len());
    // Its neighbours come with it, and it is the guest's from now on.
    assert!(vmm.read(1) == memory[PAGE..][..PAGE]);
    vmm.memory.write_all_at(&[0xDD; PAGE], PAGE as u64).unwrap();
    for page in 0..32 {
        let expected = if page == 1 { vec![0xDD; PAGE] } else { memory[page * PAGE..][..PAGE].to_vec() };
        assert!(vmm.read(page) == expected, "page {page}");
    }
    let blocks = |vmm: &Vmm| vmm.memory.metadata().unwrap().blocks();
    let all = blocks(&vmm);
    // Given back, as by a balloon: asked for again, it is zeros, and lies in the file.
    let gone =
        nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
    nix::fcntl::fallocate(&vmm.memory, gone, 2 * PAGE as i64, PAGE as i64).unwrap();
    assert_eq!(blocks(&vmm), all - 8);
    assert_eq!(vmm.read(2), [0; PAGE]);
    assert_eq!(blocks(&vmm), all, "a page of zeros is one all the same: a hole cannot be mapped");
    assert_eq!(vmm.read(1), [0xDD; PAGE]);
}

#[test]
fn what_the_first_guest_wanted_lies_in_the_memory_of_the_second_one_before_it_asks() {
    let memory = guest_memory(8 * MIB);
    // The first lies where the VMM, which asks for all in order, comes by later.
    let far = shuffled(memory.len() / PAGE, 5).filter(|page| *page > 256).take(20);
    let wanted: Vec<usize> = std::iter::once(40).chain(far).collect();
    let scene = Scene::of(&memory, &ServeMemory::default());
    let mut vmm = Vmm::new(&scene, memory.len());
    let mut on_its_own = (0..memory.len() / PAGE).filter(|page| *page != 40);
    for page in &wanted {
        on_its_own.by_ref().take(7).for_each(|page| drop(vmm.read(page)));
        drop(vmm.read(*page));
    }
    drop(vmm);
    scene.until("it left", |now| now.vms == 0);
    scene.pager.stop();
    let known = scene.kept.lock().unwrap().clone().expect("it was noted");
    let mut parts: Vec<_> = wanted.iter().map(|page| (page * PAGE / 32_768) as u64).collect();
    let mut seen = std::collections::HashSet::new();
    parts.retain(|part| seen.insert(*part));
    assert_eq!(known.parts(), parts, "in their order, and nothing else");

    let scene = Scene::new(image(&memory, Some(zstd(1))), &ServeMemory::default(), Some(&known));
    let vmm = Vmm::new(&scene, memory.len());
    scene.until("all of it is there", |now| now.prefetched_bytes == parts.len() as u64 * 32_768);
    for page in wanted {
        let mut read = vec![0xEE; PAGE];
        vmm.memory.read_exact_at(&mut read, (page * PAGE) as u64).unwrap();
        assert!(read == memory[page * PAGE..][..PAGE], "page {page}");
    }
    assert_eq!(scene.pager.metrics().faults, 0);
}

#[test]
fn what_works_ahead_never_writes_over_what_a_guest_has_made() {
    let memory: Vec<u8> = (0..2 * MIB).map(|at| (at / PAGE % 251 + 1) as u8).collect();
    let parts: Vec<u64> = shuffled(memory.len() / 32_768, 1).map(|part| part as u64).collect();
    let known = WorkingSet::new(32_768, &parts);
    for round in 0..20 {
        let scene = Scene::new(image(&memory, Some(zstd(1))), &ServeMemory::default(), Some(&known));
        let mut vmm = Vmm::new(&scene, memory.len());
        // The same parts in the same order, so that both meet.
        for part in &parts {
            let page = *part as usize * 8 + round % 8;
            assert!(vmm.read(page) == memory[page * PAGE..][..PAGE], "page {page}");
            vmm.memory.write_all_at(&[0xDD; PAGE], (page * PAGE) as u64).unwrap();
        }
        scene.until("all of it is there", |now| now.copied_bytes == memory.len() as u64);
        for page in parts.iter().map(|part| *part as usize * 8 + round % 8) {
            assert_eq!(vmm.read(page), [0xDD; PAGE], "page {page}");
        }
    }
}

#[test]
fn a_page_that_cannot_be_had_is_answered_as_such_and_others_are_given() {
    let memory = guest_memory(4 * MIB);
    let scene = Scene::new(damaged_image(&memory, 0.5), &ServeMemory::default(), None);
    let mut vmm = Vmm::new(&scene, memory.len());
    let half = memory.len() as u64 / 2;
    let page = PAGE as u64;
    let numbers = 0..memory.len() / PAGE;
    let damaged: Vec<_> = numbers
        .filter(|number| {
            let gpa = vmm.address_of(*number);
            vmm.ask(gpa, page) == FAILED
        })
        .collect();
    assert!(!damaged.is_empty() && damaged.len() <= 16, "one frame: {damaged:?}");
    assert!(scene.pager.metrics().last_error.unwrap().contains("damaged"));
    for (gpa, bytes) in
        [(half, page), (GAP + half, page), (1, page), (0, page - 1), (0, 0), (half - page, 2 * page)]
    {
        assert_eq!(vmm.ask(gpa, bytes), FAILED, "{gpa:#x} {bytes}");
    }
    assert_eq!(vmm.ask(u64::MAX - 4095, u64::MAX), FAILED);
    let mut read = vec![0; memory.len()];
    vmm.memory.read_exact_at(&mut read, 0).unwrap();
    for (number, page) in read.chunks(PAGE).enumerate() {
        let expected = if damaged.contains(&number) { &[0; PAGE] } else { &memory[number * PAGE..][..PAGE] };
        assert!(page == expected, "page {number}: nothing is written that was not checked");
    }
}

#[test]
fn a_vmm_that_asks_wrongly_is_refused_and_one_that_is_left_hears_it() {
    let memory = guest_memory(MIB);
    let scene = Scene::of(&memory, &ServeMemory::default());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let small = memfd::create().unwrap();
    let region = |bytes| AskedMemory { asks_for: vec![AskedRegion { gpa: 0, bytes, offset: 0 }] };
    let mut refused = 0;
    let mut is_refused = |why: &str, _stream: UnixStream| {
        refused += 1;
        scene.until(why, |now| now.errors == refused);
        let said = scene.pager.metrics().last_error.unwrap();
        assert!(said.contains(why), "{why}: {said}");
    };
    let bytes = MIB as u64;
    is_refused("a connection and its memory", say(&scene, &region(bytes), &[theirs.as_fd()]));
    is_refused("less than it has", say(&scene, &region(bytes), &[theirs.as_fd(), small.as_fd()]));
    small.set_len(2 * bytes).unwrap();
    is_refused("no socket", say(&scene, &region(bytes), &[small.as_fd(), small.as_fd()]));
    let longer = say(&scene, &region(2 * bytes), &[theirs.as_fd(), small.as_fd()]);
    is_refused("not the VM of this snapshot", longer);
    let silly = say(&scene, &region(bytes), &[theirs.as_fd(), small.as_fd()]);
    (&ours).write_all(&[7; 16]).unwrap();
    is_refused("asked for what no pager gives", silly);

    let mut vmm = Vmm::new(&scene, memory.len());
    assert!(vmm.read(0) == memory[..PAGE]);
    scene.pager.stop();
    assert_eq!(vmm.questions.read(&mut [0]).unwrap(), 0, "it hangs up, so that the VMM ends");
}
