"""What calls are given, in forms that people write, and as the native half takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from libhypeman._types import CompressionConfig, Progress

Compression = CompressionConfig | Mapping[str, Any]
Watcher = Callable[[Progress], object]
"""Hears of how far a call has come."""


def compressing(given: Compression | None) -> tuple[bool, str | None, int | None] | None:
    """Returns the fields of a `CompressionConfig`, or of the dict of one."""
    if given is None:
        return None
    config = CompressionConfig.of(given)
    return config.enabled, config.algorithm, config.level
