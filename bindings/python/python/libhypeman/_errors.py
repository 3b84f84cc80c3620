"""The exceptions: one class for each row of the library's table of errors, and the vendor's names for them.

Codes, numbers and HTTP statuses are read from that table when this is imported.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from libhypeman._native import ERRORS


class HypemanError(Exception):
    """What libhypeman raises; one of its subclasses says what a caller can act on."""

    code: ClassVar[str]
    """Stable code string, the same in every language."""
    number: ClassVar[int]
    """Stable number, as in C."""
    status_code: ClassVar[int]
    """The HTTP status that a server would answer."""

    message: str
    """What happened, to what, and what to do about it. Wording is not stable."""
    path: Path | None
    """The path concerned."""
    id: str | None
    """The id of the snapshot or instance concerned."""
    errno: int | None
    """The error number of the operating system."""

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str] | None = None,
        id: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.path = None if path is None else Path(path)
        self.id = id
        self.errno = errno

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        about = {"path": self.path, "id": self.id, "errno": self.errno}
        notes = getattr(self, "__notes__", None)
        return _again, (type(self), self.message, about), {"__notes__": notes} if notes else None


def _again(cls: type[HypemanError], message: str, about: dict[str, Any]) -> HypemanError:
    """Makes an exception anew: what pickle and copy call."""
    return cls(message, **about)


class _SystemError(HypemanError, OSError):
    """An error that code which knows nothing of libhypeman catches as ``OSError``."""

    def __init__(
        self,
        message: str,
        *,
        path: str | os.PathLike[str] | None = None,
        id: str | None = None,
        errno: int | None = None,
    ) -> None:
        super().__init__(message, path=path, id=id, errno=errno)
        self.strerror = message
        self.filename = None if path is None else os.fspath(path)


class InternalServerError(HypemanError):
    """What a server would answer with status 500 or above. The vendor's name."""


class InvalidRequestError(HypemanError, ValueError):
    """The arguments break a rule of the API; nothing was touched."""


class NotFoundError(HypemanError, LookupError):
    """There is no such instance or snapshot."""


class ConflictError(HypemanError):
    """A name is taken, or an id prefix is ambiguous."""


class InvalidStateError(ConflictError):
    """The instance or snapshot is in a state that does not allow this."""


class NotSupportedError(InternalServerError):
    """The hypervisor, file system or platform cannot do this."""


class CorruptError(InternalServerError):
    """A file of the store is damaged or hostile."""


class IncompatibleError(ConflictError):
    """The snapshot does not fit this VMM or host."""


class NoSpaceError(InternalServerError, _SystemError):
    """The disk or a quota is full."""


class PermissionDeniedError(_SystemError, PermissionError):
    """The operating system refused access, or the file system is read-only."""


class BusyError(ConflictError):
    """Someone else is using it; try again later."""


class HypervisorError(InternalServerError):
    """The VMM refused or failed; the message has its own words."""


class CallTimeoutError(InternalServerError, _SystemError, TimeoutError):
    """The time limit of the call, or of the VMM, was passed."""


class CallCancelledError(HypemanError):
    """The call was cancelled by its token."""


class StorageError(InternalServerError, _SystemError):
    """Any other error of the operating system."""


class ClosedError(InternalServerError):
    """The handle was closed, or belongs to the process that forked this one."""


class InternalError(InternalServerError):
    """A defect of this library."""


APIError = APIStatusError = HypemanError
"""The vendor's names for it."""

BadRequestError = InvalidRequestError
"""The vendor's name for it."""

for _class, _code, _number, _status in ERRORS:
    globals()[_class].code = _code
    globals()[_class].number = _number
    globals()[_class].status_code = _status
