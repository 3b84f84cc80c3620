"""The handle and its resource tree: the public signatures over the native half.

Any thread may use a handle. Calls release the GIL. What the library refuses or fails at is a `HypemanError`, and a
call lists those worth catching; arguments that are not of their type raise what Python raises for them.
"""

from __future__ import annotations

import builtins
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from libhypeman._memory import MemoryImage
from libhypeman._native import CancelToken, Handle
from libhypeman._pager import Pager
from libhypeman._types import (
    CompressionConfig,
    Disk,
    Inspection,
    Instance,
    Progress,
    ResultList,
    Snapshot,
    StrPath,
    VerifyReport,
)

Compression = CompressionConfig | Mapping[str, Any]

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
            data_dir,
            read_only,
            _compression(compression),
            durability,
            threads,
            allow_network_fs,
            owns_server_instances,
            _listener(log or logging.getLogger("libhypeman")),
            offload_memory,
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Hypeman({str(self.data_dir)!r})"


class Instances:
    """The VMs that the host, or the vendor's server, told the store of."""

    snapshots: InstanceSnapshots

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.snapshots = InstanceSnapshots(handle)

    def register(
        self,
        *,
        name: str,
        hypervisor: str,
        id: str | None = None,
        api_socket: StrPath | None = None,
        directory: StrPath | None = None,
        disks: Iterable[Disk | StrPath | Mapping[str, Any]] = (),
        compression: Compression | None = None,
        staging_directory: StrPath | None = None,
        staging_directory_in_vmm: StrPath | None = None,
        exclusive_snapshots: bool = False,
    ) -> Instance:
        """Tells the store of a VM. Telling it the same again is fine and gives the same instance.

        All of ``directory`` is captured, but for sockets and ``logs/``; where no ``disks`` are named, each of its
        files is taken for one. ``api_socket`` is the VMM's (QEMU: a ``-qmp`` socket that no one else uses). Paths
        are absolute. ``compression`` is the default of its snapshots.

        - ``staging_directory``: for a VMM that runs as another user or in a jail, a directory that it can reach, too.
          What it writes is moved from there into the snapshot, and what it loads is put there.
        - ``staging_directory_in_vmm``: the path of that directory as the VMM sees it; default the same.
        - ``exclusive_snapshots``: your promise that no other program, and no other data directory, takes snapshots of
          this VM as long as its VMM lives. Then firecracker, where it tracks dirty pages, writes only what changed since
          its last snapshot, over a copy of that one. Were it broken, such a snapshot would lack changes, and nothing
          could show it.

        Raises `InvalidRequestError`, `ConflictError` (the name or id stands for something else).
        """
        given = [Disk.of(disk) for disk in disks]
        return self._handle.register(
            name,
            hypervisor,
            id,
            api_socket,
            directory,
            [(disk.path, disk.readonly) for disk in given],
            _compression(compression),
            staging_directory,
            staging_directory_in_vmm,
            exclusive_snapshots,
        )

    def get(self, id: str) -> Instance:
        """Finds an instance by exact id, then exact name, then unique id prefix.

        Raises `NotFoundError`, `ConflictError` (several ids begin so).
        """
        return self._handle.get_instance(id)

    def list(self) -> ResultList[Instance]:
        """Returns every instance, by name."""
        return ResultList(self._handle.list_instances())

    def unregister(self, id: str) -> None:
        """Forgets a registered instance. The VM, its files and its snapshots stay as they are.

        Raises as `get`; `InvalidStateError` for an instance of the vendor's server, `BusyError` during a capture.
        """
        self._handle.unregister(id)


