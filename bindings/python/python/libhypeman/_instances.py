"""The VMs of a data directory, and their snapshots: the public signatures over the native half."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from libhypeman._given import Compression, compressing, listed, mapped
from libhypeman._native import CancelToken, Handle
from libhypeman._record import ResultList
from libhypeman._types import Disk, Instance, Progress, Snapshot, StrPath


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
        return self._handle.register(
            name, hypervisor, id, api_socket, directory, listed(disks),
            compressing(compression), staging_directory, staging_directory_in_vmm, exclusive_snapshots
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
            id, kind, name, None if tags is None else mapped("tags", tags), compressing(compression), timeout, progress, cancel
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
        - ``network_overrides``: other devices of the host for network interfaces, by interface id
          (cloud-hypervisor, firecracker).
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
            snapshot_id, id, target_state, api_socket, mapped("network_overrides", network_overrides), on_demand, uffd_socket,
            allow_incompatible, duplicates, timeout, progress, cancel
        )
