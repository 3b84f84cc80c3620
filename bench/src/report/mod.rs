//! What a run leaves: lines on the terminal as they are measured, the same as JSON, and a plot.

mod plot;

use std::fs;
use std::path::PathBuf;

use crate::Result;
use crate::lines::{Line, sweep::Point};
use crate::options::Options;
use crate::samples::Figures;

/// The report of a run.
pub struct Report {
    directory: PathBuf,
    figures: Vec<Figures>,
}

impl Report {
    /// Starts a report, with what the reader has to know of the machine.
    pub fn new(options: &Options) -> Result<Self> {
        let directory = options.target.join("reports");
        fs::create_dir_all(&directory)?;
        let cpus = std::thread::available_parallelism()?;
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or("unknown");
        println!(
            "{cpus} CPUs, {} rounds; load before the run: {load} (more than 0.3 blurs what follows)",
            options.rounds()
        );
        println!(
            "{:<32} {:>12} {:>12} {:<3} {:>8} {:>7} {:>8}",
            "id", "ours", "peer", "", "ratio", "spread", "at most"
        );
        Ok(Self { directory, figures: Vec::new() })
    }

    /// Prints a line, and writes the report as far as it is: a run that is ended early loses nothing.
    pub fn add(&mut self, line: &Line, figures: Figures) -> Result<()> {
        let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), short);
        let judged = figures.ratio.unwrap_or(figures.ours);
        let verdict = line.at_most.map_or("", |at_most| if judged <= at_most { "met" } else { "NOT MET" });
        println!(
            "{:<32} {:>12} {:>12} {:<3} {:>8} {:>6.0}% {:>8} {verdict}",
            figures.id,
            short(figures.ours),
            shown(figures.peer),
            figures.unit,
            shown(figures.ratio),
            figures.spread * 100.0,
            shown(line.at_most),
        );
        self.figures.push(figures);
        fs::write(self.path(), serde_json::to_vec_pretty(&self.figures)?)?;
        Ok(())
    }

    /// Writes the plot, and says where.
    pub fn plot(&self, points: &[Point]) -> Result<()> {
        let path = self.directory.join("bench.svg");
        fs::write(&path, plot::svg(points))?;
        println!("{}", path.display());
        Ok(())
    }

    /// Says where the lines are.
    pub fn end(&self) {
        if !self.figures.is_empty() {
            println!("{}", self.path().display());
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.join("bench.json")
    }
}

/// A figure with as many digits as it deserves.
fn short(figure: f64) -> String {
    match figure.abs() {
        100_000.0.. => format!("{figure:.0}"),
        100.0.. => format!("{figure:.1}"),
        1.0.. => format!("{figure:.2}"),
        0.01.. => format!("{figure:.3}"),
        _ => format!("{figure:.6}"),
    }
}
