//! Errors: one type, one table.
//!
//! The rules:
//! 1. A message says what happened, to which path or id, and what to do about it. No full stop after an id or at
//!    the end: people double-click to copy.
//! 2. A new [`Kind`] needs a caller who would act differently; everything else is words in the message.
//! 3. [`Kind::fact`] is the only place that knows numbers, codes, classes and HTTP statuses. Bindings ask it.
//! 4. Context is added on the way up ([`Error::context`], [`Error::at`], [`Error::about`]), never lost.
//! 5. Numbers and codes are never reused or changed: hosts store them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What this library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The arguments break a rule of the API; nothing was touched.
    InvalidRequest,
    /// There is no such instance or snapshot.
    NotFound,
    /// A name is taken, or an id prefix is ambiguous.
    Conflict,
    /// The instance or snapshot is in a state that does not allow this.
    InvalidState,
    /// The hypervisor, file system or platform cannot do this.
    NotSupported,
    /// A file of the store is damaged or hostile.
    Corrupt,
    /// The snapshot does not fit this VMM or host.
    Incompatible,
    /// The disk or a quota is full.
    NoSpace,
    /// The operating system refused access, or the file system is read-only.
    Permission,
    /// Someone else is using it; try again later.
    Busy,
    /// The VMM refused or failed; the message has its own words.
    Hypervisor,
    /// The time limit of the call, or of the VMM, was passed.
    Timeout,
    /// The call was cancelled by its token or callback.
    Cancelled,
    /// Any other error of the operating system.
    Io,
    /// The handle was closed, or belongs to the process that forked this one.
    Closed,
    /// A defect of this library.
    Internal,
}

/// A row of the table of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The number of this kind in C. Positive, never reused.
    pub number: i32,
    /// The stable code string in every language.
    pub code: &'static str,
    /// The exception class in Python.
    pub class: &'static str,
    /// The HTTP status that a server would answer.
    pub http_status: u16,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::InvalidRequest,
        Self::NotFound,
        Self::Conflict,
        Self::InvalidState,
        Self::NotSupported,
        Self::Corrupt,
        Self::Incompatible,
        Self::NoSpace,
        Self::Permission,
        Self::Busy,
        Self::Hypervisor,
        Self::Timeout,
        Self::Cancelled,
        Self::Io,
        Self::Closed,
        Self::Internal,
    ];

    /// This kind's row of the table.
    pub const fn fact(self) -> Fact {
        const fn row(number: i32, code: &'static str, class: &'static str, http_status: u16) -> Fact {
            Fact { number, code, class, http_status }
        }
        match self {
            Self::InvalidRequest => row(1, "invalid_request", "InvalidRequestError", 400),
            Self::NotFound => row(2, "not_found", "NotFoundError", 404),
            Self::Conflict => row(3, "conflict", "ConflictError", 409),
            Self::InvalidState => row(4, "invalid_state", "InvalidStateError", 409),
            Self::NotSupported => row(5, "not_supported", "NotSupportedError", 501),
            Self::Corrupt => row(6, "corrupt", "CorruptError", 500),
            Self::Incompatible => row(7, "incompatible", "IncompatibleError", 409),
            Self::NoSpace => row(8, "no_space", "NoSpaceError", 507),
            Self::Permission => row(9, "permission", "PermissionDeniedError", 403),
            Self::Busy => row(10, "busy", "BusyError", 409),
            Self::Hypervisor => row(11, "hypervisor", "HypervisorError", 502),
            Self::Timeout => row(12, "timeout", "CallTimeoutError", 504),
            Self::Cancelled => row(13, "cancelled", "CallCancelledError", 499),
            Self::Io => row(14, "io", "StorageError", 500),
            Self::Closed => row(15, "closed", "ClosedError", 503),
            Self::Internal => row(16, "internal", "InternalError", 500),
        }
    }
}

/// What went wrong.
///
/// Its text is the whole story for a person: the message, then each cause. Codes and numbers are stable, wording
/// is not.
#[derive(Debug)]
pub struct Error(Box<Body>);

#[derive(Debug)]
struct Body {
    kind: Kind,
    message: String,
    path: Option<PathBuf>,
    id: Option<String>,
    errno: Option<i32>,
}

