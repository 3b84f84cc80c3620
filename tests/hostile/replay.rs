//! Every input that was saved for the fuzz targets in `fuzz/corpus` goes through the same functions here, so that what
//! was found once is never lost again, with or without the fuzzer. So do their neighbours, changed at random.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hypeman_tests::fuzz::TARGETS;
use hypeman_tests::report::{Report, is_long, seed};

use crate::scene::Random;

/// No input may take longer, however evil.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn every_input() -> Result<(), String> {
    let seed = seed(9);
    let mut report = Report::new("replay", seed);
    let mut random = Random::new(seed);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in TARGETS {
        let mut inputs = Vec::new();
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
            inputs.push(input);
        }
        report.tried(&format!("inputs of {name}"), inputs.len() as u64);
        let until = Instant::now() + Duration::from_secs(if is_long() { 60 } else { 1 });
        while Instant::now() < until {
            let input = changed(&inputs, &mut random);
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                let path = std::env::temp_dir().join(format!("libhypeman-{name}-panicked"));
                fs::write(&path, &input).map_err(|e| e.to_string())?;
                report.failure(format!("{name}: panicked; the input is kept in {}", path.display()));
                break;
            }
            report.tried("changed inputs", 1);
        }
        report.at_least(&format!("inputs of {name}"), 3);
    }
    report.control(
        "a target that panics",
        std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new("on purpose"))).is_err(),
    );
    report.finish();
    Ok(())
}

/// One of `inputs` with some bytes changed, a part cut out or doubled, or the tail of another.
fn changed(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len());
        let end = (at + 1 + random.below(16)).min(input.len());
        match random.below(5) {
            0 => drop(input.drain(at..end)),
            1 => input.extend_from_within(at..end),
            2 => {
                let other = &inputs[random.below(inputs.len())];
                input.truncate(at);
                input.extend_from_slice(&other[at.min(other.len())..]);
            }
            3 => input[at..end].fill([0, 0xff, b'9', b'['][random.below(4)]),
            _ => input[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.below(8)),
        }
        if input.is_empty() {
            input.push(0);
        }
    }
    input
}
