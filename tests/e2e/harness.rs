//! The harness itself, without the library: when this fails, the fault is not ours.

use std::fs;

use hypeman_tests::guest;
use hypeman_tests::vm::{self, Machine, Vm};
use serde_json::json;

use crate::scene::directory;

pub fn qemu_alone_saves_and_loads_the_guest() {
    let root = directory();
    let qemu = vm::qemu().expect("asked for before");
    let mut first = Vm::boot(&qemu, &root.path().join("first"));
    let file = root.path().join("memory");
    first.pause();
    first.control().run("migrate", json!({"uri": format!("exec:cat > '{}'", file.display())}));
    first.wait_until("the memory is saved", |vm| {
        vm.control().run("query-migrate", json!({}))["status"] == "completed"
    });
    first.resume();
    let captured = guest::examine(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(captured.wrong, 0);

    let mut second = Vm::load(&qemu, Machine::Pc, &root.path().join("second"), &file);
    assert_ne!(second.status(), "running");
    second.resume();
    let went_on = second.tick_after(0);
    assert!(u64::from(went_on.ticks) >= captured.ticks && u64::from(went_on.ticks) <= captured.ticks + 16);
    first.tick_after(went_on.ticks);
}
