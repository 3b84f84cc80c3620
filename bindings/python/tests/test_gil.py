"""No call holds the GIL while it works: another thread counts on.

Python makes a thread give the GIL up only after the switch interval. With one that is never over, the counter is let in
by nothing but a call that gives it up by itself.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import directory

from libhypeman import Hypeman, HypemanError, Instance


class Counter(threading.Thread):
    """Counts, and gives the GIL up at each number."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self.stopped = False

    def run(self) -> None:
        while not self.stopped:
            self.count += 1
            time.sleep(0)


@pytest.fixture
def counter() -> Iterator[Counter]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    counter = Counter()
    counter.start()
    yield counter
    counter.stopped = True
    sys.setswitchinterval(before)
    counter.join()


def counts_during(counter: Counter, call: Callable[[], object], seconds: float = 30) -> bool:
    """Whether the counter goes on while `call` is made, again and again if need be."""
    before, patience = counter.count, time.monotonic() + seconds
    while counter.count == before and time.monotonic() < patience:
        call()
    return counter.count > before


def refused(call: Callable[[], object]) -> Callable[[], None]:
    def quietly() -> None:
        with pytest.raises(HypemanError):
            call()

    return quietly


def test_a_counting_thread_counts_during_every_call(
    hm: Hypeman, standby: Instance, counter: Counter, tmp_path: Path
) -> None:
    made = hm.instances.snapshots.create(standby.id, kind="Standby")
    snapshots, instances = hm.snapshots, hm.instances
    image = snapshots.memory(made.id)
    elsewhere = directory(tmp_path / "elsewhere")
    calls: dict[str, Callable[[], object]] = {
        "open": lambda: Hypeman(hm.data_dir, read_only=True).close(),
        "instances.register": lambda: instances.register(name="other", hypervisor="qemu", directory=elsewhere),
        "instances.get": lambda: instances.get(standby.id),
        "instances.list": instances.list,
        "instances.unregister": refused(lambda: instances.unregister("missing")),
        "create": lambda: instances.snapshots.create(standby.id, kind="Standby"),
        "restore": lambda: instances.snapshots.restore(made.id, id=standby.id),
        "fork": refused(lambda: snapshots.fork(made.id, name="standby")),
        "list": snapshots.list,
        "get": lambda: snapshots.get(made.id),
        "delete": refused(lambda: snapshots.delete("missing")),
        "wait": lambda: snapshots.wait(made.id, timeout=60),
        "compress": refused(lambda: snapshots.compress("missing")),
        "cancel_compression": lambda: snapshots.cancel_compression(made.id),
        "inspect": lambda: snapshots.inspect(made.id),
        "verify": lambda: snapshots.verify(made.id),
        "memory": lambda: snapshots.memory(made.id).close(),
        "serve_memory": refused(lambda: snapshots.serve_memory(made.id)),
        "read_at": lambda: image.read_at(0, 1 << 20),
        "extents": image.extents,
        "ranges": refused(image.ranges),
        "finish": hm.finish,
    }
    held = [name for name, call in calls.items() if not counts_during(counter, call)]
    assert held == []
    image.close()


def test_the_counter_would_stand_still_during_a_call_that_holds_the_gil(counter: Counter) -> None:
    assert not counts_during(counter, lambda: sum(range(100_000)), seconds=1)
