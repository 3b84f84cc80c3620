"""A small server that speaks the part of the vendor's API which the porting proof asks for. It keeps no files.

Prints the port that it listens on, and serves until its standard input ends.
"""

import itertools
import json
import re
import sys
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

INSTANCE = {"id": "qilviffnqzck2jrim1x6s2b1", "name": "web-1"}
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
DEFAULT_LEVELS = {"zstd": 1, "lz4": 0}

snapshots: dict[str, dict[str, Any]] = {}
instances = [INSTANCE]
numbers = itertools.count(1)


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message


def create(instance: str, body: dict[str, Any]) -> dict[str, Any]:
    if instance not in INSTANCE.values():
        raise Refused(404, "not_found", "instance not found")
    name = body.get("name")
    if name is not None and not NAME.fullmatch(name):
        raise Refused(400, "invalid_request", "invalid snapshot name")
    if name is not None and any(other.get("name") == name for other in snapshots.values()):
        raise Refused(409, "conflict", "snapshot name already exists")
    made: dict[str, Any] = {
        "id": f"{next(numbers):024}",
        "created_at": datetime.now(timezone.utc).isoformat(),
        "kind": body["kind"],
        "size_bytes": 1 << 20,
        "source_hypervisor": "qemu",
        "source_instance_id": INSTANCE["id"],
        "source_instance_name": INSTANCE["name"],
        "compression_state": "none",
    }
    made |= {key: body[key] for key in ("name", "tags") if key in body}
    compression = body.get("compression", {"enabled": False})
    if compression["enabled"]:
        algorithm = compression.get("algorithm", "zstd")
        level = compression.get("level", DEFAULT_LEVELS[algorithm])
        made["compression"] = {"enabled": True, "algorithm": algorithm, "level": level}
        made["compression_state"] = "compressing"
    snapshots[made["id"]] = made
    return made


def matches(snapshot: dict[str, Any], key: str, value: str) -> bool:
    tag = re.fullmatch(r"tags\[(.+)\]", key)
    return (snapshot.get("tags", {}).get(tag[1]) if tag else snapshot.get(key)) == value


def get(id: str) -> dict[str, Any]:
    if id not in snapshots:
        raise Refused(404, "not_found", "snapshot not found")
    found = snapshots[id]
    if found["compression_state"] == "compressing":
        done = {"compression_state": "compressed", "compressed_size_bytes": 4096, "uncompressed_size_bytes": 1 << 20}
        snapshots[id] = found = found | done
    return found


def instance(facts: dict[str, str], asked: dict[str, Any]) -> dict[str, Any]:
    moment = datetime.now(timezone.utc).isoformat()
    return facts | {"created_at": moment, "image": "", "state": asked["target_state"], "hypervisor": "qemu"}


def restore(name: str, snapshot: str, asked: dict[str, Any]) -> dict[str, Any]:
    get(snapshot)
    if name not in INSTANCE.values():
        raise Refused(404, "not_found", "instance not found")
    return instance(INSTANCE, asked)


def fork(snapshot: str, asked: dict[str, Any]) -> dict[str, Any]:
    get(snapshot)
    if any(other["name"] == asked["name"] for other in instances):
        raise Refused(409, "name_conflict", "instance name already exists")
    instances.append({"id": f"{next(numbers):024}", "name": asked["name"]})
    return instance(instances[-1], asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, value: object) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_request(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match self.command, *url.path.strip("/").split("/"):
            case "POST", "instances", instance, "snapshots":
                self.answer(201, create(instance, json.loads(body)))
            case "POST", "instances", instance, "snapshots", id, "restore":
                self.answer(200, restore(instance, id, json.loads(body)))
            case "POST", "snapshots", id, "fork":
                self.answer(201, fork(id, json.loads(body)))
            case "GET", "snapshots":
                asked = parse_qsl(url.query)
                self.answer(200, [s for s in snapshots.values() if all(matches(s, *pair) for pair in asked)])
            case "GET", "snapshots", id:
                self.answer(200, get(id))
            case "DELETE", "snapshots", id:
                get(id)
                del snapshots[id]
                self.answer(204, None)
            case _:
                raise Refused(404, "not_found", f"no such route: {self.command} {url.path}")

    def do_GET(self) -> None:
        try:
            self.handle_request()
        except Refused as refused:
            self.answer(refused.status, {"code": refused.code, "message": refused.message})

    do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
