"""Plays a conformance case through the Python API: `runner.py CASE.json DATA_DIR WORK_DIR` (see ../README.md)."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from libhypeman import Hypeman, HypemanError, MemoryImage, Pager


def main(case_path: str, data_dir: str, work_dir: str) -> None:
    text = Path(case_path).read_text(encoding="utf-8")
    case = json.loads(text.replace("${work}", work_dir).replace("${data}", data_dir))
    hm = answer(lambda: Hypeman(data_dir, **case.get("options", {})), quiet=True)
    if hm is None:
        return
    saved: dict[str, Any] = {}
    opened: dict[str, MemoryImage | Pager] = {}
    with hm:
        for step in case.get("steps", []):
            arguments = filled_in(step.get("args", {}), saved)

            def call(step: Any = step, arguments: Any = arguments) -> Any:
                result = play(opened, hm, step["call"], arguments)
                if isinstance(result, MemoryImage | Pager):
                    opened[step["save"]] = result
                return plain(result)

            result = answer(call)
            if "save" in step and result is not None:
                saved[step["save"]] = result


def play(opened: dict[str, Any], hm: Hypeman, call: str, arguments: dict[str, Any]) -> Any:
    method: Any = hm
    if "of" in arguments:
        method, call = opened[arguments.pop("of")], call.partition(".")[2]
    for name in call.split("."):
        method = getattr(method, name)
    if "timeout_ms" in arguments:
        arguments["timeout"] = arguments.pop("timeout_ms") / 1000
    # The id of what is called for is the one positional argument; in others `id` is a keyword.
    subject = {"instances.register": None, "instances.snapshots.restore": "snapshot_id"}.get(call, "id")
    positional = [arguments.pop(subject)] if subject in arguments else []
    return method(*positional, **arguments)


def answer(call: Callable[[], Any], quiet: bool = False) -> Any:
    """Makes `call` and prints the line that tells how it went, but for success where `quiet`."""
    try:
        result = call()
    except HypemanError as error:
        facts = {"code": error.code, "message": error.message, "id": error.id, "path": error.path}
        print(json.dumps({"error": {key: str(fact) for key, fact in facts.items() if fact is not None}}))
        return None
    if not quiet:
        print(json.dumps({"ok": result}))
    return result


def plain(result: Any) -> Any:
    match result:
        case None:
            return None
        case list():
            return [plain(item) for item in result]
        case bytes():
            return result.hex()
        case MemoryImage():
            return {"snapshot_id": result.snapshot_id, "path": str(result.path), "size_bytes": result.size_bytes}
        case Pager():
            return {"snapshot_id": result.snapshot_id, "socket": str(result.socket)}
        case _:
            return result.to_dict()


def filled_in(value: Any, saved: dict[str, Any]) -> Any:
    """Puts fields of saved results in the place of `${name.field}`."""
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\.(\w+)\}", lambda found: str(saved[found[1]][found[2]]), value)
    if isinstance(value, list):
        return [filled_in(item, saved) for item in value]
    if isinstance(value, dict):
        return {key: filled_in(item, saved) for key, item in value.items()}
    return value


if __name__ == "__main__":
    main(*sys.argv[1:])
