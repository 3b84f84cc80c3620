//! x
mod initramfs; mod kernel; mod pauses; mod qmp; mod serial; mod vm;
use std::process::ExitCode;
use crate::{Result,root};
use std::fs;
pub fn demo() -> Result<ExitCode> {
    let d = root().join("target/demo");
    let k = kernel::kernel(&d)?;
    println!("{}", k.release);
    let boot = vm::Boot { initramfs: initramfs::initramfs(&d, &k)?, kernel: k.image };
    let run = d.join("run");
    let _ = fs::remove_dir_all(&run);
    let v = vm::Vm::boot(&run.join("vm"), &boot)?;
    let p = pauses::Pauses::of(&v)?;
    let t = std::time::Instant::now();
    let r = v.serial().wait_for_tick(10);
    println!("{:?} {}", t.elapsed(), v.serial().text());
    r?;
    let mut m = qmp::Monitor::connect(&v.api_socket())?;
    m.execute("stop", "{}")?;
    m.execute("migrate-set-parameters", r#"{"max-bandwidth":1099511627776}"#)?;
    let mem = run.join("mem");
    m.execute("migrate", &format!("{{\"uri\": \"exec:cat > '{}'\"}}", mem.display()))?;
    while !m.execute("query-migrate", "{}")?.contains("\"status\": \"completed\"") {std::thread::sleep(std::time::Duration::from_millis(10));}
    fs::copy(v.disk(), run.join("disk"))?;
    m.execute("cont", "{}")?;
    std::thread::sleep(std::time::Duration::from_millis(100));
    for p in p.seen() { println!("{} {:?}", p.length_ms, p.said.lines().last()); }
    println!("{}", fs::metadata(&mem)?.len());
    let w = vm::Vm::boot_incoming(&run.join("re"), &boot, &run.join("disk"))?;
    w.load(&mem, "qemu-stream")?;
    w.serial().wait_for("MEM", |t| t.contains("MEM OK").then_some(()))?;
    println!("{:?} {}", t.elapsed(), w.serial().text());
    Ok(ExitCode::SUCCESS)
}
