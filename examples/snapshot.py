"""Registers a VM that runs under QEMU and takes a compressed snapshot of it, while it runs.

python examples/snapshot.py DATA_DIR INSTANCE_DIR
"""

import sys
from pathlib import Path

from libhypeman import Hypeman

data_dir, instance_dir = (Path(argument).absolute() for argument in sys.argv[1:])

with Hypeman(data_dir) as hm:
    vm = hm.instances.register(
        name="demo",
        hypervisor="qemu",
        api_socket=instance_dir / "qmp.sock",
        directory=instance_dir,
        disks=[instance_dir / "disk.raw"],
    )
    print(f"registered {vm.name}, which is {vm.state}")
    snapshot = hm.instances.snapshots.create(
        vm.id,
        kind="Standby",
        name="from-python",
        tags={"language": "python"},
        compression={"enabled": True, "algorithm": "zstd", "level": 3},
    )
    print(f"took {snapshot.name} ({snapshot.id})")
