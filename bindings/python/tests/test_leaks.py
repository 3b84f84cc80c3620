"""What is closed leaves nothing behind: no descriptor, no thread, no memory. Collected where the host forgot to close."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import MEMORY_BYTES, directory

MEBIBYTE = 1 << 20

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")

# Makes a round often, and tells what was there after a first part of them and at the end.
HARNESS = """
import asyncio, gc, json, os, sys, time
from libhypeman import AsyncHypeman, CallCancelledError, CancelToken, Hypeman, HypemanError, NotFoundError

data_dir, vm, warm, more = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def count():
    for _ in range(5):
        gc.collect()
        time.sleep(0.02)
    resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), resident

SETUP

def round():
    ROUND

for _ in range(warm):
    round()
before = count()
for _ in range(more):
    round()
print(json.dumps([before, count()]))
sys.stdout.flush()
os._exit(0)
"""

SNAPSHOT = """
hm = Hypeman(data_dir)
source = hm.instances.register(name="standby", hypervisor="firecracker", directory=vm)
made = hm.instances.snapshots.create(source.id, kind="Standby", name="kept", compression={"enabled": True})
hm.snapshots.wait(made.id, timeout=60)
hm.finish(timeout=60)
"""


class Count(NamedTuple):
    descriptors: int
    threads: int
    bytes: int


def measured(tmp_path: Path, round: str, setup: str = "", warm: int = 50, more: int = 200) -> tuple[Count, Count]:
    where = directory(tmp_path / "vm")
    image = where / "snapshots" / "snapshot-latest"
    image.mkdir(parents=True)
    (image / "memory").write_bytes(bytes(range(256)) * (MEMORY_BYTES // 256))
    script = HARNESS.replace("SETUP", setup).replace("ROUND", round.strip().replace("\n", "\n    "))
    arguments = [tmp_path / "data", where, str(warm), str(more)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    return Count(*before), Count(*after)


def assert_level(before: Count, after: Count) -> None:
    assert after.descriptors <= before.descriptors and after.threads <= before.threads, (before, after)
    assert after.bytes - before.bytes < 16 * MEBIBYTE, (before, after)


def test_handles_that_are_opened_and_closed_leave_nothing(tmp_path: Path) -> None:
    round = """
with Hypeman(data_dir) as hm:
    hm.snapshots.list()
    try:
        hm.snapshots.get("nosuchsnapshot")
    except NotFoundError:
        pass
"""
    assert_level(*measured(tmp_path, round))


def test_handles_that_no_one_closed_are_closed_when_they_are_collected(tmp_path: Path) -> None:
    assert_level(*measured(tmp_path, "Hypeman(data_dir).snapshots.list()"))


def test_calls_results_errors_and_open_memory_leave_nothing(tmp_path: Path) -> None:
    round = """
hm.snapshots.list(tags={"a": "b"}), hm.snapshots.get(made.id), hm.snapshots.inspect(made.id), hm.instances.list()
hm.snapshots.verify(made.id, progress=lambda step: None)
image = hm.snapshots.memory(made.id)
assert len(image[4096:1 << 20]) == (1 << 20) - 4096 and image.extents()
hm.instances.snapshots.create(source.id, kind="Standby")
for old in hm.snapshots.list(name=""):
    hm.snapshots.delete(old.id)
token = CancelToken()
token.cancel()
try:
    hm.instances.snapshots.create(source.id, kind="Standby", cancel=token, progress=lambda step: None)
except CallCancelledError as error:
    str(error)
del image
"""
    assert_level(*measured(tmp_path, round, SNAPSHOT, 20, 60))


def test_pagers_that_are_stopped_or_forgotten_leave_nothing(tmp_path: Path) -> None:
    round = """
with hm.snapshots.serve_memory(made.id) as pager:
    pager.metrics()
hm.snapshots.serve_memory(made.id)
"""
    assert_level(*measured(tmp_path, round, SNAPSHOT, 20, 60))


def test_tasks_that_are_cancelled_in_the_middle_of_a_call_leave_nothing(tmp_path: Path) -> None:
    round = """
async def main():
    async with AsyncHypeman(data_dir) as here:
        call = asyncio.ensure_future(here.instances.snapshots.create("standby", kind="Standby"))
        await asyncio.sleep(0.001)
        call.cancel()
        await asyncio.wait([call])
        for old in await here.snapshots.list(name=""):
            await here.snapshots.delete(old.id)
asyncio.run(main())
"""
    assert_level(*measured(tmp_path, round, SNAPSHOT, 20, 60))


def test_the_counts_see_what_is_kept(tmp_path: Path) -> None:
    before, after = measured(tmp_path, "kept.append(Hypeman(data_dir)); kept.append(bytearray(1 << 18))", "kept = []")
    assert after.descriptors > before.descriptors
    assert after.bytes - before.bytes > 16 * MEBIBYTE
