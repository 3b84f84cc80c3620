"""Bears a hostile store through the Python API: `runner.py ENTRIES DATA_DIR INSTANCE_DIR` (see ../corpus/runner.rs)."""

import contextlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from libhypeman import Hypeman, HypemanError


def main(entries: str, data: str, instance: str) -> None:
    os.umask(0)
    memory_file = Path(instance, "snapshots/snapshot-latest/memory")
    with Hypeman(data) as hm:
        print("list", listed(hm))
        Path("/proc/self/clear_refs").write_text("5")
        baseline = status("VmRSS")
        for line in Path(entries).read_text().splitlines():
            label, id = line.split(" ", 1)
            verified = code(lambda: hm.snapshots.verify(id), of_report)
            got = code(lambda: hm.snapshots.get(id))
            inspected = code(lambda: hm.snapshots.inspect(id))
            memory = code(lambda: read_memory(hm, id))
            restored = code(lambda: hm.instances.snapshots.restore(id, id="web"))
            with contextlib.suppress(OSError):
                memory_file.unlink()
            deleted = code(lambda: hm.snapshots.delete(id))
            print(
                f"{label} get={got} inspect={inspected} verify={verified} memory={memory}"
                f" restore={restored} delete={deleted}"
            )
        memory_file.write_text("memory")
        print("create", code(lambda: hm.snapshots.wait(create(hm), timeout=60)))
        print("list", listed(hm))
    print("rss", max(status("VmHWM") - baseline, 0))


def create(hm: Hypeman) -> str:
    compression = {"enabled": True, "algorithm": "zstd"}
    return hm.instances.snapshots.create("web", kind="Standby", compression=compression).id


def code(call: Callable[[], Any], tell: Callable[[Any], str] = lambda _: "ok") -> str:
    try:
        return tell(call())
    except HypemanError as error:
        return error.code


def of_report(report: Any) -> str:
    if report.is_good:
        return "good"
    return "bad" if report.defects else "unchecked"


def listed(hm: Hypeman) -> str:
    return code(hm.snapshots.list, lambda found: str(len(found)))


def read_memory(hm: Hypeman, id: str) -> None:
    with hm.snapshots.memory(id) as image:
        for at in (0, image.size_bytes // 2, max(image.size_bytes - (1 << 20), 0)):
            image.read_at(at, 1 << 20)


def status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


if __name__ == "__main__":
    if sys.argv[1] == "--work":
        import worker

        worker.work(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
