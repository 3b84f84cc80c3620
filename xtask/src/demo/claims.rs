//! What the demo says, step by step, and what it claims: each claim is checked, and the verdict counts them.

use std::process::ExitCode;

/// The claims so far.
#[derive(Default)]
pub struct Claims {
    steps: u32,
    kept: u32,
    broken: Vec<String>,
}

impl Claims {
    /// Begins the next step of the story.
    pub fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n{}. {title}", self.steps);
    }

    /// Claims that `claim` is so.
    pub fn claim(&mut self, claim: impl Into<String>, is_so: bool) {
        let claim = claim.into();
        println!("   {} {claim}", if is_so { "[ok]" } else { "[NOT SO]" });
        if is_so {
            self.kept += 1;
        } else {
            self.broken.push(claim);
        }
    }

    /// Prints the verdict in one line: `story` where every claim held.
    pub fn verdict(self, story: &str) -> ExitCode {
        println!();
        if self.broken.is_empty() {
            println!("VERDICT: {story} ({} claims checked)", self.kept);
            ExitCode::SUCCESS
        } else {
            println!("VERDICT: it did not work: not so: {}", self.broken.join("; not so: "));
            ExitCode::FAILURE
        }
    }
}

/// Tells something that is not a claim.
pub fn tell(text: &str) {
    for line in text.lines() {
        println!("   {line}");
    }
}
