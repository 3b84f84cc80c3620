//! Loading into a real QEMU what a real QEMU wrote.

use std::os::unix::fs::FileExt;
use std::{fs, thread, time::Duration};

use serde_json::json;

use super::process::{RealQemu, ask, with_each_qemu};
use super::*;
use crate::error::Kind;
use crate::hypervisor::RunState;
use crate::hypervisor::testing::guest;

/// A QEMU with the guest in it, whose serial port is the file `serial`.
fn boot(program: &Path, elf: &Path, serial: &Path, more: &[&str]) -> RealQemu {
    let serial = format!("file:{}", serial.display());
    let mut arguments = vec!["-kernel", elf.to_str().unwrap(), "-serial", &serial, "-no-reboot"];
    arguments.extend(more);
    RealQemu::start(program, &arguments)
}

/// What the guest has printed: its ticks and the dwords that it found wrong, in hexadecimal.
fn ticks(serial: &Path) -> Vec<(u64, u64)> {
    let text = String::from_utf8_lossy(&fs::read(serial).unwrap_or_default()).into_owned();
    let whole = text.rsplit_once('\n').map(|(whole, _)| whole).unwrap_or_default();
    let number = |digits: &str| u64::from_str_radix(digits, 16).unwrap();
    let read = |line: &str| {
        let (ticks, wrong) = line.trim().strip_prefix("T=")?.split_once(" V=")?;
        Some((number(ticks), number(wrong)))
    };
    whole.lines().filter_map(read).collect()
}

fn ticks_after(serial: &Path, count: usize) -> Vec<(u64, u64)> {
    loop {
        let seen = ticks(serial);
        if seen.len() > count {
            return seen;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_guest_goes_on_counting_in_a_second_qemu_from_where_it_was_captured() {
    with_each_qemu("a_guest_goes_on_counting", |program| {
        let limit = Limit::default();
        let root = tempfile::tempdir().unwrap();
        let elf = guest(root.path());
        let serial = root.path().join("first");
        let first = boot(program, &elf, &serial, &[]);
        let mut source = first.connect("ours");
        for vendor_forms_only in [true, false] {
            ticks_after(&serial, 2);
            source.pause(&limit).unwrap();
            let last = ticks(&serial).last().copied().unwrap();
            let out = first.out(if vendor_forms_only { "vendor" } else { "any" });
            let (captured, _) = capture(&mut source, &out, vendor_forms_only).unwrap();
            source.resume().unwrap();

            let serial = out.join("serial");
            let second = boot(program, &elf, &serial, &["-incoming", "defer"]);
            let mut vm = second.connect("ours");
            let before = ask(&mut vm, "query-migrate-capabilities", json!({}));
            let bytes = fs::metadata(out.join("memory")).unwrap().len();
            let progress = load(&mut vm, &out, Some(captured.memory_format), &limit).unwrap();
            assert_eq!(progress, (bytes, bytes));
            assert_eq!(vm.run_state(&limit).unwrap(), RunState::Paused { after_capture: false });
            assert_eq!(ask(&mut vm, "query-migrate-capabilities", json!({})), before);
            assert_eq!(ask(&mut vm, "query-fdsets", json!({})), json!([]));
            let again = load(&mut vm, &out, Some(captured.memory_format), &limit).unwrap_err();
            assert_eq!(again.kind(), Kind::InvalidState);
            vm.resume().unwrap();

            let went_on = ticks_after(&serial, 3);
            // Every eighth tick has a line; the pause may have cut one.
            let first = went_on[0].0;
            assert!((last.0 + 8..=last.0 + 16).contains(&first), "{went_on:?} after {last:?}");
            assert!(went_on.iter().all(|&(_, wrong)| wrong == 0), "{went_on:?}");
        }
    });
}

#[test]
fn an_image_that_is_cut_or_changed_is_an_error_and_no_wait() {
    with_each_qemu("an_image_that_is_cut_or_changed", |program| {
        let qemu = RealQemu::start(program, &[]);
        let mut source = qemu.connect("ours");
        source.pause(&Limit::default()).unwrap();
        let out = qemu.out("whole");
        let (captured, _) = capture(&mut source, &out, false).unwrap();
        let memory = File::options().read(true).write(true).open(out.join("memory")).unwrap();
        let bytes = memory.metadata().unwrap().len();

        memory.write_at(b"\xff\xff", 6).unwrap();
        refused(program, &out, captured.memory_format);
        memory.write_at(b"\0\x03", 6).unwrap();
        for cut in [bytes / 2, 4096, 60, 12, 4] {
            memory.set_len(cut).unwrap();
            refused(program, &out, captured.memory_format);
        }
    });
}

/// Sees that `directory` cannot be loaded, and that a QEMU that lives on says why and takes no other.
fn refused(program: &Path, directory: &Path, memory_format: &str) {
    let qemu = RealQemu::start(program, &["-incoming", "defer"]);
    let mut vm = qemu.connect("ours");
    let error = load(&mut vm, directory, Some(memory_format), &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Hypervisor, "{error}");
    assert!(error.message().contains("/memory was not loaded: "), "{error}");
    if memory_format == "qemu-mapped-ram" {
        assert!(error.message().contains("QEMU says: load of migration failed"), "{error}");
        let again = load(&mut vm, directory, Some(memory_format), &Limit::default()).unwrap_err();
        assert!(again.message().contains("told to load an image before"), "{again}");
    }
}

#[test]
fn a_qemu_of_another_shape_refuses_with_a_reason() {
    with_each_qemu("a_qemu_of_another_shape", |program| {
        let qemu = RealQemu::start(program, &[]);
        let mut source = qemu.connect("ours");
        source.pause(&Limit::default()).unwrap();
        let out = qemu.out("whole");
        capture(&mut source, &out, true).unwrap();

        let other = RealQemu::start(program, &["-machine", "pc", "-incoming", "defer"]);
        let error = load(&mut other.connect("ours"), &out, None, &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Incompatible, "{error}");
        let smaller = RealQemu::start(program, &["-m", "32M", "-incoming", "defer"]);
        let error = load(&mut smaller.connect("ours"), &out, None, &Limit::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Hypervisor, "{error}");
        for arguments in [&[][..], &["-S"]] {
            let not_waiting = RealQemu::start(program, arguments);
            let error = load(&mut not_waiting.connect("ours"), &out, None, &Limit::default()).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidState, "{error}");
        }
    });
}
