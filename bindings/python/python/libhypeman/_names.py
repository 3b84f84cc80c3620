"""What the fields of results may say: enumerations of strings, which compare as those."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar


class SnapshotKind(StrEnum):
    """What a snapshot captures."""

    STANDBY = "Standby"
    """Guest memory, device state and disks."""
    STOPPED = "Stopped"
    """Disks only."""


class CompressionState(StrEnum):
    """Where the compression of a snapshot's guest memory stands."""

    NONE = "none"
    """Not compressed, and no job will."""
    COMPRESSING = "compressing"
    """A job has it, or the next opener will resume it."""
    COMPRESSED = "compressed"
    ERROR = "error"
    """See ``compression_error``; the raw memory is there."""


class HypervisorKind(StrEnum):
    """Which program runs a VM."""

    CLOUD_HYPERVISOR = "cloud-hypervisor"
    FIRECRACKER = "firecracker"
    QEMU = "qemu"
    QEMU_MICROVM = "qemu-microvm"
    VZ = "vz"


class InstanceState(StrEnum):
    """What a VM does now."""

    CREATED = "Created"
    INITIALIZING = "Initializing"
    RUNNING = "Running"
    PAUSED = "Paused"
    SHUTDOWN = "Shutdown"
    STANDBY = "Standby"
    STOPPED = "Stopped"
    UNKNOWN = "Unknown"


class Origin(StrEnum):
    """Who told the store of an instance."""

    REGISTERED = "registered"
    """The host, by ``instances.register``."""
    SERVER = "server"
    """The vendor's server, by its own files."""


class Durability(StrEnum):
    """How much is flushed to the disk before a call returns."""

    FULL = "full"
    """What is acknowledged survives a power cut."""
    RELAXED = "relaxed"
    """It survives the end of the process, but not a power cut."""


class Phase(StrEnum):
    """The part of a call that a `Progress` speaks of."""

    PREPARING = "preparing"
    SAVING_MEMORY = "saving_memory"
    """The VMM writes the guest's memory, for which the VM is paused; or a restore puts memory into place."""
    COPYING_DISKS = "copying_disks"
    """Disks are cloned or copied; for a create, the VM is paused."""
    SYNCING = "syncing"
    """The VM runs again."""
    COMPRESSING = "compressing"
    VERIFYING = "verifying"


class ExtentKind(StrEnum):
    """What a part of a memory image is."""

    DATA = "data"
    """Bytes, which may be zero all the same."""
    ZERO = "zero"
    """A run of zeros in a compressed file, stored in next to no space."""
    HOLE = "hole"
    """A hole in a raw file: zeros that occupy no space."""


class FileStatus(StrEnum):
    """What is known of a file that was verified."""

    GOOD = "good"
    """Every byte is as it was captured or compressed."""
    DAMAGED = "damaged"
    """A defect names it."""
    UNCHECKED = "unchecked"
    """There is nothing to compare it with: libhypeman did not make it, or its checksums are not finished yet."""


class DefectKind(StrEnum):
    """What is wrong with a snapshot."""

    MISSING = "missing"
    """A file is not there."""
    EXTRA = "extra"
    """A file is there that was not captured."""
    SIZE = "size"
    """A file is longer or shorter than it was."""
    CONTENT = "content"
    """Bytes of a file are not what they were, or cannot be read."""
    FRAME = "frame"
    """A compressed memory file cannot be decoded, or its own checksums do not match."""
    METADATA = "metadata"
    """The record or the sidecar cannot be used."""


_Enumeration = TypeVar("_Enumeration", bound=StrEnum)


def members(enumeration: type[_Enumeration]) -> dict[str, _Enumeration]:
    """Returns the members by their names in the API; a name that is newer than this version has none."""
    return {member.value: member for member in enumeration}