class InstanceSnapshots:
    """Snapshots, as made from an instance and restored onto it."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def create(
        self,
        id: str,
        *,
        kind: str,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        compression: Compression | None = None,
        timeout: float | None = None,
        progress: Callable[[Progress], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> Snapshot:
        """Captures a snapshot of instance ``id`` (exact id, exact name or unique id prefix).

        ``kind`` is ``Standby`` (memory and disks) or ``Stopped`` (disks). A running VM is paused and resumed,
        whatever happens. The snapshot is on the disk when this returns; compression goes on in the background
        (see `Snapshots.wait`).

        ``timeout`` is in seconds. ``progress`` is called on this thread; what it raises, and Ctrl-C, end the call
        as ``cancel`` does, cancel its token, and are raised from here.

        Raises `InvalidRequestError`, `NotFoundError`, `ConflictError` (name taken), `InvalidStateError`,
        `BusyError`, `HypervisorError`, `NoSpaceError`, `PermissionDeniedError`, `CallTimeoutError`,
        `CallCancelledError`, `StorageError`. After each, nothing is left and the VM runs.
        """
        return self._handle.create(
            id,
            kind,
            name,
            None if tags is None else dict(tags),
            _compression(compression),
            timeout,
            progress,
            cancel,
        )

    def restore(
        self,
        snapshot_id: str,
        *,
        id: str,
        target_state: str | None = None,
        api_socket: StrPath | None = None,
        network_overrides: Mapping[str, str] | None = None,
        on_demand: bool = False,
        uffd_socket: StrPath | None = None,
        allow_incompatible: bool = False,
        duplicates: str = "allow",
        timeout: float | None = None,
        progress: Callable[[Progress], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> Instance:
        """Restores snapshot ``snapshot_id`` onto the instance that it was taken of, ``id``.

        With ``target_state`` ``Standby`` or ``Stopped`` its files are put into place, all or none; what no snapshot
        holds (``logs/``, sockets) stays. With ``Running`` its memory is loaded into a VMM that the host has started
        and that has no VM yet, and the guest goes on. QEMU opens its disks when it starts: restore to ``Standby``,
        start it with ``-incoming defer``, then restore to ``Running``. cloud-hypervisor and firecracker take both
        in one call. A ``Stopped`` snapshot can only become ``Stopped``; a ``Standby`` one becomes ``Running`` by
        default where ``api_socket`` is given, else ``Standby``.

        - ``api_socket``: of the VMM that waits; default the instance's own.
        - ``network_overrides``: other devices of the host for network interfaces, by interface id (firecracker).
        - ``on_demand``: the guest runs while the VMM still reads its memory (cloud-hypervisor 52 and later).
        - ``uffd_socket``: of a pager that gives the VMM its memory (firecracker, cloud-hypervisor 54 and later).
        - ``allow_incompatible``: restore although the VMM or the host differs from what was recorded.
        - ``duplicates``: ``deny`` refuses memory that was handed out before (`ConflictError`); default ``allow``.

        ``timeout``, ``progress`` and ``cancel`` are as in `create`.

        Raises `InvalidRequestError`, `NotFoundError`, `InvalidStateError` (a live guest, files not in place),
        `IncompatibleError`, `BusyError`, `CorruptError`, `NotSupportedError`, `HypervisorError`, `NoSpaceError`,
        `PermissionDeniedError`, `CallTimeoutError`, `CallCancelledError`, `StorageError`. Where the files
        could not be put into place, the instance is as it was.
        """
        return self._handle.restore(
            snapshot_id,
            id,
            target_state,
            api_socket,
            dict(network_overrides or {}),
            on_demand,
            uffd_socket,
            allow_incompatible,
            duplicates,
            timeout,
            progress,
            cancel,
        )


class Snapshots:
    """The snapshots of a data directory."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def list(
        self,
        *,
        kind: str | None = None,
        name: str | None = None,
        source_instance_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> ResultList[Snapshot]:
        """Lists the snapshots that match all that is given, newest first, then by id.

        Damaged records are left out and never hide the others. Raises `InvalidRequestError` for an unknown kind.
        """
        return ResultList(self._handle.list(kind, name, source_instance_id, dict(tags or {})))

    def get(self, id: str) -> Snapshot:
        """Gets a snapshot by its id, fresh from its record. Names and prefixes are not looked for.

        Raises `NotFoundError`, `CorruptError`.
        """
        return self._handle.get(id)

    def delete(self, id: str) -> None:
        """Deletes a snapshot, damaged ones too. Its compression job is stopped first.

        Raises `NotFoundError`, `BusyError` while someone reads it.
        """
        self._handle.delete(id)

    def wait(
        self,
        id: str,
        *,
        timeout: float | None = None,
        progress: Callable[[Progress], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> Snapshot:
        """Waits until the compression of a snapshot has ended, well or not, in whichever process it runs.

        Returns the snapshot as it is then. ``timeout``, ``progress`` and ``cancel`` are as in
        `InstanceSnapshots.create`; ending the wait does not end the compression.

        Raises `NotFoundError`, `CallTimeoutError`, `CallCancelledError`, `CorruptError`.
        """
        return self._handle.wait(id, timeout, progress, cancel)

    def compress(self, id: str, *, compression: Compression | None = None) -> Snapshot:
        """Starts compressing raw memory in the background: after an error or a cancel, or for the first time.

        Without ``compression`` the settings of the record are used again, or the defaults.

        Raises `InvalidRequestError`, `NotFoundError`, `InvalidStateError` (compressed already, or without
        memory), `BusyError` (being compressed).
        """
        return self._handle.compress(id, _compression(compression))

    def cancel_compression(self, id: str) -> Snapshot:
        """Stops the compression of a snapshot, if one runs: its state is ``none`` then, its memory raw.

        Raises `NotFoundError`, `BusyError` when another process compresses it.
        """
        return self._handle.cancel_compression(id)

    def fork(
        self,
        id: str,
        *,
        name: str,
        directory: StrPath | None = None,
        disks: Mapping[StrPath, StrPath] | None = None,
        target_state: str | None = None,
        api_socket: StrPath | None = None,
        network_overrides: Mapping[str, str] | None = None,
        on_demand: bool = False,
        uffd_socket: StrPath | None = None,
        allow_incompatible: bool = False,
        duplicates: str = "allow",
        timeout: float | None = None,
        progress: Callable[[Progress], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> Instance:
        """Makes a new instance of a snapshot, with files of its own. The source may be gone.

        Where the file system reflinks, the files share their blocks with the snapshot, which stays as it is.

        - ``name``: 1-63 of ``[a-z0-9-]``, no dash at either end, unique among instances.
        - ``directory``: the new one, which is made; default ``guests/{id}`` in the data directory.
        - ``disks``: where disks from outside the source's directory go, by their paths at capture; the others go into
          ``disks/`` of the new directory. A read-only one may be given a file that is there: it is used as it is.

        The rest is as in `InstanceSnapshots.restore`. To become ``Running`` in one call, a VMM must wait at
        ``api_socket`` (cloud-hypervisor, firecracker). QEMU opens its disks when it starts: fork to ``Standby``, start
        it with the disks of the new instance, then restore the snapshot onto that. firecracker must find the fork's
        files where the source's were, by a mount namespace or a link.

        Raises as `InstanceSnapshots.restore`; `ConflictError` when the name or a place is taken. After each there is
        no new instance.
        """
        return self._handle.fork(
            id,
            name,
            directory,
            dict(disks or {}),
            target_state,
            api_socket,
            dict(network_overrides or {}),
            on_demand,
            uffd_socket,
            allow_incompatible,
            duplicates,
            timeout,
            progress,
            cancel,
        )

    def inspect(self, id: str) -> Inspection:
        """Tells what the 14 fields cannot say: files, sizes on disk, how it was captured.

        Raises `NotFoundError`, `CorruptError`.
        """
        return self._handle.inspect(id)

    def verify(
        self,
        id: str,
        *,
        timeout: float | None = None,
        progress: Callable[[Progress], object] | None = None,
        cancel: CancelToken | None = None,
    ) -> VerifyReport:
        """Reads every byte of a snapshot and compares it with the checksums that were made after its capture.

        Damage is what the report tells of, not an error. ``timeout``, ``progress`` and ``cancel`` are as in
        `InstanceSnapshots.create`.

        Raises `NotFoundError`, `BusyError` while its files are being removed, `CorruptError` when it has no payload
        at all, `CallTimeoutError`, `CallCancelledError`, `StorageError`.
        """
        return self._handle.verify(id, timeout, progress, cancel)

    def memory(self, id: str) -> MemoryImage:
        """Opens the guest memory of a snapshot for reading at any offset, while it is being compressed, too.

        Raises `NotFoundError`, `InvalidStateError` when it has no memory, `NotSupportedError` for a compressed file
        that can only be read from its start (the vendor's zstd), `BusyError` while its files are being removed,
        `CorruptError`, `StorageError`.
        """
        return MemoryImage(self._handle.memory(id))

    def serve_memory(
        self,
        id: str,
        *,
        socket: StrPath | None = None,
        cache_bytes: int | None = None,
        prefetch: bool = True,
        fill: bool = False,
        spin_us: int | None = None,
        cpus: Iterable[int] = (),
    ) -> Pager:
        """Serves the guest memory of a snapshot to VMs that run already, page by page as they touch it.

        It is served straight from its file, compressed or not, to any number of VMs.

        - ``socket``: where to listen, an absolute path of at most 107 bytes at which nothing lies yet; default one of
          its own in the directory for temporary files.
        - ``cache_bytes``: the most decoded memory that is kept for the next VM that wants it; default 64 MiB.
        - ``prefetch``: install what the first VM wanted first before the next one asks; where that is not known yet,
          find it out.
        - ``fill``: install all the rest, too, in the background. A VM with all of its memory needs no pager any more.
        - ``spin_us``: for how long after a fault a CPU is kept busy waiting for the next, at most; default 30, most 1000.
        - ``cpus``: those that the threads of the pager may run on; default all.

        Raises `InvalidRequestError`, `NotFoundError`, `InvalidStateError` when it has no memory, `ConflictError` when
        something lies at ``socket``, `NotSupportedError` (memory of QEMU and vz, compressed files that can only be read
        from their start, other systems than Linux), `BusyError`, `CorruptError`, `StorageError`.
        """
        return Pager(
            self._handle.serve_memory(id, socket, cache_bytes, prefetch, fill, spin_us, builtins.list(cpus))
        )


def _compression(given: Compression | None) -> tuple[bool, str | None, int | None] | None:
    if given is None:
        return None
    config = CompressionConfig.of(given)
    return config.enabled, config.algorithm, config.level


def _listener(logger: logging.Logger) -> Callable[[str, str, str], None]:
    def hear(level: str, message: str, id: str) -> None:
        logger.log(_LEVELS[level], "%s", message, extra={"hypeman_id": id})

    return hear
