"""Written for the vendor's client. The porting test runs it as it stands against a server, and once more with the
marked lines replaced: what it prints must be the same.
"""

import json
import os
from datetime import datetime, timedelta, timezone
from typing import Callable, Union

from hypeman import APIError, APIStatusError, BadRequestError, ConflictError, Hypeman, HypemanError  # the import
from hypeman import InternalServerError, NotFoundError, PermissionDeniedError  # the import
from hypeman.types import Snapshot  # the types

hm = Hypeman(api_key="key", base_url=os.environ["WHERE"], max_retries=0)  # the constructor


def names(found: "list[Snapshot]") -> "list[str]":
    return sorted(snapshot.name or "" for snapshot in found)


def failure(call: Callable[[], object]) -> Union[str, "dict[str, object]"]:
    try:
        call()
    except APIStatusError as error:
        return {
            "status": error.status_code,
            "message": bool(error.message),
            "BadRequestError": isinstance(error, BadRequestError),
            "PermissionDeniedError": isinstance(error, PermissionDeniedError),
            "NotFoundError": isinstance(error, NotFoundError),
            "ConflictError": isinstance(error, ConflictError),
            "InternalServerError": isinstance(error, InternalServerError),
            "bases": isinstance(error, APIError) and isinstance(error, HypemanError),
        }
    return "no failure"


create = hm.instances.snapshots.create
tags = {"team": "backend", "env": "a/b=c"}
full = create(
    "web-1",
    kind="Standby",
    name="baseline",
    tags=tags,
    compression={"enabled": True, "algorithm": "zstd", "level": 3},
    timeout=60.0,
)
bare = create("web-1", kind="Standby")
tagged = create("web-1", kind="Standby", name="other", tags={"team": "backend"})

done: Snapshot = full
while done.compression_state == "compressing":
    done = hm.snapshots.get(full.id)

source = full.source_instance_id
lists = {
    "all": hm.snapshots.list(),
    "kind": hm.snapshots.list(kind="Standby"),
    "otherKind": hm.snapshots.list(kind="Stopped"),
    "name": hm.snapshots.list(name="other"),
    "instance": hm.snapshots.list(source_instance_id=source),
    "otherInstance": hm.snapshots.list(source_instance_id="nosuchinstance"),
    "tag": hm.snapshots.list(tags={"team": "backend"}),
    "filter": hm.snapshots.list(kind="Standby", name="baseline", source_instance_id=source, tags=tags),
}
failures = {
    "getUnknown": failure(lambda: hm.snapshots.get("nosuchsnapshot")),
    "getByName": failure(lambda: hm.snapshots.get("baseline")),
    "deleteUnknown": failure(lambda: hm.snapshots.delete("nosuchsnapshot")),
    "unknownInstance": failure(lambda: create("nobody", kind="Standby")),
    "sameName": failure(lambda: create("web-1", kind="Standby", name="baseline")),
    "badName": failure(lambda: create("web-1", kind="Standby", name="-Bad-")),
}
restored = hm.instances.snapshots.restore(bare.id, id="web-1", target_state="Standby")
forked = hm.snapshots.fork(bare.id, name="web-2", target_state="Standby")
failures |= {
    "restoreUnknown": failure(lambda: hm.instances.snapshots.restore("nosuchsnapshot", id="web-1", target_state="Standby")),
    "restoreNobody": failure(lambda: hm.instances.snapshots.restore(bare.id, id="nobody", target_state="Standby")),
    "forkUnknown": failure(lambda: hm.snapshots.fork("nosuchsnapshot", name="web-3", target_state="Standby")),
    "forkSameName": failure(lambda: hm.snapshots.fork(bare.id, name="web-2", target_state="Standby")),
}
got = hm.snapshots.get(tagged.id)
hm.snapshots.delete(tagged.id)
age: timedelta = datetime.now(timezone.utc) - full.created_at
compression = full.compression

print(
    json.dumps(
        {
            "baseline": {
                "id": len(full.id),
                "age": age < timedelta(hours=1),
                "kind": full.kind,
                "size_bytes": full.size_bytes > 0,
                "source_hypervisor": full.source_hypervisor,
                "source_instance_name": full.source_instance_name,
                "compression": compression and [compression.enabled, compression.algorithm, compression.level],
                "name": full.name,
                "tags": full.tags,
            },
            "bare": [bare.name, bare.tags, bare.compression],
            "done": {
                "state": done.compression_state,
                "compressed": (done.compressed_size_bytes or 0) > 0,
                "uncompressed": done.uncompressed_size_bytes,
                "error": done.compression_error,
            },
            "dict": sorted(full.to_dict().keys() - {"compression_state"}),
            "lists": {key: names(found) for key, found in lists.items()},
            "restored": [restored.id == source, restored.name, restored.state, restored.hypervisor],
            "forked": [forked.id == source, forked.name, forked.state, forked.hypervisor],
            "got": got.id == tagged.id and got.name,
            "failures": failures,
            "gone": failure(lambda: hm.snapshots.get(tagged.id)),
            "left": names(hm.snapshots.list()),
        }
    )
)
hm.close()
