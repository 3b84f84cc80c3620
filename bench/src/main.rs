//! `hypeman-bench`: libhypeman against the stock tools, side by side, on images of real guests.
//!
//! `cargo xtask bench` starts it. It asserts nothing: it prints, and writes `target/reports/bench.json` and
//! `bench.svg`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to the person who typed it")]

mod bare;
mod codec;
mod guest;
mod http;
mod images;
mod lines;
mod options;
mod peer;
mod random;
mod report;
mod samples;
mod scene;
mod stage;

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use lines::{LINES, Line};
use options::Options;
use report::Report;
use scene::Scene;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let done = Options::parse(std::env::args().skip(1)).and_then(bench);
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// What a line wants that need not be there, such as a VMM that no package brings.
#[derive(Debug)]
struct NotHere(&'static str);

impl Error for NotHere {}

impl fmt::Display for NotHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What draws the plot instead of a line, for `--only`.
const PLOT: &str = "plot";

/// Measures line by line. One that cannot be measured here is told of and does not hide the others.
fn bench(options: Options) -> Result<ExitCode> {
    let is_chosen = |id| options.only.as_deref().is_none_or(|only| only == id);
    let chosen: Vec<&Line> = LINES.iter().filter(|line| is_chosen(line.id)).collect();
    let is_plotted = is_chosen(PLOT);
    let is_all = options.only.is_none();
    if chosen.is_empty() && !is_plotted {
        let ids: Vec<_> = LINES.iter().map(|line| line.id).collect();
        return Err(format!("there is no such line; there are {}, {PLOT}", ids.join(", ")).into());
    }
    let mut scene = Scene::new(options)?;
    let mut report = Report::new(&scene.options)?;
    let mut is_whole = true;
    for line in chosen {
        let added = (line.measure)(&mut scene)
            .and_then(|samples| report.add(line, samples.figures(line.id, line.unit)));
        if let Err(error) = added {
            println!("SKIP {}: {error}", line.id);
            // Of all lines, one that wants what no one must have is not missed.
            is_whole &= error.is::<NotHere>() && is_all;
        }
    }
    if is_plotted && let Err(error) = lines::sweep::sweep(&mut scene).and_then(|points| report.plot(&points))
    {
        println!("SKIP {PLOT}: {error}");
        is_whole = false;
    }
    report.end();
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
