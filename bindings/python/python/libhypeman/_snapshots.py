"""The snapshots of a data directory: the public signatures over the native half."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping

from libhypeman._given import Compression, compressing, mapped
from libhypeman._memory import MemoryImage
from libhypeman._native import CancelToken, Handle
from libhypeman._pager import Pager
from libhypeman._record import ResultList
from libhypeman._types import Inspection, Instance, Progress, Snapshot, StrPath, VerifyReport


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
        return ResultList(self._handle.list(kind, name, source_instance_id, mapped("tags", tags)))

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
        return self._handle.compress(id, compressing(compression))

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

        Where the file system reflinks, the files share their blocks with the snapshot, but for memory that is compressed
        there. The snapshot stays as it is.

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
            id, name, directory, mapped("disks", disks), target_state, api_socket, mapped("network_overrides", network_overrides),
            on_demand, uffd_socket, allow_incompatible, duplicates, timeout, progress, cancel
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
