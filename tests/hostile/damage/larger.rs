//! Random damage of a store with a dozen snapshots, in every form of memory.

use std::fs;

use hypeman_core::RegisterInstance;
use hypeman_tests::report::{Report, is_long, seed};

use super::guest::Guest;
use super::{Damage, Target, is_good, reads_no_wrong_byte, restores_no_wrong_byte, with_damage};
use crate::scene::{Random, directory, files, open, scratch, snapshot, standby_vm_as};

pub fn larger_store() -> Result<(), String> {
    let seed = seed(2);
    let mut report = Report::new("damage-large", seed);
    let mut random = Random::new(seed);
    let temp = scratch();
    let hm = open(&temp.path().join("data")).unwrap();
    let mut memory = vec![0; 200 << 10];
    memory[..60 << 10].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i / 5) as u8);
    memory[150 << 10..].iter_mut().for_each(|byte| *byte = random.next() as u8);
    let vm = temp.path().join("web");
    // Of one whose memory a pager may serve.
    let request = RegisterInstance::new("web", "firecracker");
    standby_vm_as(&hm, request, &vm, &memory[..40 << 10], &memory);
    let captured = files(&vm);
    let guest = Guest::of(&memory, temp.path(), "random_flips_in_a_larger_store_as_guests_see_them")?;
    let mut targets = Vec::new();
    for n in 0..12 {
        let made = snapshot(&hm, "web", None, [None, Some("zstd"), Some("lz4")][n % 3]);
        let directory = directory(&hm, &made.id);
        for (name, whole) in files(&directory) {
            let target = Target {
                id: made.id.clone(),
                directory: directory.clone(),
                vm: vm.clone(),
                memory: memory.clone(),
            };
            targets.push((target, name, whole));
        }
    }
    // All that is whole is restored and served.
    let no_false_alarm = |report: &mut Report| {
        for (target, ..) in targets.iter().filter(|(_, name, _)| name.ends_with("snapshot.json")) {
            let restored = restores_no_wrong_byte(&hm, target, &captured);
            let served = guest.as_ref().map(|guest| guest.reads_no_wrong_byte(&hm, &target.id));
            for seen in [Some(restored), served].into_iter().flatten().filter(|seen| *seen != Ok(false)) {
                report.failure(format!("a false alarm about {}: {seen:?}", target.id));
            }
            report.tried("false alarms looked for by restores and guests", 1);
        }
    };
    no_false_alarm(&mut report);
    // Of how many damages one meets a restore, and another a guest.
    let (flips, sample) = if is_long() { (100_000, 20) } else { (1_200, 12) };
    for n in 0..flips {
        let (target, name, whole) = &targets[random.below(targets.len())];
        let damage = match random.below(8) {
            0 => Damage::Cut(random.below(whole.len())),
            _ => Damage::Flip(random.below(whole.len() * 8)),
        };
        let path = target.directory.join(name);
        with_damage(&path, whole, damage, || {
            let told = format!("{}: {damage:?}", path.display());
            if is_good(&hm, &target.id) {
                report.failure(format!("{told}: not found"));
            }
            if name.starts_with("guest")
                && let Err(why) = reads_no_wrong_byte(&hm, target)
            {
                report.failure(format!("{told}: {why}"));
            }
            let (seen, what) = match n % sample {
                1 => (Some(restores_no_wrong_byte(&hm, target, &captured)), "damages restored"),
                2 => {
                    (guest.as_ref().map(|guest| guest.reads_no_wrong_byte(&hm, &target.id)), "damages served")
                }
                _ => (None, ""),
            };
            if let Some(seen) = seen {
                report.tried(what, 1);
                report.tried(&format!("{what} and refused"), u64::from(seen == Ok(true)));
                if let Err(why) = seen {
                    report.failure(format!("{told}: {why}"));
                }
            }
            let other = &targets[random.below(targets.len())].0.id;
            if n % 16 == 0 && *other != target.id {
                report.tried("false alarms looked for", 1);
                if !is_good(&hm, other) {
                    report.failure(format!("{told}: a false alarm about {other}"));
                }
            }
        });
        report.tried("random damages", 1);
    }
    let (target, name, whole) = &targets[0];
    let looked =
        with_damage(&target.directory.join(name), whole, Damage::Flip(0), || is_good(&hm, &target.id));
    report.control("a flip in the first bit of the first file", !looked);
    no_false_alarm(&mut report);
    // Without checksums nothing tells a flip in raw memory from what was there.
    let (target, name, whole) =
        targets.iter().find(|(_, name, _)| name.ends_with("memory")).expect("one is raw");
    fs::remove_file(target.directory.join("libhypeman.json")).map_err(|e| e.to_string())?;
    let (restored, served) = with_damage(&target.directory.join(name), whole, Damage::Flip(9), || {
        let served = guest.as_ref().map(|guest| guest.reads_no_wrong_byte(&hm, &target.id));
        (restores_no_wrong_byte(&hm, target, &captured), served)
    });
    report.control("a restore without checksums", restored.is_err());
    if let Some(served) = served {
        report.control("a guest that is served without checksums", served.is_err());
        report.at_least("damages served", flips / sample);
        report.at_least("damages served and refused", flips / sample / 5);
    }
    report.at_least("damages restored", flips / sample);
    report.at_least("damages restored and refused", flips / sample / 2);
    report.at_least("random damages", flips);
    report.finish();
    Ok(())
}
