//! What is printed: tables for people, one JSON value for programs.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;
use serde::Serialize;

use crate::failure::Done;

/// Prints one line.
pub(crate) fn line(text: &str) -> Done {
    Ok(writeln!(io::stdout(), "{text}")?)
}

/// Prints a value as JSON, on several lines.
pub(crate) fn json(value: &impl Serialize) -> Done {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    line(&text)
}

/// Prints rows beneath their heads, each column as wide as its widest cell. Nothing is cut: ids are copied from here.
pub(crate) fn table<const COLUMNS: usize>(heads: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> Done {
    let heads = heads.map(str::to_owned);
    let mut widths = [0; COLUMNS];
    for row in std::iter::once(&heads).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Prints what completes this command in `shell`.
pub(crate) fn completion(shell: Shell, command: &mut Command) -> Done {
    // Written to memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "libhypeman", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}
