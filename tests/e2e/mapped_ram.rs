//! A snapshot that QEMU wrote page by page to fixed places: its memory is read by guest-physical address, compressed or not.

use hypeman_core::{Call, CompressionConfig, CompressionState, MemoryImage, Snapshot};
use hypeman_tests::guest::{PAGE_BYTES, PATTERN_PAGES, pattern_page};
use hypeman_tests::vm::MEMORY_MIB;

use crate::scene::Scene;

/// Where the guest keeps its state and its pattern, as it says itself (`tests/guest/guest.S`).
const STATE: u64 = 0x20_0000;
const PATTERN: u64 = 0x100_0000;

/// Reads `out.len()` bytes of the guest's own memory from `address` on.
fn read_physical(memory: &MemoryImage, address: u64, out: &mut [u8]) {
    let ranges = memory.ranges().unwrap();
    let range = ranges
        .iter()
        .find(|range| (range.guest_address..range.guest_address + range.size_bytes).contains(&address))
        .unwrap_or_else(|| panic!("{address:#x} is in none of {ranges:?}"));
    let read = memory.read_at(range.offset + address - range.guest_address, out).unwrap();
    assert_eq!(read, out.len());
}

fn word(memory: &MemoryImage, address: u64) -> u64 {
    let mut bytes = [0; 8];
    read_physical(memory, address, &mut bytes);
    u64::from_le_bytes(bytes)
}

fn form(scene: &Scene, made: &Snapshot) -> Option<String> {
    scene.hm.snapshots().inspect(&made.id).unwrap().capture.unwrap().memory_format
}

pub fn memory_of_a_mapped_ram_snapshot_is_read_by_guest_physical_address() {
    let mut scene = Scene::new();
    let mut last = 0;
    for compression in [None, Some(("zstd", 1)), Some(("zstd", 9)), Some(("lz4", 0))] {
        let wanted = compression.map(|(algorithm, level)| CompressionConfig::with(algorithm, Some(level)));
        let before = scene.vm.last_tick().ticks;
        let made = scene.capture(wanted);
        let after = scene.vm.tick_after(scene.vm.last_tick().ticks).ticks;
        assert_eq!(form(&scene, &made).as_deref(), Some("qemu-mapped-ram"));
        let is_compressed = made.compression_state == Some(CompressionState::Compressed);
        assert_eq!(is_compressed, compression.is_some(), "{:?}", made.compression_error);

        let memory = scene.hm.snapshots().memory(&made.id).unwrap();
        let ranges = memory.ranges().unwrap();
        assert_eq!(ranges.len(), 1, "{ranges:?}");
        assert_eq!((ranges[0].guest_address, ranges[0].size_bytes), (0, u64::from(MEMORY_MIB) << 20));
        assert!(ranges[0].offset + ranges[0].size_bytes <= memory.size_bytes());

        assert_eq!(word(&memory, STATE).to_le_bytes(), *b"HYPEGST1");
        let ticks = word(&memory, STATE + 8);
        assert!((u64::from(before)..=u64::from(after)).contains(&ticks), "{before} to {after}: {ticks}");
        assert!(ticks > last && word(&memory, STATE + 16) == 0);
        last = ticks;
        for page in 0..PATTERN_PAGES {
            let mut bytes = [0; PAGE_BYTES];
            read_physical(&memory, PATTERN + (page * PAGE_BYTES) as u64, &mut bytes);
            assert!(bytes == pattern_page(page), "page {page} of the pattern, {compression:?}");
        }
        let mut untouched = [1; PAGE_BYTES];
        read_physical(&memory, (u64::from(MEMORY_MIB) << 20) - PAGE_BYTES as u64, &mut untouched);
        assert!(untouched == [0; PAGE_BYTES], "the guest never was at the end of its memory");

        drop(memory);
        assert_eq!(scene.hm.snapshots().verify(&made.id, Call::default()).unwrap().defects, []);
        assert_eq!(scene.vm.status(), "running");
    }

    // The form is that of the stock tools: QEMU alone goes on from what they unpack.
    let newest = scene.hm.snapshots().list(&Default::default()).unwrap().remove(0);
    let mut second = scene.load(&newest.id, &scene.memory(&newest.id));
    second.resume();
    let went_on = second.tick_after(0).ticks;
    let captured = u32::try_from(last).unwrap();
    assert!((captured..=captured + 16).contains(&went_on), "captured at {captured}: {went_on}");
}
