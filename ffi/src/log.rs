//! What the library tells a C program beside the answers of calls.

use std::ffi::{CString, c_char, c_void};

use hypeman_core::{Log, LogEvent};

/// How much an event matters.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum LogLevel {
    /// Something came to its end as it should.
    Info = 1,
    /// Something went wrong that no call reports. Nothing is lost; the library tries again where it can.
    Warning = 2,
}

impl From<hypeman_core::LogLevel> for LogLevel {
    fn from(level: hypeman_core::LogLevel) -> Self {
        match level {
            hypeman_core::LogLevel::Info => Self::Info,
            hypeman_core::LogLevel::Warning => Self::Warning,
        }
    }
}

/// Hears of events. level: one of HYPEMAN_LOG_...; message: one sentence in plain English, whose words may change; id:
/// of the snapshot or instance that it is about. Both texts are lent for the time of the call.
///
/// It runs on any thread, the library's own among them, on several at once, until hypeman_close returns. It must
/// return soon, with no exception and no longjmp, and must not call the library.
pub type LogCallback =
    Option<unsafe extern "C" fn(level: i32, message: *const c_char, id: *const c_char, user: *mut c_void)>;

struct Listener {
    tell: unsafe extern "C" fn(i32, *const c_char, *const c_char, *mut c_void),
    user: *mut c_void,
}

// SAFETY: the program promised a callback that may be called with its `user` on any thread, on several at once.
unsafe impl Send for Listener {}
// SAFETY: as above.
unsafe impl Sync for Listener {}

impl Listener {
    fn hear(&self, event: &LogEvent) {
        let LogEvent { level, message, id } = event;
        let [message, id] =
            [message, id].map(|text| CString::new(text.replace('\0', " ")).unwrap_or_default());
        // SAFETY: both texts live until the callback has returned; the rest is what the program promised.
        unsafe { (self.tell)(LogLevel::from(*level) as i32, message.as_ptr(), id.as_ptr(), self.user) }
    }
}

/// A log that tells `tell`.
pub(crate) fn to(
    tell: unsafe extern "C" fn(i32, *const c_char, *const c_char, *mut c_void),
    user: *mut c_void,
) -> Log {
    let listener = Listener { tell, user };
    Log::to(move |event| listener.hear(event))
}
