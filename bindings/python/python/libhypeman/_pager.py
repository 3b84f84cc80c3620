"""Guest memory that is served page by page to VMs that run already."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from libhypeman._native import CancelToken
from libhypeman._native import Pager as Native
from libhypeman._types import PagerMetrics


class Pager:
    """Serves the memory of a snapshot to VMs that run already, straight from its file, compressed or not.

    Any number of VMs may connect to ``socket``: give it to `InstanceSnapshots.restore` as ``uffd_socket``, or to
    firecracker as a ``Uffd`` memory backend.

    It ends when it is stopped, when the ``with`` block ends that it is used in, or when its `Hypeman` is closed; until
    then it keeps that open. A VM
    that has not got all of its memory by then stands still at the next page that it misses, for ever: end it before, or
    let it have all of it first (``fill``, and `wait`). When the process dies instead, the VM ends there by SIGBUS. So does
    one whose guest touches a page that is damaged: the signal goes to the process that connected. While it runs, the
    snapshot cannot be deleted (`BusyError`).
    """

    __slots__ = ("_native",)

    def __init__(self, native: Native) -> None:
        self._native = native

    @property
    def snapshot_id(self) -> str:
        """The snapshot whose memory is served."""
        return self._native.snapshot_id()

    @property
    def socket(self) -> Path:
        """Where VMs connect. Only this user may, unless the host changes owner or mode of the file."""
        return self._native.socket()

    def metrics(self) -> PagerMetrics:
        """Tells what it has done so far; after its end, too."""
        return self._native.metrics()

    def wait(self, *, timeout: float | None = None, cancel: CancelToken | None = None) -> None:
        """Waits until at least one VM has connected, and each that did is gone or has all of its memory.

        Without ``fill`` none ever has that. ``timeout`` is in seconds.

        Raises `CallTimeoutError`, `CallCancelledError`, `ClosedError` once it was stopped.
        """
        self._native.wait(timeout, cancel)

    def __repr__(self) -> str:
        return f"Pager({self.snapshot_id!r}, socket={str(self.socket)!r})"

    def stop(self) -> None:
        """Stops serving, and returns when that is done. Stopping twice is fine."""
        self._native.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
