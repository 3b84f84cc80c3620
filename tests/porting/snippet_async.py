"""Written for the vendor's client for asyncio. The porting test runs it as it stands against a server, and once more with
the marked lines replaced: what it prints must be the same.
"""

import asyncio
import json
import os
from typing import Awaitable

from hypeman import APIStatusError, AsyncHypeman, ConflictError, NotFoundError  # the import
from hypeman.types import Snapshot  # the types


async def failure(call: "Awaitable[object]") -> "list[object]":
    try:
        await call
    except APIStatusError as error:
        return [error.status_code, isinstance(error, NotFoundError), isinstance(error, ConflictError)]
    return []


async def main() -> None:
    async with AsyncHypeman(api_key="key", base_url=os.environ["WHERE"], max_retries=0) as hm:  # the constructor
        made: Snapshot = await hm.instances.snapshots.create(
            "web-1",
            kind="Standby",
            name="baseline",
            tags={"team": "backend"},
            compression={"enabled": True, "algorithm": "lz4"},
            timeout=60.0,
        )
        while (await hm.snapshots.get(made.id)).compression_state == "compressing":
            await asyncio.sleep(0.01)
        bare = await hm.instances.snapshots.create("web-1", kind="Standby")
        both = await asyncio.gather(hm.snapshots.get(made.id), hm.snapshots.get(bare.id))
        restored = await hm.instances.snapshots.restore(bare.id, id="web-1", target_state="Standby")
        forked = await hm.snapshots.fork(bare.id, name="web-2", target_state="Standby")
        failures = [
            await failure(hm.snapshots.get("nosuchsnapshot")),
            await failure(hm.snapshots.delete("nosuchsnapshot")),
            await failure(hm.instances.snapshots.create("web-1", kind="Standby", name="baseline")),
            await failure(hm.instances.snapshots.restore("nosuchsnapshot", id="web-1", target_state="Standby")),
            await failure(hm.snapshots.fork(bare.id, name="web-2", target_state="Standby")),
        ]
        found = await hm.snapshots.list(kind="Standby", name="baseline", tags={"team": "backend"})
        await hm.snapshots.delete(bare.id)
        left = await hm.snapshots.list()
        compression = made.compression
        print(
            json.dumps(
                {
                    "baseline": [made.kind, made.name, made.tags, made.size_bytes > 0],
                    "compression": compression and [compression.enabled, compression.algorithm, compression.level],
                    "both": [snapshot.name for snapshot in both],
                    "restored": [restored.name, restored.state],
                    "forked": [forked.name, forked.state, forked.id == restored.id],
                    "failures": failures,
                    "found": [snapshot.name for snapshot in found],
                    "left": [snapshot.name for snapshot in left],
                }
            )
        )


asyncio.run(main())
