"""An embedded VM snapshot engine: create, list and fetch snapshots of running VMs, in this process.

>>> from libhypeman import Hypeman
>>> with Hypeman("/var/lib/hypeman") as hm:  # doctest: +SKIP
...     vm = hm.instances.register(name="nginx1", hypervisor="qemu", api_socket="/run/nginx1.qmp")
...     snapshot = hm.instances.snapshots.create(vm.id, kind="Standby", name="baseline")
"""

from libhypeman._async import (
    AsyncHypeman,
    AsyncInstances,
    AsyncInstanceSnapshots,
    AsyncMemoryImage,
    AsyncPager,
    AsyncSnapshots,
)
from libhypeman._client import Hypeman
from libhypeman._errors import (
    APIError,
    APIStatusError,
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
    InternalServerError,
    InvalidRequestError,
    InvalidStateError,
    NoSpaceError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    StorageError,
)
from libhypeman._instances import Instances, InstanceSnapshots
from libhypeman._memory import MemoryImage
from libhypeman._names import (
    CompressionState,
    DefectKind,
    Durability,
    ExtentKind,
    FileStatus,
    HypervisorKind,
    InstanceState,
    Origin,
    Phase,
    SnapshotKind,
)
from libhypeman._native import VERSION as __version__
from libhypeman._native import CancelToken
from libhypeman._pager import Pager
from libhypeman._progress import progress_bar
from libhypeman._record import ResultList
from libhypeman._snapshots import Snapshots
from libhypeman._types import (
    Capture,
    CompressionConfig,
    Defect,
    Disk,
    Host,
    Inspection,
    Instance,
    MemoryExtent,
    MemoryRange,
    PagerMetrics,
    PayloadFile,
    Progress,
    Snapshot,
    VerifiedFile,
    VerifyReport,
)

__all__ = [
    "APIError",
    "APIStatusError",
    "AsyncHypeman",
    "AsyncInstanceSnapshots",
    "AsyncInstances",
    "AsyncMemoryImage",
    "AsyncPager",
    "AsyncSnapshots",
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
    "Defect",
    "DefectKind",
    "Disk",
    "Durability",
    "ExtentKind",
    "FileStatus",
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
    "InternalServerError",
    "InvalidRequestError",
    "InvalidStateError",
    "MemoryExtent",
    "MemoryImage",
    "MemoryRange",
    "NoSpaceError",
    "NotFoundError",
    "NotSupportedError",
    "Origin",
    "Pager",
    "PagerMetrics",
    "PayloadFile",
    "PermissionDeniedError",
    "Phase",
    "Progress",
    "ResultList",
    "Snapshot",
    "SnapshotKind",
    "Snapshots",
    "StorageError",
    "VerifiedFile",
    "VerifyReport",
    "__version__",
    "progress_bar",
]
