"""What a host writes. Never run: a test has its types checked, strictly."""

from datetime import datetime
from pathlib import Path

from libhypeman import CancelToken, CompressionConfig, Disk, Hypeman, NotFoundError, Progress, Snapshot


def show(step: Progress) -> None:
    print(step.phase, step.bytes_done)


def back_up(data_dir: Path) -> Snapshot | None:
    with Hypeman(data_dir, compression={"enabled": True}, threads=2) as hm:
        vm = hm.instances.register(name="vm", hypervisor="qemu", disks=["/a.raw", Disk(Path("/b.raw"), readonly=True)])
        made = hm.instances.snapshots.create(
            vm.id,
            kind="Standby",
            tags={"team": "backend"},
            compression=CompressionConfig(True, "lz4"),
            timeout=1.5,
            progress=show,
            cancel=CancelToken(),
        )
        since: datetime = made.created_at
        sizes: list[int] = [snapshot.size_bytes for snapshot in hm.snapshots.list(kind="Standby")]
        print(since, sizes, hm.snapshots.inspect(made.id).files[0].path)
        vm = hm.instances.snapshots.restore(
            made.id,
            id=vm.id,
            target_state="Running",
            api_socket=Path("/run/vm.sock"),
            network_overrides={"eth0": "tap1"},
            allow_incompatible=True,
            timeout=60,
            progress=show,
        )
        with hm.snapshots.memory(made.id) as image:
            page: bytes = image[0:4096]
            first: int = image[0]
            print(page, first, image.readinto(bytearray(64), 128), [extent.kind for extent in image.extents()])
        print(hm.snapshots.verify(made.id, progress=show).is_good)
        try:
            return hm.snapshots.wait(made.id, timeout=60)
        except NotFoundError as error:
            print(error.code, error.id)
            return None
