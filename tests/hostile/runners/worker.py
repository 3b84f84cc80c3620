"""Works at random on a store that others work on, too: `runner.py --work DATA_DIR SEED SECONDS` (see worker.h)."""

import random
import time
from collections.abc import Callable
from typing import Any

from libhypeman import Hypeman, HypemanError

# What others bring about is no failure.
EXPECTED = {"conflict", "not_found", "busy", "invalid_state"}


def work(data: str, seed: str, seconds: str) -> None:
    chance = random.Random(int(seed))
    until = time.monotonic() + float(seconds)
    with Hypeman(data) as hm:
        while time.monotonic() < until:
            found = judged("list", hm.snapshots.list) or []
            what = chance.randrange(8)
            if what < 3 or not found:
                judged("create", lambda: create(hm, chance))
                continue
            id = chance.choice(found).id
            if what < 5:
                print("deleting", id, flush=True)
                judged("delete", lambda: hm.snapshots.delete(id))
            elif what == 5:
                judged("memory", lambda: read(hm, id))
            else:
                judged("get", lambda: hm.snapshots.get(id))


def create(hm: Hypeman, chance: random.Random) -> None:
    algorithm = chance.choice([None, "zstd", "lz4"])
    compression = {"enabled": True, "algorithm": algorithm} if algorithm else None
    name = f"n{chance.randrange(6)}"
    vm = f"vm{chance.randrange(3)}"
    made = hm.instances.snapshots.create(vm, kind="Standby", name=name, compression=compression)
    print("made", made.id, flush=True)


def read(hm: Hypeman, id: str) -> None:
    with hm.snapshots.memory(id) as image:
        if image.read_at(0, 12) != b"guest memory":
            print("BAD torn read", flush=True)


def judged(what: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except HypemanError as error:
        if error.code not in EXPECTED or what == "list":
            print(f"BAD {what}: {error}", flush=True)
        return None
