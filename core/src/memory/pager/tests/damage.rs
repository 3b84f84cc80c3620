//! Damage, and ends: a guest stops rather than read a byte that was never its own.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::sys::guard::actors::{connection_of_no_one, ignore_sigbus};

/// Names the kind, the socket, and the pages to read, for a guest in a process of its own.
const ROLE: &str = "HYPEMAN_TEST_GUEST";
const BYTES: usize = 4 * MIB;

/// Not a story but an actor: what a guest in a process of its own does.
#[test]
fn a_guest_in_a_process_of_its_own() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut words = role.split(' ');
    let kind = words.next().unwrap();
    let path = Path::new(words.next().unwrap());
    let guest = Guest::new(BYTES, false, 0).unwrap();
    let stream = match kind {
        "stranger" => connection_of_no_one(path),
        _ => socket::connect(path).unwrap(),
    };
    if kind == "deaf" {
        ignore_sigbus();
    }
    socket::send(&stream, mappings(&guest, PAGE).as_bytes(), &[guest.uffd.as_fd()]).unwrap();
    let memory = guest_memory(BYTES);
    for page in words.map(|word| word.parse::<usize>().unwrap()) {
        assert!(read_page(&guest, page) == memory[page * PAGE..][..PAGE], "page {page} is wrong");
    }
    std::thread::sleep(Duration::from_secs(120));
}

fn start(scene: &Scene, pages: &[usize]) -> Child {
    start_a("guest", scene, pages)
}

fn start_a(kind: &str, scene: &Scene, pages: &[usize]) -> Child {
    let pages: Vec<_> = pages.iter().map(usize::to_string).collect();
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "memory::pager::tests::damage::a_guest_in_a_process_of_its_own",
            "--test-threads=1",
        ])
        .env(ROLE, format!("{kind} {} {}", scene.socket.display(), pages.join(" ")))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Where a frame with data of our own compression is in `file`: the memory that it holds, and its bytes.
pub(super) fn damaged_image(memory: &[u8], at: f64) -> Image {
    let (file, made) = compressed(&file_of(memory), zstd(1));
    flip(&file, (made.compressed_bytes as f64 * at) as u64);
    Image::compressed(file, zstd(1).algorithm).unwrap()
}

fn flip(file: &File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_damaged_frame_kills_whoever_touches_it_and_no_one_else() {
    let name = "a_damaged_frame_kills_whoever_touches_it_and_no_one_else";
    if guest(PAGE, name).is_none() {
        return;
    }
    let memory = guest_memory(BYTES);
    let image = damaged_image(&memory, 0.4);
    let reads = |page: usize| image.read_at((page * PAGE) as u64, &mut [0; PAGE]).is_ok();
    let (sound, damaged): (Vec<usize>, Vec<usize>) = (0..BYTES / PAGE).partition(|page| reads(*page));
    assert!((1..=64).contains(&damaged.len()) && sound.len() > 900, "one frame is damaged: {damaged:?}");

    let scene = Scene::new(image, &ServeMemory::default(), None);
    let survivor = start(&scene, &sound);
    scene.until("it reads", |now| now.faults > 10);
    let mut victim = start(&scene, &[sound[0], damaged[0], sound[1]]);
    let ended = victim.wait().unwrap();
    assert_eq!(ended.signal(), Some(libc::SIGBUS), "it neither waits for ever nor reads anything: {ended}");
    let metrics = scene.pager.metrics();
    assert!(metrics.errors >= 1, "{metrics:?}");
    assert!(metrics.last_error.as_ref().is_some_and(|why| why.contains("damaged at byte")), "{metrics:?}");
    scene.until("it is forgotten", |now| now.vms == 1);
    end(survivor);

    // In the background, too, what is damaged is left out.
    let memory = guest_memory(BYTES);
    let scene =
        Scene::new(damaged_image(&memory, 0.4), &ServeMemory { fill: true, ..ServeMemory::default() }, None);
    let mut victim = start(&scene, &[sound[0], damaged[0]]);
    assert_eq!(victim.wait().unwrap().signal(), Some(libc::SIGBUS));
    assert_eq!(scene.pager.metrics().vms_whole, 0);
}

#[test]
fn a_vmm_that_does_not_end_of_a_damaged_page_is_killed_and_one_that_no_one_knows_ends_of_poison() {
    let name = "a_vmm_that_does_not_end_of_a_damaged_page_is_killed_and_one_that_no_one_knows_ends_of_poison";
    if guest(PAGE, name).is_none() {
        return;
    }
    let image = damaged_image(&guest_memory(BYTES), 0.4);
    let is_damaged = |page: &usize| image.read_at((page * PAGE) as u64, &mut [0; PAGE]).is_err();
    let damaged = (0..BYTES / PAGE).find(is_damaged).unwrap();
    let scene = Scene::new(image, &ServeMemory::default(), None);
    for (kind, ends_of) in [("deaf", libc::SIGKILL), ("stranger", libc::SIGBUS)] {
        let ended = start_a(kind, &scene, &[0, damaged]).wait().unwrap();
        assert_eq!(ended.signal(), Some(ends_of), "{kind}: {ended}");
    }
}

#[test]
fn a_file_that_is_cut_while_it_is_served_kills_its_guest() {
    if guest(PAGE, "a_file_that_is_cut_while_it_is_served_kills_its_guest").is_none() {
        return;
    }
    let file = file_of(&guest_memory(BYTES));
    let scene = Scene::new(Image::raw(file.try_clone().unwrap()).unwrap(), &ServeMemory::default(), None);
    let survivor = start(&scene, &[0]);
    scene.until("it reads", |now| now.faults > 0);
    file.set_len(PAGE as u64).unwrap();
    let mut victim = start(&scene, &[0, 900]);
    assert_eq!(victim.wait().unwrap().signal(), Some(libc::SIGBUS));
    end(survivor);
}

#[test]
fn a_vmm_that_dies_is_forgotten_and_others_are_served_on() {
    if guest(PAGE, "a_vmm_that_dies_is_forgotten_and_others_are_served_on").is_none() {
        return;
    }
    let memory = guest_memory(BYTES);
    let scene = Scene::of(&memory, &ServeMemory { fill: true, ..ServeMemory::default() });
    for _ in 0..3 {
        let vms: Vec<_> =
            (0..3).map(|_| start(&scene, &shuffled(BYTES / PAGE, 3).collect::<Vec<_>>())).collect();
        scene.until("one is served", |now| now.vms > 0);
        vms.into_iter().for_each(end);
        scene.until("they are gone", |now| now.vms == 0);
    }
    let guest = guest(BYTES, "a_vmm_that_dies_is_forgotten_and_others_are_served_on").unwrap();
    let _vm = scene.connect(&guest);
    reads_as(&guest, &memory, "after many deaths");
}

#[test]
fn a_guest_whose_pager_stops_stands_still_and_reads_nothing_wrong() {
    let name = "a_guest_whose_pager_stops_stands_still_and_reads_nothing_wrong";
    if guest(PAGE, name).is_none() {
        return;
    }
    // The guest would end by its own assertion if it read zeros instead.
    let memory = guest_memory(BYTES);
    let scene = Scene::of(&memory, &ServeMemory::default());
    let pages: Vec<usize> = (0..BYTES / PAGE).filter(|page| memory[page * PAGE] != 0).collect();
    let mut child = start(&scene, &pages.repeat(3));
    scene.until("it reads", |now| now.faults > 3);
    let before = Instant::now();
    scene.pager.stop();
    assert!(before.elapsed() < Duration::from_secs(8), "no thread was left behind");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it waits");
    end(child);
}
