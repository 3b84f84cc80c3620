//! One run of the command: the data directory, where results go, and what Ctrl-C does.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use hypeman_core::{Call, Cancel, Error, Hypeman, Kind, Log, Options, Progress, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Common;
use crate::given::Limits;

/// How often a bar is drawn while nothing is reported.
const TICK: Duration = Duration::from_millis(200);

/// One run of the command.
pub(crate) struct Session {
    data_dir: PathBuf,
    options: Options,
    /// Results are printed as JSON.
    pub(crate) as_json: bool,
    cancel: Cancel,
}

impl Session {
    pub(crate) fn start(common: Common) -> Result<Self> {
        let Common { data_dir, json, verbose } = common;
        let cancel = Cancel::new();
        let asked = cancel.clone();
        ctrlc::set_handler(move || asked.cancel())
            .map_err(|error| Error::new(Kind::Io, format!("cannot listen to Ctrl-C: {error}")))?;
        let log = if verbose {
            Log::to(|event| {
                // Where stderr is closed there is no one to tell.
                let _ = writeln!(io::stderr(), "{}: {}", event.level.as_str(), event.message);
            })
        } else {
            Log::default()
        };
        Ok(Self {
            data_dir: data_dir.unwrap_or_else(Hypeman::default_data_dir),
            options: Options { log, ..Options::default() },
            as_json: json,
            cancel,
        })
    }

    /// Opens the data directory for a subcommand that changes something.
    pub(crate) fn open(&self) -> Result<Hypeman> {
        Hypeman::open_with(&self.data_dir, self.options.clone())
    }

    /// Opens it for one that only looks. Background work is not begun for the blink of an eye that this takes.
    pub(crate) fn look(&self) -> Result<Hypeman> {
        Hypeman::open_with(&self.data_dir, Options { read_only: true, ..self.options.clone() })
    }

    /// Makes a call that may take long: with a bar where stderr is a terminal, ended by Ctrl-C and by its limits.
    pub(crate) fn watch<T>(
        &self,
        limits: Option<Limits>,
        work: impl FnOnce(Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let bar = self.bar();
        let mut call = Call::default().cancel(&self.cancel);
        if let Some(seconds) = limits.and_then(|limits| limits.timeout) {
            if seconds.is_nan() || seconds < 0.0 {
                let why = format!("timeout must be a number of seconds, 0 or more, got {seconds}");
                return Err(Error::new(Kind::InvalidRequest, why));
            }
            // More than a clock can count is no limit.
            if let Ok(timeout) = Duration::try_from_secs_f64(seconds) {
                call = call.timeout(timeout);
            }
        }
        let shown = bar.clone();
        let done = work(call.progress(move |progress| {
            show(&shown, progress);
            ControlFlow::Continue(())
        }));
        bar.finish_and_clear();
        done
    }

    /// Waits until what `hm` does in the background has ended. A one-shot program that left would leave it undone.
    pub(crate) fn finish(&self, hm: &Hypeman) -> Result<()> {
        self.watch(None, |call| hm.finish(call))
    }

    fn bar(&self) -> ProgressBar {
        if self.as_json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The template is a constant of ours; a bar without it is still a bar.
        if let Ok(style) =
            ProgressStyle::with_template("{msg:14} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        bar
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    let Progress { phase, bytes_done, bytes_total } = progress;
    let message = phase.as_str().replace('_', " ");
    if bar.message() != message {
        bar.set_message(message);
        bar.reset_eta();
    }
    bar.set_length(bytes_total);
    bar.set_position(bytes_done);
}
