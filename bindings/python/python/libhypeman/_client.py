"""The handle: a data directory that is open.

Any thread may use a handle. Calls release the GIL. What the library refuses or fails at is a `HypemanError`, and a
call lists those worth catching; arguments that are not of their type raise what Python raises for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Self

from libhypeman._given import Compression, compressing, logger
from libhypeman._instances import Instances
from libhypeman._native import CancelToken, Handle
from libhypeman._snapshots import Snapshots
from libhypeman._types import Progress, StrPath

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING}

# A library says nothing where no one asked for it: not even a warning goes to stderr.
logging.getLogger("libhypeman").addHandler(logging.NullHandler())


class Hypeman:
    """An open data directory.

    ``data_dir`` is created where it is missing; without it, ``$HYPEMAN_DATA_DIR`` is used, else
    ``/var/lib/hypeman``. Opening it finishes what a dead process left: VMs that it had paused run again, its
    compression jobs go on.

    - ``read_only``: create, recover and resume nothing, and refuse every write.
    - ``compression``: for snapshots for which neither the request nor the instance says anything; default off.
    - ``durability``: ``full`` (what is acknowledged survives a power cut) or ``relaxed``.
    - ``threads``: the most for one call or job; default the CPUs that this process may use.
    - ``allow_network_fs``: write to a network file system, where locks cannot be trusted.
    - ``owns_server_instances``: no server of the vendor's runs here, so that its instances may be captured.
    - ``log``: the logger that hears of what happens in the background; default ``logging.getLogger("libhypeman")``.
      Records have the id of the snapshot or instance as ``hypeman_id``. Handlers run on the library's threads, too,
      and must not use it.
    - ``offload_memory``: guest memory of cloud-hypervisor VMs with shared memory goes straight into and out of its
      compressed form where it can, and is never written raw; a create then needs as much memory as the guest has.

    Raises `PermissionDeniedError`, `NotSupportedError` (network file system), `InvalidRequestError`,
    `NotFoundError` (missing, and ``read_only``), `StorageError`.
    """

    instances: Instances
    snapshots: Snapshots

    def __init__(
        self,
        data_dir: StrPath | None = None,
        *,
        read_only: bool = False,
        compression: Compression | None = None,
        durability: str = "full",
        threads: int | None = None,
        allow_network_fs: bool = False,
        owns_server_instances: bool = False,
        log: logging.Logger | None = None,
        offload_memory: bool = False,
    ) -> None:
        self._handle = Handle(
            data_dir, read_only, compressing(compression), durability, threads, allow_network_fs,
            owns_server_instances, _listener(logger(log)), offload_memory
        )
        self.instances = Instances(self._handle)
        self.snapshots = Snapshots(self._handle)

    @property
    def data_dir(self) -> Path:
        """The data directory, as an absolute path."""
        return self._handle.data_dir()

    def finish(
        self,
        *,
        timeout: float | None = None,
        progress: Callable[[Progress], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Waits until what this handle does in the background has ended: compression, checksums, and what it
        carries on for handles that ended before.

        A program that is over soon calls it before `close`, else the next one to open the data directory begins
        that work anew. How each came out, its snapshot says.

        Raises `CallTimeoutError`, `CallCancelledError`.
        """
        self._handle.finish(timeout, progress, cancel)

    def close(self) -> None:
        """Closes the handle: later calls raise `ClosedError`. Closing twice is fine.

        Compression jobs stop; the next one to open the data directory resumes them.
        """
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Hypeman({str(self.data_dir)!r})"


def _listener(logger: logging.Logger) -> Callable[[str, str, str], None]:
    def hear(level: str, message: str, id: str) -> None:
        logger.log(_LEVELS[level], "%s", message, extra={"hypeman_id": id})

    return hear
