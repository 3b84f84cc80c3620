//! What the library tells its host beside the answers of calls. It writes to no stream and no file of its own: a
//! host that wants to know what happens in the background passes a listener.

use std::fmt;
use std::sync::Arc;

use crate::panic::guard;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// `info`: something came to its end as it should.
    Info,
    /// `warning`: something went wrong that no call reports; nothing is lost, and the library tries again where it can.
    Warning,
}

impl LogLevel {
    /// Every level, the least first.
    pub const ALL: [Self; 2] = [Self::Info, Self::Warning];

    /// The name in every language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// How much it matters.
    pub level: LogLevel,
    /// One sentence in plain English, without a line end. Its words may change.
    pub message: String,
    /// Id of the snapshot or instance that it is about.
    pub id: String,
}

type Listener = dyn Fn(&LogEvent) + Send + Sync;

/// Who hears of events: by default no one. Clones tell the same listener.
///
/// The listener is called on any thread of the host or of the handle, from several at once, until
/// [`crate::Hypeman::close`] returns and calls that are under way then have ended. The work that it hears of waits for
/// it, so it should return soon; and it must not use the library, which may hold the lock that such a call would want.
#[derive(Clone, Default)]
pub struct Log(Option<Arc<Listener>>);

impl Log {
    /// Tells `listener` of every event.
    pub fn to(listener: impl Fn(&LogEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn info(&self, id: &str, message: impl FnOnce() -> String) {
        self.tell(LogLevel::Info, id, message);
    }

    pub(crate) fn warning(&self, id: &str, message: impl FnOnce() -> String) {
        self.tell(LogLevel::Warning, id, message);
    }

    fn tell(&self, level: LogLevel, id: &str, message: impl FnOnce() -> String) {
        let Some(listener) = &self.0 else { return };
        // A listener that panics must not keep a VM paused, or a job from its end.
        let _ = guard(|| {
            listener(&LogEvent { level, message: message(), id: id.to_owned() });
            Ok(())
        });
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Log(a listener)" } else { "Log(no one)" })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_listener_that_panics_harms_no_one_and_hears_of_the_next_event() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ears = Arc::clone(&heard);
        let log = Log::to(move |event| {
            ears.lock().unwrap().push(event.clone());
            assert!(event.level != LogLevel::Warning, "the listener of a test panics");
        });
        // The lock is not held when it panics: it was a temporary.
        log.warning("one", || "first".to_owned());
        log.info("two", || "second".to_owned());
        let heard = heard.lock().unwrap();
        let event =
            |level, message: &str, id: &str| LogEvent { level, message: message.into(), id: id.into() };
        assert_eq!(
            *heard,
            [event(LogLevel::Warning, "first", "one"), event(LogLevel::Info, "second", "two")]
        );
    }

    #[test]
    fn no_message_is_made_for_no_one() {
        Log::default().info("one", || panic!("made"));
    }
}