impl Error {
    /// Makes an error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Body { kind, message: message.into(), path: None, id: None, errno: None }))
    }

    /// An error of the operating system while doing `action` ("write", "lock") on `path`.
    pub(crate) fn io(action: &str, path: impl AsRef<Path>, error: &io::Error) -> Self {
        let path = path.as_ref();
        Self::os(action, path.display(), error).at(path)
    }

    /// The same on `what`, whose path only the caller knows ([`Error::at`]).
    pub(crate) fn os(action: &str, what: impl fmt::Display, error: &io::Error) -> Self {
        let errno = error.raw_os_error();
        let (kind, advice) = match errno {
            Some(libc::ENOSPC) => (Kind::NoSpace, "; free some space and try again"),
            Some(libc::EDQUOT) => (Kind::NoSpace, "; raise the quota and try again"),
            Some(libc::EROFS) => (Kind::Permission, "; use a data directory on a writable file system"),
            Some(libc::EACCES | libc::EPERM) => (Kind::Permission, "; give this user access to it"),
            Some(libc::EMFILE | libc::ENFILE) => (Kind::Io, "; raise the limit of open files (ulimit -n)"),
            Some(libc::EFBIG) => (Kind::NoSpace, "; raise the limit of file sizes (ulimit -f)"),
            _ => (Kind::Io, ""),
        };
        let mut made = Self::new(kind, format!("cannot {action} {what}: {error}{advice}"));
        made.0.errno = errno;
        made
    }

    /// Puts `context` in front of the message.
    #[must_use]
    pub(crate) fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Appends `more` to the message.
    #[must_use]
    pub(crate) fn note(mut self, more: impl fmt::Display) -> Self {
        self.0.message = format!("{}; {more}", self.0.message);
        self
    }

    /// Names the path concerned, unless one is named already.
    #[must_use]
    pub(crate) fn at(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path.get_or_insert_with(|| path.into());
        self
    }

    /// Names the snapshot or instance concerned, unless one is named already.
    #[must_use]
    pub(crate) fn about(mut self, id: impl Into<String>) -> Self {
        self.0.id.get_or_insert_with(|| id.into());
        self
    }

    /// What a caller can act on.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable code string, such as `not_found`.
    pub fn code(&self) -> &'static str {
        self.0.kind.fact().code
    }

    /// What happened and what to do, for people. Not stable.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The path concerned, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The id of the snapshot or instance concerned, where there is one.
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// The error number of the operating system, where there is one.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_are_frozen() {
        let rows: Vec<_> = Kind::ALL.iter().map(|kind| (kind.fact().number, kind.fact().code)).collect();
        let frozen = [
            (1, "invalid_request"),
            (2, "not_found"),
            (3, "conflict"),
            (4, "invalid_state"),
            (5, "not_supported"),
            (6, "corrupt"),
            (7, "incompatible"),
            (8, "no_space"),
            (9, "permission"),
            (10, "busy"),
            (11, "hypervisor"),
            (12, "timeout"),
            (13, "cancelled"),
            (14, "io"),
            (15, "closed"),
            (16, "internal"),
        ];
        assert_eq!(rows, frozen);
    }

    #[test]
    fn a_full_disk_is_no_space_and_says_which_path() {
        let error = Error::io("write", "/data/x", &io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(error.kind(), Kind::NoSpace);
        assert_eq!(error.path(), Some(Path::new("/data/x")));
        assert_eq!(error.errno(), Some(libc::ENOSPC));
        assert!(
            error.message().contains("/data/x") && error.message().contains("free some space"),
            "{error}"
        );
    }

    #[test]
    fn the_manual_has_every_code_with_its_facts() {
        let manual = include_str!("../../docs/errors.md");
        for kind in Kind::ALL {
            let Fact { number, code, class, http_status } = kind.fact();
            let status = code.to_uppercase();
            let row =
                format!("| `{code}` | {number} | `HYPEMAN_STATUS_{status}` | `{class}` | {http_status} |");
            assert!(manual.contains(&row), "docs/errors.md lacks: {row}");
            assert!(manual.contains(&format!("\n## `{code}`\n")), "docs/errors.md does not explain {code}");
        }
    }
}
