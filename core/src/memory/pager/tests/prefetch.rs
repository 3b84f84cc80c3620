//! What the first guest wanted first, the next one has before it asks.

use super::*;

#[test]
fn the_second_guest_finds_what_the_first_one_wanted() {
    let name = "the_second_guest_finds_what_the_first_one_wanted";
    let memory = guest_memory(16 * MIB);
    let Some(first) = guest(memory.len(), name) else { return };
    let wanted: Vec<usize> = shuffled(4096, 5).take(60).collect();
    let scene = Scene::of(&memory, &ServeMemory::default());
    let vm = scene.connect(&first);
    wanted.iter().for_each(|page| drop(read_page(&first, *page)));
    let cold = scene.pager.metrics();
    assert!(cold.faults > 20 && cold.prefetched_bytes == 0, "{cold:?}");
    drop(vm);
    scene.until("it left", |now| now.vms == 0);
    scene.pager.stop();
    let known = scene.kept.lock().unwrap().clone().expect("it was noted");
    let parts = known.parts();
    assert_eq!(parts[0], (wanted[0] * PAGE / 32_768) as u64, "in their order");

    let second = guest(memory.len(), name).unwrap();
    let scene = Scene::new(image(&memory, Some(zstd(1))), &ServeMemory::default(), Some(&known));
    let _vm = scene.connect(&second);
    let mut last = 0;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        match scene.pager.metrics().prefetched_bytes {
            now if now > 0 && now == last => break,
            now => last = now,
        }
    }
    for page in &wanted {
        assert!(read_page(&second, *page) == memory[page * PAGE..][..PAGE]);
    }
    let warm = scene.pager.metrics();
    assert_eq!(warm.faults, 0, "{warm:?}");
    scene.pager.stop();
    assert!(scene.kept.lock().unwrap().is_none(), "what is known is not noted again");

    let third = guest(memory.len(), name).unwrap();
    let off = ServeMemory { prefetch: false, ..ServeMemory::default() };
    let scene = Scene::new(image(&memory, Some(zstd(1))), &off, Some(&known));
    let _vm = scene.connect(&third);
    wanted.iter().for_each(|page| drop(read_page(&third, *page)));
    let metrics = scene.pager.metrics();
    assert!(metrics.faults > 20 && metrics.prefetched_bytes == 0, "{metrics:?}");
    scene.pager.stop();
    assert!(scene.kept.lock().unwrap().is_none(), "nor is anything where it is switched off");
}

#[test]
fn a_working_set_of_something_else_does_no_harm() {
    let memory = guest_memory(MIB);
    let Some(guest) = guest(MIB, "a_working_set_of_something_else_does_no_harm") else { return };
    let wild = WorkingSet::new(32_768, &[u64::MAX, 1 << 40, 3, 3, 900]);
    let scene = Scene::new(image(&memory, None), &ServeMemory::default(), Some(&wild));
    let _vm = scene.connect(&guest);
    reads_as(&guest, &memory, "with wild hints");
    assert_eq!(scene.pager.metrics().errors, 0);
}
