"""An embedded VM snapshot engine: create, list and fetch snapshots of running VMs, in this process.

>>> from libhypeman import Hypeman
>>> with Hypeman("/var/lib/hypeman") as hm:  # doctest: +SKIP
...     vm = hm.instances.register(name="nginx1", hypervisor="qemu", api_socket="/run/nginx1.qmp")
...     snapshot = hm.instances.snapshots.create(vm.id, kind="Standby", name="baseline")
"""

from libhypeman._client import Hypeman, Instances, InstanceSnapshots, Snapshots
from libhypeman._errors import (
    BadRequestError,
    BusyError,
    CallCancelledError,
    CallTimeoutError,
    ClosedError,
    ConflictError,
    CorruptError,
    HypemanError,
    HypervisorError,
    IncompatibleError,
    InternalError,
    InvalidRequestError,
    InvalidStateError,
    NoSpaceError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    StorageError,
)
from libhypeman._native import VERSION as __version__
from libhypeman._native import CancelToken
from libhypeman._types import (
    Capture,
    CompressionConfig,
    CompressionState,
    Disk,
    Durability,
    Host,
    HypervisorKind,
    Inspection,
    Instance,
    InstanceState,
    Origin,
    PayloadFile,
    Phase,
    Progress,
    Snapshot,
    SnapshotKind,
)

__all__ = [
    "BadRequestError",
    "BusyError",
    "CallCancelledError",
    "CallTimeoutError",
    "CancelToken",
    "Capture",
    "ClosedError",
    "CompressionConfig",
    "CompressionState",
    "ConflictError",
    "CorruptError",
    "Disk",
    "Durability",
    "Host",
    "Hypeman",
    "HypemanError",
    "HypervisorError",
    "HypervisorKind",
    "IncompatibleError",
    "Inspection",
    "Instance",
    "InstanceSnapshots",
    "InstanceState",
    "Instances",
    "InternalError",
    "InvalidRequestError",
    "InvalidStateError",
    "NoSpaceError",
    "NotFoundError",
    "NotSupportedError",
    "Origin",
    "PayloadFile",
    "PermissionDeniedError",
    "Phase",
    "Progress",
    "Snapshot",
    "SnapshotKind",
    "Snapshots",
    "StorageError",
    "__version__",
]
