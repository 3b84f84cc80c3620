//! Guests read what was theirs, whoever installs it, and zeros where they gave it back.

use super::*;
use crate::memory::tests::lz4;

#[test]
fn a_guest_reads_its_memory_from_every_form_of_image() {
    let memory = guest_memory(9 * MIB);
    for settings in [None, Some(zstd(1)), Some(zstd(5)), Some(lz4(0))] {
        let Some(guest) = guest(memory.len(), "a_guest_reads_its_memory_from_every_form_of_image") else {
            return;
        };
        let scene = Scene::new(image(&memory, settings), &ServeMemory::default(), None);
        let vm = scene.connect(&guest);
        for page in shuffled(memory.len() / PAGE, 1) {
            assert!(read_page(&guest, page) == memory[page * PAGE..][..PAGE], "{settings:?}, page {page}");
        }
        let metrics = scene.pager.metrics();
        assert_eq!((metrics.vms, metrics.vms_seen, metrics.errors), (1, 1, 0), "{metrics:?}");
        assert!((1..=2304).contains(&metrics.faults) && metrics.zero_bytes > 0, "{metrics:?}");
        assert!(metrics.copied_bytes + metrics.zero_bytes <= memory.len() as u64, "{metrics:?}");
        scene.until("all are counted", |now| now.fault_us.iter().sum::<u64>() == now.faults);
        drop(vm);
        scene.until("it left", |now| now.vms == 0);
    }
}

#[test]
fn two_thousand_pages_wanted_by_many_threads_at_once_are_all_right() {
    let memory = guest_memory(2048 * PAGE);
    let Some(guest) = guest(memory.len(), "two_thousand_pages_wanted_by_many_threads_at_once_are_all_right")
    else {
        return;
    };
    let scene = Scene::of(&memory, &ServeMemory { fill: true, ..ServeMemory::default() });
    let _vm = scene.connect(&guest);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (guest, memory) = (&guest, &memory);
            scope.spawn(move || {
                for page in shuffled(2048, thread) {
                    assert!(read_page(guest, page) == memory[page * PAGE..][..PAGE], "page {page}");
                }
            });
        }
    });
    assert_eq!(scene.pager.metrics().errors, 0);
}

#[test]
fn ten_guests_of_one_image_each_have_their_own_memory() {
    let memory = guest_memory(4 * MIB);
    let name = "ten_guests_of_one_image_each_have_their_own_memory";
    let guests: Vec<_> = (0..10).filter_map(|_| guest(memory.len(), name)).collect();
    let scene = Scene::of(&memory, &ServeMemory { cache_bytes: MIB as u64, ..ServeMemory::default() });
    let _vms: Vec<_> = guests.iter().map(|guest| scene.connect(guest)).collect();
    std::thread::scope(|scope| {
        for (number, guest) in guests.iter().enumerate() {
            let memory = &memory;
            scope.spawn(move || {
                for page in 0..memory.len() / PAGE / 2 {
                    guest.write(page * PAGE + 7, number as u8);
                }
                for page in 0..memory.len() / PAGE {
                    let mut expected = memory[page * PAGE..][..PAGE].to_vec();
                    if page < memory.len() / PAGE / 2 {
                        expected[7] = number as u8;
                    }
                    assert!(read_page(guest, page) == expected, "guest {number}, page {page}");
                }
            });
        }
    });
    assert_eq!(scene.pager.metrics().vms_seen, guests.len() as u64);
}

#[test]
fn a_guest_that_was_filled_needs_the_pager_no_more() {
    let memory = guest_memory(9 * MIB);
    for settings in [None, Some(zstd(1)), Some(lz4(0))] {
        let Some(guest) = guest(memory.len(), "a_guest_that_was_filled_needs_the_pager_no_more") else {
            return;
        };
        let fill = ServeMemory { fill: true, ..ServeMemory::default() };
        let scene = Scene::new(image(&memory, settings), &fill, None);
        let _vm = scene.connect(&guest);
        scene.pager.wait(crate::Call::default().timeout(Duration::from_secs(60)).limit()).unwrap();
        let metrics = scene.pager.metrics();
        assert_eq!((metrics.vms_whole, metrics.faults), (1, 0), "{metrics:?}");
        assert_eq!(metrics.filled_bytes, memory.len() as u64, "{metrics:?}");
        scene.pager.stop();
        reads_as(&guest, &memory, "filled");
        guest.remove(0, PAGE);
        assert_eq!(read_page(&guest, 0), [0; PAGE], "the kernel answers");
        let closed = scene.pager.wait(&Limit::default()).unwrap_err();
        assert_eq!(closed.kind(), Kind::Closed);
    }
}

