"""Errors: the table of the core, a class for each row, and what Python expects of exceptions."""

import copy
import errno
import pickle
from pathlib import Path

import pytest

import libhypeman
from libhypeman import HypemanError, _errors, _native

ROWS = {name: (code, number, status) for name, code, number, status in _native.ERRORS}
CLASSES = [getattr(libhypeman, name) for name in ROWS]


def _leaves(cls: type[HypemanError]) -> set[type[HypemanError]]:
    below = set(cls.__subclasses__())
    return below.union(*map(_leaves, below))


def test_each_row_of_the_table_has_its_class_and_each_class_its_row() -> None:
    public = {cls.__name__ for cls in _leaves(HypemanError) if not cls.__name__.startswith("_")}
    assert public == {*ROWS, "InternalServerError"}
    for cls in CLASSES:
        assert (cls.code, cls.number, cls.status_code) == ROWS[cls.__name__]


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (libhypeman.NotFoundError, LookupError),
        (libhypeman.InvalidRequestError, ValueError),
        (libhypeman.CallTimeoutError, TimeoutError),
        (libhypeman.NoSpaceError, OSError),
        (libhypeman.StorageError, OSError),
        (libhypeman.PermissionDeniedError, PermissionError),
        (libhypeman.InvalidStateError, libhypeman.ConflictError),
    ],
)
def test_code_that_knows_only_the_builtin_exception_catches_ours(cls: type, builtin: type) -> None:
    assert issubclass(cls, builtin) and issubclass(cls, HypemanError)


def test_the_vendors_names_of_errors_are_kept() -> None:
    assert libhypeman.BadRequestError is libhypeman.InvalidRequestError
    assert libhypeman.APIError is libhypeman.APIStatusError is HypemanError


@pytest.mark.parametrize("cls", CLASSES)
def test_the_vendors_classes_go_by_the_status(cls: type[HypemanError]) -> None:
    assert issubclass(cls, libhypeman.InternalServerError) == (cls.status_code >= 500)
    assert issubclass(cls, libhypeman.ConflictError) == (cls.status_code == 409)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_pickling_and_copying_whole(cls: type[HypemanError]) -> None:
    error = cls("the disk is full", path="/data/x", id="abc", errno=errno.ENOSPC)
    error.add_note("seen at night")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is cls
        assert (again.message, again.path, again.id) == ("the disk is full", Path("/data/x"), "abc")
        assert again.errno == errno.ENOSPC
        assert str(again) == "the disk is full"
        assert again.__notes__ == ["seen at night"]


def test_an_error_of_the_system_has_what_os_errors_have() -> None:
    error = libhypeman.NoSpaceError("the disk is full", path="/data/x", errno=errno.ENOSPC)
    assert (error.errno, error.filename, error.strerror) == (errno.ENOSPC, "/data/x", "the disk is full")
    assert libhypeman.CallTimeoutError("too long").errno is None


def test_the_class_that_a_repr_shows_can_be_imported() -> None:
    for cls in CLASSES:
        assert repr(cls("x")) == f"{cls.__name__}('x')"
        assert getattr(_errors, cls.__name__) is cls


def test_a_panic_in_the_library_is_an_internal_error_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        with pytest.raises(libhypeman.InternalError, match="self-test") as caught:
            _native.selftest_panic()
    assert caught.value.code == "internal"
    assert capfd.readouterr() == ("", "")
