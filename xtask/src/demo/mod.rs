//! `cargo xtask demo`: a running Linux VM is captured from three languages, and lives on in four places.

mod claims;
pub mod examples;
pub mod initramfs;
pub mod kernel;
mod pauses;
mod qmp;
mod restore;
mod serial;
pub mod vm;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use claims::{Claims, tell};
use examples::{Taken, compile, node, python, taken};
use pauses::{Pause, Pauses};
use serial::{is_seamless, ticks};
use vm::{Boot, MEMORY_MIB, Vm};

use crate::program::{Run, program, shown};
use crate::{Result, setup, target};

/// Plays the whole story; the exit code is the verdict.
pub fn demo() -> Result<ExitCode> {
    println!("Building the library and its bindings.");
    setup::setup()?;
    let files = target().join("demo");
    let run = files.join("run");
    if run.exists() {
        fs::remove_dir_all(&run)?;
    }
    fs::create_dir_all(&run)?;
    let data = run.join("data");
    let mut claims = Claims::default();

    claims.step("A Linux VM boots");
    let boot = prepare(&files)?;
    let mut vm = Vm::boot(&run.join("vm"), &boot)?;
    let pauses = Pauses::of(&vm)?;
    let serial = vm.serial();
    serial.wait_for_tick(3)?;
    tell(&serial.text());

    claims.step("It is captured while it runs: from Python, from Node, and from C");
    show(python("snapshot.py").arg(&data).arg(vm.directory()))?;
    serial.wait_for_tick(ticks(&serial.text()).len() as u64 + 4)?;
    show(node("snapshot.js").arg(&data))?;
    serial.wait_for_tick(ticks(&serial.text()).len() as u64 + 4)?;
    show(compile(Path::new("examples/snapshot.c"), &run.join("snapshot"))?.arg(&data))?;

    claims.step("The snapshots as a table, from Node");
    show(node("list.js").arg(&data))?;

    claims.step(
        "Compression ends; the programs that began it are gone, so the next one to open the store goes on",
    );
    let snapshots = taken(&python("wait.py").arg(&data).read()?)?;
    let seen = pauses.wait_for(snapshots.len())?;
    claims.claim("there are three snapshots, of one pause each", snapshots.len() == 3 && seen.len() == 3);
    for (snapshot, pause) in snapshots.iter().zip(&seen) {
        tell_sizes(snapshot, pause);
        claims.claim(format!("{} is compressed", snapshot.name), is_compressed(snapshot));
    }

    claims.step("One of them as JSON, from Python");
    let first = snapshots.first().ok_or("no snapshot was taken")?;
    show(python("get.py").arg(&data).arg(&first.id))?;

    for (snapshot, pause) in snapshots.iter().zip(&seen) {
        claims.step(&format!("{} goes on in a QEMU of its own, without our library", snapshot.name));
        let payload = data.join("snapshots").join(&snapshot.id).join("guest");
        restore::restore(&mut claims, &payload, snapshot, pause, &boot, &run.join(&snapshot.name))?;
    }

    claims.step("Meanwhile, the first guest");
    let counted = serial.wait_for_tick(last_tick(&seen) + 10)?;
    let said = serial.text();
    claims.claim(
        format!("it never stopped: it counted from 1 to {counted}, no tick lost, none twice"),
        vm.is_alive()? && is_seamless(&ticks(&said)),
    );
    claims.claim(
        "its memory has the checksum that it had before",
        said.contains("MEM OK") && !said.contains("MEM BAD"),
    );
    claims.claim("it was paused for its three captures and at no other time", pauses.seen().len() == 3);

    let paused: Vec<_> = snapshots.iter().map(|snapshot| format!("{:.0}", snapshot.paused_ms)).collect();
    Ok(claims.verdict(&format!(
        "a running VM was captured from Python, Node and C (paused {} ms), each capture went on counting in a new \
         QEMU, and the VM never stopped",
        paused.join(", ")
    )))
}

fn prepare(files: &Path) -> Result<Boot> {
    fs::create_dir_all(files)?;
    let kernel = kernel::kernel(files)?;
    let boot = Boot {
        initramfs: initramfs::initramfs(files, &kernel, include_str!("init.sh"))?,
        kernel: kernel.image,
    };
    let version = program("qemu-system-x86_64").arg("--version").read()?;
    tell(&format!("Linux {} from Debian's cloud image package; its only program is busybox", kernel.release));
    tell(&format!("{}, {MEMORY_MIB} MiB, emulated (TCG)", version.lines().next().unwrap_or("QEMU")));
    Ok(boot)
}

/// Shows a command and what it prints.
fn show(command: &mut Command) -> Result<()> {
    tell(&format!("$ {}", shown(command)));
    tell(&command.read()?);
    Ok(())
}

fn tell_sizes(snapshot: &Taken, pause: &Pause) {
    let percent = snapshot.compressed_bytes as f64 * 100.0 / snapshot.uncompressed_bytes.max(1) as f64;
    tell(&format!(
        "{:<12} paused {:>4.0} ms ({:.0} ms by QEMU's events); memory {} -> {} bytes, {percent:.0} %",
        snapshot.name,
        snapshot.paused_ms,
        pause.length_ms,
        snapshot.uncompressed_bytes,
        snapshot.compressed_bytes
    ));
}

fn is_compressed(snapshot: &Taken) -> bool {
    snapshot.state == "compressed" && (1..snapshot.uncompressed_bytes).contains(&snapshot.compressed_bytes)
}

fn last_tick(pauses: &[Pause]) -> u64 {
    pauses.iter().flat_map(|pause| ticks(&pause.said)).max().unwrap_or_default()
}
