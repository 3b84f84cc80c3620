"""Ctrl-C in the middle of a capture of a real VM."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import missing

from libhypeman import Hypeman, Instance, InstanceState, Phase, Progress

PATIENCE = 60


@pytest.fixture
def running(hm: Hypeman, tmp_path: Path) -> Iterator[Instance]:
    """A QEMU whose guest does nothing but run."""
    if shutil.which("qemu-system-x86_64") is None:
        missing("qemu", "qemu-system-x86_64 is not installed")
    where, monitor = tmp_path / "vm", tmp_path / "qmp.sock"
    where.mkdir()
    (where / "disk.raw").write_bytes(b"a disk")
    command = ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "256", "-nodefaults", "-display", "none"]
    qemu = subprocess.Popen([*command, "-qmp", f"unix:{monitor},server=on,wait=off"], stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + PATIENCE
        while not monitor.exists():
            assert qemu.poll() is None and time.monotonic() < until, "qemu does not start"
            time.sleep(0.01)
        yield hm.instances.register(name="vm", hypervisor="qemu", api_socket=monitor, directory=where)
        # While its VMM is there: what was cancelled is tidied up by then.
        hm.close()
    finally:
        qemu.kill()
        qemu.wait()


@pytest.mark.parametrize("phase", [Phase.SAVING_MEMORY, Phase.COPYING_DISKS])
def test_ctrl_c_in_the_pause_of_a_capture_lets_the_vm_run_again(hm: Hypeman, running: Instance, phase: Phase) -> None:
    # A test run that a shell started in the background ignores SIGINT, and Python with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pressed: list[float] = []

    def press(progress: Progress) -> None:
        if progress.phase is phase and not pressed:
            pressed.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    assert running.state is InstanceState.RUNNING
    with pytest.raises(KeyboardInterrupt):
        hm.instances.snapshots.create(running.id, kind="Standby", progress=press)
    assert time.monotonic() - pressed[0] < 1
    until = time.monotonic() + PATIENCE
    while hm.instances.get(running.id).state is not InstanceState.RUNNING:
        assert time.monotonic() < until, hm.instances.get(running.id)
        time.sleep(0.01)
    assert hm.snapshots.list() == []
    assert hm.instances.snapshots.create(running.id, kind="Standby").kind == "Standby"
