"""What a host on asyncio writes. Never run: a test has its types checked, strictly."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import assert_type

from libhypeman import AsyncHypeman, AsyncMemoryImage, AsyncPager, Instance, Progress, Snapshot, progress_bar


def show(step: Progress) -> None:
    print(step.phase, step.bytes_done)


async def back_up(data_dir: Path) -> Snapshot:
    async with AsyncHypeman(data_dir, compression={"enabled": True}, threads=2) as hm:
        vm = await hm.instances.register(name="vm", hypervisor="firecracker", directory="/vms/vm")
        assert_type(vm, Instance)
        async with asyncio.timeout(60):
            made = await hm.instances.snapshots.create(vm.id, kind="Standby", tags={"a": "b"}, progress=show)
        since: datetime = made.created_at
        assert_type(await hm.snapshots.get(made.id), Snapshot)
        assert_type(await hm.snapshots.list(kind="Standby"), list[Snapshot])
        async for one in hm.snapshots.list(name="x"):
            assert_type(one, Snapshot)
        async with await hm.snapshots.memory(made.id) as image:
            assert_type(image, AsyncMemoryImage)
            async for piece in image:
                print(len(piece), await image.read_at(0, 4096), since)
        async with await hm.snapshots.serve_memory(made.id, fill=True, cpus=[0]) as pager:
            assert_type(pager, AsyncPager)
            await hm.instances.snapshots.restore(made.id, id=vm.id, uffd_socket=pager.socket)
            await pager.wait(timeout=60)
        with progress_bar() as progress:
            await hm.snapshots.fork(made.id, name="copy", progress=progress)
        await hm.snapshots.create(made.id)  # type: ignore[attr-defined]
        await hm.snapshots.get(1)  # type: ignore[arg-type]
        async with asyncio.TaskGroup() as group:
            group.create_task(hm.snapshots.list())
            last = group.create_task(hm.snapshots.wait(made.id, timeout=60))
        return last.result()
