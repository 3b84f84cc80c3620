//! How many tests passed, failed and were skipped, read from the words of each language's test runner.

use std::fmt;
use std::ops::AddAssign;

/// Tests, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Counts {
    pub const ONE_PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub const ONE_FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// Moves tests that only said that they were skipped from the passed ones: `announced` is how many lines said so.
    /// A test program of Rust has no other way; those that do have one count them already.
    #[must_use]
    pub fn without_silent_skips(self, announced: usize) -> Self {
        let silent = announced.saturating_sub(self.skipped).min(self.passed);
        Self { passed: self.passed - silent, skipped: self.skipped + silent, ..self }
    }

    /// Tells whether no test ran at all.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; ...`
pub fn of_cargo(line: &str) -> Counts {
    let Some(result) = line.strip_prefix("test result: ") else { return Counts::default() };
    add_up(result.split(". ").nth(1).unwrap_or_default().split("; "))
}

/// `5 passed, 1 failed, 2 skipped in 0.12s`
pub fn of_pytest(line: &str) -> Counts {
    let summary = line.trim_matches(|c| c == '=' || c == ' ');
    match summary.rsplit_once(" in ") {
        Some((counts, time)) if time.starts_with(|c: char| c.is_ascii_digit()) => add_up(counts.split(", ")),
        _ => Counts::default(),
    }
}

/// `# pass 5`, `# fail 0`, ... at the end of the TAP of `node --test`.
pub fn of_tap(line: &str) -> Counts {
    match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
        Some((word, number)) => add_up(std::iter::once(format!("{number} {word}").as_str())),
        None => Counts::default(),
    }
}

/// `--- PASS: TestName (0.01s)`, and so on, of `go test -v`. Tests within tests are indented and count with theirs.
pub fn of_go(line: &str) -> Counts {
    match line.strip_prefix("--- ").and_then(|rest| rest.split_once(": ")) {
        Some(("PASS", _)) => Counts::ONE_PASSED,
        Some(("FAIL", _)) => Counts::ONE_FAILED,
        Some(("SKIP", _)) => Counts { skipped: 1, ..Counts::default() },
        _ => Counts::default(),
    }
}

/// Adds up phrases such as `5 passed`; phrases of other words count nothing.
fn add_up<'p>(phrases: impl Iterator<Item = &'p str>) -> Counts {
    let mut counts = Counts::default();
    for phrase in phrases {
        let Some((number, word)) = phrase.trim().split_once(' ') else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        match word {
            "passed" | "pass" | "xfailed" => counts.passed += number,
            "failed" | "fail" | "error" | "errors" | "cancelled" | "xpassed" => counts.failed += number,
            "ignored" | "skipped" => counts.skipped += number,
            _ => (),
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: usize, failed: usize, skipped: usize) -> Counts {
        Counts { passed, failed, skipped }
    }

    #[test]
    fn go_says_a_line_for_each_test() {
        assert_eq!(of_go("--- PASS: TestTheLifeOfASnapshot (0.05s)"), counts(1, 0, 0));
        assert_eq!(of_go("--- FAIL: TestTheLifeOfASnapshot (0.05s)"), counts(0, 1, 0));
        assert_eq!(of_go("--- SKIP: TestTheLifeOfASnapshot (0.05s)"), counts(0, 0, 1));
        assert_eq!(of_go("    --- PASS: TestTheLifeOfASnapshot/inner (0.05s)"), counts(0, 0, 0));
        assert_eq!(of_go("=== RUN   TestTheLifeOfASnapshot"), counts(0, 0, 0));
    }

    #[test]
    fn cargo_tells_of_each_target_in_a_line() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s";
        assert_eq!(of_cargo(line), counts(5, 2, 1));
        assert!(of_cargo("test types::tags ... ok").is_empty());
    }

    #[test]
    fn pytest_tells_in_its_last_line() {
        assert_eq!(of_pytest("5 passed, 1 failed, 2 skipped, 1 error in 0.12s"), counts(5, 2, 2));
        assert_eq!(of_pytest("======= 7 passed in 61.00s (0:01:01) ======="), counts(7, 0, 0));
        assert!(of_pytest("3 passed in spirit").is_empty());
    }

    #[test]
    fn tap_tells_in_a_line_for_each_count() {
        let mut total = Counts::default();
        for line in
            ["ok 1 - list", "# tests 4", "# pass 2", "# fail 1", "# cancelled 1", "# skipped 3", "# todo 0"]
        {
            total += of_tap(line);
        }
        assert_eq!(total, counts(2, 2, 3));
    }

    #[test]
    fn a_skip_that_a_test_only_speaks_of_is_not_a_pass() {
        assert_eq!(counts(5, 0, 0).without_silent_skips(2), counts(3, 0, 2));
        assert_eq!(counts(5, 0, 2).without_silent_skips(2), counts(5, 0, 2), "the runner counted them");
    }

    #[test]
    fn the_last_line_is_plain() {
        assert_eq!(counts(3, 1, 2).to_string(), "3 passed, 1 failed");
    }
}
