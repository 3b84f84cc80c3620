"""The native half. Private: `libhypeman` has the public signatures."""

import builtins
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self, final

from libhypeman._types import (
    Inspection,
    Instance,
    MemoryExtent,
    MemoryRange,
    PagerMetrics,
    Progress,
    Snapshot,
    VerifyReport,
)

__all__ = ["ERRORS", "VERSION", "CancelToken", "Handle", "Lender", "Memory", "Pager", "command", "selftest_panic"]

VERSION: str
ERRORS: list[tuple[str, str, int, int]]

_Compression = tuple[bool, str | None, int | None]
_StrPath = str | os.PathLike[str]

def command(arguments: list[str]) -> int: ...
def selftest_panic() -> None: ...

@final
class CancelToken:
    """Ends the calls that hold it, from any thread. It cannot be taken back."""

    def cancel(self) -> None:
        """Asks every call that holds this token to stop."""
    @property
    def cancelled(self) -> bool:
        """Whether `cancel()` was called."""

@final
class Handle:
    def __new__(
        cls,
        data_dir: _StrPath | None,
        read_only: bool,
        compression: _Compression | None,
        durability: str,
        threads: int | None,
        allow_network_fs: bool,
        owns_server_instances: bool,
        log: Callable[[str, str, str], object],
        offload_memory: bool,
    ) -> Handle: ...
    def data_dir(self) -> Path: ...
    def finish(
        self,
        timeout: float | None,
        progress: Callable[[Progress], object] | None,
        cancel: CancelToken | None,
    ) -> None: ...
    def close(self) -> None: ...
    def register(
        self,
        name: str,
        hypervisor: str,
        id: str | None,
        api_socket: _StrPath | None,
        directory: _StrPath | None,
        disks: list[tuple[_StrPath, bool]],
        compression: _Compression | None,
        staging_directory: _StrPath | None,
        staging_directory_in_vmm: _StrPath | None,
        exclusive_snapshots: bool,
    ) -> Instance: ...
    def get_instance(self, id: str) -> Instance: ...
    def list_instances(self) -> list[Instance]: ...
    def unregister(self, id: str) -> None: ...
    def create(
        self,
        id: str,
        kind: str,
        name: str | None,
        tags: dict[str, str] | None,
        compression: _Compression | None,
        timeout: float | None,
        progress: Callable[[Progress], object] | None,
        cancel: CancelToken | None,
    ) -> Snapshot: ...
    def restore(
        self,
        snapshot_id: str,
        id: str,
        target_state: str | None,
        api_socket: _StrPath | None,
        network_overrides: dict[str, str],
        on_demand: bool,
        uffd_socket: _StrPath | None,
        allow_incompatible: bool,
        duplicates: str,
        timeout: float | None,
        progress: Callable[[Progress], object] | None,
        cancel: CancelToken | None,
    ) -> Instance: ...
    def fork(
        self,
        id: str,
        name: str,
        directory: _StrPath | None,
        disks: dict[_StrPath, _StrPath],
        target_state: str | None,
        api_socket: _StrPath | None,
        network_overrides: dict[str, str],
        on_demand: bool,
        uffd_socket: _StrPath | None,
        allow_incompatible: bool,
        duplicates: str,
        timeout: float | None,
        progress: Callable[[Progress], object] | None,
        cancel: CancelToken | None,
    ) -> Instance: ...
    def list(
        self, kind: str | None, name: str | None, source_instance_id: str | None, tags: dict[str, str]
    ) -> list[Snapshot]: ...
    def get(self, id: str) -> Snapshot: ...
    def delete(self, id: str) -> None: ...
    def wait(
        self,
        id: str,
        timeout: float | None,
        progress: Callable[[Progress], object] | None,
        cancel: CancelToken | None,
    ) -> Snapshot: ...
    def compress(self, id: str, compression: _Compression | None) -> Snapshot: ...
    def cancel_compression(self, id: str) -> Snapshot: ...
    def inspect(self, id: str) -> Inspection: ...
    def verify(
        self,
        id: str,
        timeout: float | None,
        progress: Callable[[Progress], object] | None,
        cancel: CancelToken | None,
    ) -> VerifyReport: ...
    def memory(self, id: str) -> Memory: ...
    def serve_memory(
        self,
        id: str,
        socket: _StrPath | None,
        cache_bytes: int | None,
        prefetch: bool,
        fill: bool,
        spin_us: int | None,
        cpus: builtins.list[int],
    ) -> Pager: ...

class Lender:
    """What a class inherits to lend its bytes, `self[:]`, as a buffer."""

    def __new__(cls, *arguments: object) -> Self: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Memory:
    """The guest memory of a snapshot, open for reading."""

    def snapshot_id(self) -> str: ...
    def path(self) -> Path: ...
    def size_bytes(self) -> int: ...
    def read_at(self, offset: int, length: int) -> bytes:
        """Reads at most `length` bytes from `offset` on, fewer only at the end of the image."""
    def extents(self) -> list[MemoryExtent]: ...
    def ranges(self) -> list[MemoryRange]: ...
    def close(self) -> None: ...

@final
class Pager:
    """Serves the memory of a snapshot."""

    def snapshot_id(self) -> str: ...
    def socket(self) -> Path: ...
    def metrics(self) -> PagerMetrics: ...
    def wait(self, timeout: float | None, cancel: CancelToken | None) -> None: ...
    def stop(self) -> None: ...
