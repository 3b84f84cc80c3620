"""Plays a conformance case through the Python API: `runner.py CASE.json DATA_DIR WORK_DIR` (see ../README.md)."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from libhypeman import Hypeman, HypemanError


def main(case_path: str, data_dir: str, work_dir: str) -> None:
    text = Path(case_path).read_text(encoding="utf-8")
    case = json.loads(text.replace("${work}", work_dir).replace("${data}", data_dir))
    hm = answer(lambda: Hypeman(data_dir, **case.get("options", {})), quiet=True)
    if hm is None:
        return
    saved: dict[str, Any] = {}
    with hm:
        for step in case.get("steps", []):
            arguments = filled_in(step.get("args", {}), saved)
            result = answer(lambda: play(hm, step["call"], arguments))
            if "save" in step and result is not None:
                saved[step["save"]] = result


def play(hm: Hypeman, call: str, arguments: dict[str, Any]) -> Any:
    method: Any = hm
    for name in call.split("."):
        method = getattr(method, name)
    if "timeout_ms" in arguments:
        arguments["timeout"] = arguments.pop("timeout_ms") / 1000
    # The id of what is called for is the one positional argument; in others `id` is a keyword.
    subject = {"instances.register": None, "instances.snapshots.restore": "snapshot_id"}.get(call, "id")
    positional = [arguments.pop(subject)] if subject in arguments else []
    return plain(method(*positional, **arguments))


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
    if isinstance(result, list):
        return [plain(item) for item in result]
    return None if result is None else result.to_dict()


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
