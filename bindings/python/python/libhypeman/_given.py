"""What calls are given, in forms that people write, and as the native half takes it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from libhypeman._types import CompressionConfig, Disk, StrPath

Compression = CompressionConfig | Mapping[str, Any]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def compressing(given: Compression | None) -> tuple[bool, str | None, int | None] | None:
    """Returns the fields of a `CompressionConfig`, or of the dict of one."""
    if given is None:
        return None
    config = CompressionConfig.of(given)
    return config.enabled, config.algorithm, config.level


def mapped(what: str, given: Mapping[_Key, _Value] | None) -> dict[_Key, _Value]:
    """Returns a dict of what was given; of other things Python would try to make one, and say little."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a dict, got {given!r}")
    return dict(given or {})


def listed(given: Iterable[Disk | StrPath | Mapping[str, Any]]) -> list[tuple[StrPath, bool]]:
    """Returns path and ``readonly`` of each disk. One path is no list of them, although it is a sequence."""
    if isinstance(given, (str, os.PathLike, Mapping, Disk)):
        raise TypeError(f"disks must be a list of disks, got {given!r}")
    disks = [Disk.of(disk) for disk in given]
    return [(disk.path, disk.readonly) for disk in disks]


def logger(given: logging.Logger | None) -> logging.Logger:
    """Returns the logger that hears of what happens; the library's own where none was given."""
    if given is None:
        return logging.getLogger("libhypeman")
    if not isinstance(given, (logging.Logger, logging.LoggerAdapter)):
        raise TypeError(f"log must be a logging.Logger, got {given!r}")
    return given