#[test]
fn what_a_guest_gives_back_reads_as_zeros_whatever_works_ahead() {
    let memory: Vec<u8> = (0..8 * MIB).map(|at| (at / PAGE % 251 + 1) as u8).collect();
    for settings in [
        ServeMemory::default(),
        ServeMemory { fill: true, ..ServeMemory::default() },
        ServeMemory { prefetch: false, spin_us: 0, ..ServeMemory::default() },
    ] {
        for round in 0..3 {
            let Some(guest) =
                guest(memory.len(), "what_a_guest_gives_back_reads_as_zeros_whatever_works_ahead")
            else {
                return;
            };
            let scene = Scene::of(&memory, &settings);
            let _vm = scene.connect(&guest);
            std::thread::scope(|scope| {
                let (guest, memory) = (&guest, &memory);
                // Two that touch the other half meanwhile.
                for thread in 0..2 {
                    scope.spawn(move || {
                        for page in shuffled(1024, thread + round) {
                            assert!(read_page(guest, 1024 + page) == memory[(1024 + page) * PAGE..][..PAGE]);
                        }
                    });
                }
                for page in shuffled(256, round) {
                    // Touched before or not.
                    if page % 3 == 0 {
                        guest.write(page * 4 * PAGE, 0xEE);
                    }
                    guest.remove(page * 4 * PAGE, 2 * PAGE);
                    assert_eq!(read_page(guest, page * 4), [0; PAGE], "page {} came back", page * 4);
                    assert_eq!(read_page(guest, page * 4 + 1), [0; PAGE]);
                    guest.write(page * 4 * PAGE, 0xDD);
                    assert!(read_page(guest, page * 4 + 2) == memory[(page * 4 + 2) * PAGE..][..PAGE]);
                }
                for page in 0..256 {
                    assert_eq!(read_page(guest, page * 4)[0], 0xDD, "what was written since stays");
                }
            });
            assert_eq!(scene.pager.metrics().errors, 0, "{:?}", scene.pager.metrics());
        }
    }
}

/// Huge pages of the system, reserved where we may, and released when this is dropped.
struct HugePages {
    before: String,
}

impl HugePages {
    const SETTING: &str = "/proc/sys/vm/nr_hugepages";

    fn reserve(pages: u64) -> Option<Self> {
        let before = std::fs::read_to_string(Self::SETTING).ok()?;
        let now = before.trim().parse::<u64>().ok()? + pages;
        std::fs::write(Self::SETTING, now.to_string()).ok()?;
        Some(Self { before })
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::SETTING, &self.before);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn huge_pages_are_installed_whole() {
    const HUGE: usize = 2 * MIB;
    // Twice what the guest has: a child that another test forks meanwhile keeps what is given back until it has shed it.
    let _reserved = HugePages::reserve(4);
    let memory = guest_memory(2 * HUGE);
    for (settings, fill) in [(None, false), (Some(zstd(1)), false), (None, true), (Some(zstd(1)), true)] {
        let guest = match Guest::new(2 * HUGE, true, 0) {
            Ok(guest) => guest,
            Err(e) => {
                assert!(matches!(e.raw_os_error(), Some(libc::ENOMEM | libc::EINVAL | libc::EPERM)), "{e}");
                println!("SKIP huge_pages_are_installed_whole: {e}; reserve 4 huge pages (vm.nr_hugepages)");
                return;
            }
        };
        let scene =
            Scene::new(image(&memory, settings), &ServeMemory { fill, ..ServeMemory::default() }, None);
        let _vm = scene.say(&mappings(&guest, HUGE), Some(&guest));
        if fill {
            scene.pager.wait(&Limit::default()).unwrap();
        }
        reads_as(&guest, &memory, "huge");
        // A guest goes on before what it got is counted.
        scene.until("both are counted", |now| now.copied_bytes == 2 * HUGE as u64);
        guest.remove(HUGE, HUGE);
        assert_eq!(read_page(&guest, 512), [0; PAGE], "given back");
        assert!(read_page(&guest, 0) == memory[..PAGE]);
    }
}
