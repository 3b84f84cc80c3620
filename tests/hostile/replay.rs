//! Every input that was saved for the fuzz targets in `fuzz/corpus` goes through the same functions here, so that what
//! was found once is never lost again, with or without the fuzzer.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hypeman_tests::fuzz::TARGETS;
use hypeman_tests::report::Report;

/// No input may take longer, however evil.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn every_input() -> Result<(), String> {
    let mut report = Report::new("replay", 1);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(name)).map_err(|e| format!("{name}: {e}"))? {
            let path = entry.map_err(|e| e.to_string())?.path();
            let input = fs::read(&path).map_err(|e| e.to_string())?;
            let began = Instant::now();
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                report.failure(format!("{}: panicked", path.display()));
            }
            if began.elapsed() > PATIENCE {
                report.failure(format!("{}: took {:?}", path.display(), began.elapsed()));
            }
            inputs += 1;
        }
        report.tried(&format!("inputs of {name}"), inputs);
        report.at_least(&format!("inputs of {name}"), 3);
    }
    report.control(
        "a target that panics",
        std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new("on purpose"))).is_err(),
    );
    report.finish();
    Ok(())
}
