"""The public data types: frozen, comparable, hashable, picklable, and matched by position or by name.

``to_dict()`` gives the JSON form that every language has in common.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from libhypeman._errors import InvalidRequestError
from libhypeman._names import (
    CompressionState,
    DefectKind,
    ExtentKind,
    FileStatus,
    HypervisorKind,
    InstanceState,
    Origin,
    Phase,
    SnapshotKind,
)
from libhypeman._record import Record

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class CompressionConfig(Record):
    """Compression of guest memory: ``zstd`` (level 1-19, default 1; the default) or ``lz4`` (0-9, default 0)."""

    enabled: bool
    algorithm: str | None = None
    level: int | None = None

    @classmethod
    def of(cls, value: CompressionConfig | Mapping[str, Any]) -> CompressionConfig:
        """Returns ``value`` as a `CompressionConfig`, if it is the dict of one."""
        return value if isinstance(value, CompressionConfig) else _from_dict(cls, "compression", value)


@dataclass(frozen=True, slots=True)
class Disk(Record):
    """A disk of a VM: a regular file on the host."""

    path: Path
    """Absolute."""
    readonly: bool = False
    """Whether the guest can only read it; then it is copied before the pause."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @classmethod
    def of(cls, value: Disk | StrPath | Mapping[str, Any]) -> Disk:
        """Returns ``value`` as a `Disk`, if it is the path or the dict of one."""
        if isinstance(value, Disk):
            return value
        if isinstance(value, Mapping):
            return _from_dict(cls, "disk", value)
        return cls(Path(value))


_Given = TypeVar("_Given", CompressionConfig, Disk)


def _from_dict(cls: type[_Given], what: str, value: Mapping[str, Any]) -> _Given:
    try:
        return cls(**value)
    except TypeError:
        keys = ", ".join(f.name for f in fields(cls))
        raise InvalidRequestError(
            f"{what} is a dict of {keys}, of which the first is required, got {value!r}"
        ) from None


