"""A progress bar for those who have tqdm."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from libhypeman._types import Progress


@contextmanager
def progress_bar(**options: Any) -> Iterator[Callable[[Progress], None]]:
    """Shows how far a call has come, with `tqdm <https://tqdm.github.io>`_; in a notebook as a widget.

    >>> with progress_bar() as progress:  # doctest: +SKIP
    ...     hm.instances.snapshots.create("nginx1", kind="Standby", progress=progress)

    There is a bar for each phase of the call. ``options`` are those of ``tqdm.tqdm``. It serves `AsyncHypeman`, too.

    Raises ``ImportError`` where tqdm is not installed (``pip install tqdm``).
    """
    try:
        tqdm = importlib.import_module("tqdm.auto").tqdm
    except ImportError as missing:
        raise ImportError(
            "progress_bar draws with tqdm, which is not installed: pip install tqdm, or pass a progress of your own"
        ) from missing
    bar: Any = None
    phase = None

    def show(step: Progress) -> None:
        nonlocal bar, phase
        if step.phase != phase:
            if bar is not None:
                bar.close()
            phase = step.phase
            look = {"desc": str(phase).replace("_", " "), "unit": "B", "unit_scale": True, "unit_divisor": 1024}
            bar = tqdm(**(look | options))
        # The total of a phase is not known at once, and may grow.
        bar.total = step.bytes_total or None
        bar.update(step.bytes_done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
