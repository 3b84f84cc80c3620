"""A sandbox with checkpoints: a VM on whose console you type, and that goes back to any moment that you saved.

python sandbox.py DATA_DIR VM_DIR < commands

``VM_DIR`` holds ``disk.raw``, which boots and has its console on the first serial port. A line is typed on that console
and its answer printed, but for these:

    save NAME   takes a snapshot of the VM, which runs on
    back NAME   puts memory and disk back to what they were then
    list        what was saved, and when
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from libhypeman import AsyncHypeman, HypemanError, Instance, NotFoundError

# What a guest says is complete when it has said nothing for so long, in seconds.
QUIET = 0.5
# How long QEMU may take to start, a guest to begin its answer, and a call to end.
PATIENCE = 60.0


class Machine:
    """A QEMU that runs: its process and the console of its guest."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.monitor = directory / "qmp.sock"
        self._console = directory / "console.sock"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, *, waiting_for_memory: bool = False) -> None:
        for left_over in (self.monitor, self._console):
            left_over.unlink(missing_ok=True)
        command = ["qemu-system-x86_64", "-machine", "pc,accel=kvm:tcg", "-m", "64", "-nodefaults", "-display", "none"]
        command += ["-drive", f"file={self.directory / 'disk.raw'},format=raw,if=ide"]
        command += ["-qmp", f"unix:{self.monitor},server=on,wait=off"]
        command += ["-serial", f"unix:{self._console},server=on,wait=off"]
        command += ["-incoming", "defer"] if waiting_for_memory else []
        self._process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(PATIENCE):
            while not self.monitor.exists() or not self._console.exists():
                if self._process.returncode is not None:
                    raise SystemExit(f"qemu ended at once, with {self._process.returncode}")
                await asyncio.sleep(0.01)
        self._reader, self._writer = await asyncio.open_unix_connection(self._console)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._writer.close()
            self._process.kill()
            await self._process.wait()

    async def type(self, line: str) -> str:
        """Types a line, and returns what the guest says to it."""
        self._writer.write(line.encode() + b"\n")
        await self._writer.drain()
        answer, patience = b"", PATIENCE
        while True:
            try:
                said = await asyncio.wait_for(self._reader.read(4096), patience)
            except TimeoutError:
                return answer.decode(errors="replace")
            if not said:
                return answer.decode(errors="replace")
            answer, patience = answer + said, QUIET


class Sandbox:
    """A machine, and the snapshots that were taken of it."""

    def __init__(self, hm: AsyncHypeman, vm: Instance, machine: Machine) -> None:
        self._hm = hm
        self._vm = vm
        self._machine = machine

    async def save(self, name: str) -> str:
        saved = await self._hm.instances.snapshots.create(
            self._vm.id, kind="Standby", name=name, compression={"enabled": True}, timeout=PATIENCE
        )
        return f"saved {name}, {saved.size_bytes >> 20} MiB"

    async def back(self, name: str) -> str:
        found = await self._hm.snapshots.list(name=name, source_instance_id=self._vm.id)
        if not found:
            raise NotFoundError(f"nothing was saved as {name}; list tells what was")
        # QEMU opens its disk when it starts: first the files are put back, then memory into a QEMU that waits for it.
        await self._machine.stop()
        await self._hm.instances.snapshots.restore(found[0].id, id=self._vm.id, target_state="Standby")
        await self._machine.start(waiting_for_memory=True)
        await self._hm.instances.snapshots.restore(
            found[0].id, id=self._vm.id, target_state="Running", timeout=PATIENCE
        )
        return f"back at {name}"

    async def list(self) -> str:
        snapshots = self._hm.snapshots.list(source_instance_id=self._vm.id)
        return "\n".join([f"{one.created_at:%H:%M:%S} {one.name}" async for one in snapshots])

    async def obey(self, line: str) -> str:
        match line.split():
            case ["save", name]:
                return await self.save(name)
            case ["back", name]:
                return await self.back(name)
            case ["list"]:
                return await self.list()
        return await self._machine.type(line)


@asynccontextmanager
async def sandbox(data_dir: Path, vm_dir: Path) -> AsyncIterator[Sandbox]:
    """Boots the VM of a directory; it ends with the block, what was saved stays."""
    machine = Machine(vm_dir)
    async with AsyncHypeman(data_dir) as hm:
        vm = await hm.instances.register(
            name=vm_dir.name, hypervisor="qemu", api_socket=machine.monitor, directory=vm_dir
        )
        try:
            await machine.start()
            yield Sandbox(hm, vm, machine)
        finally:
            await machine.stop()


async def main(data_dir: Path, vm_dir: Path) -> None:
    async with sandbox(data_dir, vm_dir) as box:
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                print((await box.obey(line.rstrip("\n"))).rstrip(), flush=True)
            except HypemanError as error:
                print(f"{error.code}: {error}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    asyncio.run(main(*(Path(argument).absolute() for argument in sys.argv[1:])))
