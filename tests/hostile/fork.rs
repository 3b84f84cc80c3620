//! Hosts fork. A child answers at once, and the locks of its parent stay what they are: in C, Python and Node.

use std::path::Path;
use std::time::Instant;

use hypeman_tests::language::{Language, Runner};
use hypeman_tests::report::{Report, is_long};

use crate::scene::{open, scratch, snapshot, standby_vm};

pub fn every_way() -> Result<(), String> {
    let mut report = Report::new("fork", 1);
    let runners = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile/runners");
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for language in Language::wanted_borders().into_iter().filter(|one| *one != Language::Rust) {
        let temp = scratch();
        let data = temp.path().join("data");
        let hm = open(&data).map_err(|e| e.to_string())?;
        standby_vm(&hm, "vm", &temp.path().join("vm"), b"disk", &b"guest memory ".repeat(20_000));
        let id = snapshot(&hm, "vm", None, None).id;
        hm.close();
        let (program, forks, many) = match language {
            Language::Node => ("fork.js", 10, 500),
            Language::Python => ("fork.py", 100, 1000),
            _ => ("fork.c", 1000, 20_000),
        };
        let count = if is_long() { many } else { forks };
        let runner = Runner::named(language, &runners.join(program), tmp)?;
        let began = Instant::now();
        let play = |id: &str| runner.run(&[&data, Path::new(id), Path::new(&count.to_string())], temp.path());
        let output = play(&id)?;
        let done: u64 = output.trim().parse().map_err(|e| format!("{program}: {output}: {e}"))?;
        let forks = format!("forks in {}", language.as_str());
        report.tried(&forks, done);
        report.at_least(&forks, count);
        report.tried("milliseconds", began.elapsed().as_millis() as u64);
        // Without the snapshot that is read, there is no lock that could stay.
        report
            .control(&format!("a lock that is not there, in {}", language.as_str()), play("nosuch").is_err());
    }
    report.finish();
    Ok(())
}