@dataclass(frozen=True, slots=True)
class Snapshot(Record):
    """A snapshot: exactly the 14 fields of the API pages."""

    id: str
    created_at: datetime
    """In UTC, to the microsecond; ``to_dict()`` has all digits."""
    kind: SnapshotKind | str
    size_bytes: int
    """Total payload size: the apparent sizes of its files."""
    source_hypervisor: HypervisorKind | str
    source_instance_id: str
    source_instance_name: str
    compressed_size_bytes: int | None = None
    """Only in state ``compressed``."""
    compression: CompressionConfig | None = None
    """The settings that run or ran; absent when off."""
    compression_error: str | None = None
    """Only in state ``error``."""
    compression_state: CompressionState | str | None = None
    name: str | None = None
    """Unique per source instance."""
    tags: dict[str, str] | None = field(default=None, hash=False)
    uncompressed_size_bytes: int | None = None
    """Size of the memory before compression; only in state ``compressed``."""
    _created_at_text: str | None = field(default=None, repr=False, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Instance(Record):
    """A VM, where it is and what it does."""

    id: str
    name: str
    hypervisor: HypervisorKind | str
    state: InstanceState | str
    """Derived when it was asked for, never stored."""
    origin: Origin | str
    created_at: datetime
    """When it was registered, or created by the vendor's server."""
    api_socket: Path | None = None
    directory: Path | None = None
    disks: tuple[Disk, ...] = ()
    compression: CompressionConfig | None = None
    """Default compression of its snapshots."""
    generation: int | None = None
    """Which copy of its snapshot's memory it has, from 1: told by the restore or fork that gave it that."""
    staging_directory: Path | None = None
    """Through which files pass between us and the VMM."""
    staging_directory_in_vmm: Path | None = None
    _created_at_text: str | None = field(default=None, repr=False, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class PayloadFile(Record):
    """A file of a payload."""

    path: str
    """Beneath ``guest/``."""
    size_bytes: int
    allocated_bytes: int
    """What it occupies on the disk."""


@dataclass(frozen=True, slots=True)
class Host(Record):
    """The machine on which a snapshot was captured."""

    kernel: str
    architecture: str
    cpu_model: str
    cpu_vendor: str
    cpu_flags: str
    """What the CPU can do, in the kernel's words, with a space between any two."""


@dataclass(frozen=True, slots=True)
class Capture(Record):
    """How a snapshot was captured."""

    source_state: str
    """What the source did when the capture began."""
    host: Host
    libhypeman_version: str
    paused_ms: float | None = None
    """How long the guest did not run for our sake; absent where it was not paused by us."""
    saving_memory_ms: float | None = None
    """The part of the pause in which the VMM wrote its state and memory."""
    copying_disks_ms: float | None = None
    """The part of the pause in which disks were cloned or copied."""
    hypervisor_version: str | None = None
    memory_format: str | None = None
    """``qemu-stream``, ``qemu-mapped-ram``, ``cloud-hypervisor-ranges`` or ``raw``."""
    memory_file: str | None = None
    """Beneath ``guest/``, without the suffix of a compressed one."""
    state_format: str | None = None
    """The version of the form of the VMM's own state, where that tells it (firecracker)."""


@dataclass(frozen=True, slots=True)
class Inspection(Record):
    """What the 14 fields of a snapshot cannot say."""

    snapshot: Snapshot
    files: tuple[PayloadFile, ...]
    allocated_bytes: int
    """What the payload occupies on the disk; less than ``size_bytes`` where files are sparse."""
    generation: int
    """How often its memory was handed out, by restores and forks, each of which has a number of its own."""
    capture: Capture | None = None
    """Absent for snapshots that libhypeman did not make."""


@dataclass(frozen=True, slots=True)
class MemoryExtent(Record):
    """A part of a memory image."""

    offset: int
    size_bytes: int
    kind: ExtentKind | str


@dataclass(frozen=True, slots=True)
class MemoryRange(Record):
    """A range of guest-physical memory that lies in one piece in an image."""

    guest_address: int
    """Of its first byte."""
    offset: int
    """Where that byte is in the image."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PagerMetrics(Record):
    """What a pager has done so far."""

    vms: int
    """VMs that are connected now."""
    vms_seen: int
    """VMs that ever were."""
    vms_whole: int
    """VMs that were given all of their memory, and need the pager no more."""
    faults: int
    """Page faults that were answered."""
    copied_bytes: int
    """Bytes that were copied into VMs."""
    zero_bytes: int
    """Bytes of zeros that VMs were given, which take no memory."""
    prefetched_bytes: int
    """Of both, what was installed because a VM before wanted it first."""
    filled_bytes: int
    """Of both, what was installed in the background."""
    fault_us: tuple[int, ...]
    """How long faults took: entry ``i`` counts those of less than ``2**i`` microseconds that are in no lower entry, and
    the last one all longer ones."""
    errors: int
    """Damaged frames, VMs that were refused."""
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class VerifiedFile(Record):
    """A file of a payload, verified."""

    path: str
    """Within the snapshot's directory, as are all paths of a report."""
    size_bytes: int
    status: FileStatus | str


@dataclass(frozen=True, slots=True)
class Defect(Record):
    """Something that is wrong with a snapshot."""

    path: str
    kind: DefectKind | str
    message: str
    """What is wrong, for people."""
    offset: int | None = None
    """Where the damaged part begins; absent where the whole file is concerned, or where ``message`` names the place."""
    size_bytes: int | None = None
    """The length of the part in which the damage lies; present with ``offset``."""


@dataclass(frozen=True, slots=True)
class VerifyReport(Record):
    """What was found in a snapshot when every byte of its files was read."""

    snapshot_id: str
    files: tuple[VerifiedFile, ...]
    """Every file of the payload that is there, by path."""
    defects: tuple[Defect, ...]
    """Everything that is wrong, by path and offset."""

    @property
    def is_good(self) -> bool:
        """Whether every file was checked and nothing is wrong."""
        return not self.defects and all(file.status == FileStatus.GOOD for file in self.files)


@dataclass(frozen=True, slots=True)
class Progress(Record):
    """How far a call has come."""

    phase: Phase | str
    bytes_done: int
    bytes_total: int
    """0 while unknown."""
