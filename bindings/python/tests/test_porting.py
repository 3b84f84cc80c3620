"""Code that was written for the vendor's client does the same here, apart from import and constructor; and what differs
is what ``docs/porting.md`` says.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import missing

import libhypeman
from libhypeman import CallTimeoutError, Hypeman, HypemanError, Instance, NotFoundError

REPOSITORY = Path(__file__).parents[3]
PORTING = REPOSITORY / "tests" / "porting"
SNIPPET = (PORTING / "snippet.py").read_text()
SNIPPETS = ["snippet.py", "snippet_async.py"]


@pytest.fixture
def vendor() -> None:
    """Both are installed with the tools that the tests want."""
    for package in ("hypeman", "mypy"):
        if find_spec(package) is None:
            missing("porting", f"{package} is not installed; pip install ./bindings/python[test]")


@pytest.fixture
def server() -> Iterator[str]:
    """The server that the vendor's client talks to."""
    stub = [sys.executable, str(PORTING / "stub.py")]
    with subprocess.Popen(stub, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def ported(source: str) -> str:
    """The snippet for us: another import, another constructor, and nothing else."""
    changed = re.sub(r"^from hypeman(\.types)? import", "from libhypeman import", source, flags=re.M)
    changed = re.sub(r"\b((?:Async)?Hypeman)\(.*\)", r'\1(os.environ["WHERE"])', changed)
    differing = [new for new, old in zip(changed.splitlines(), source.splitlines(), strict=True) if new != old]
    assert len(differing) == len(re.findall(r"# the (?:import|types|constructor)$", source, flags=re.M)) >= 3
    assert all(re.search(r"# the (import|types|constructor)$", line) for line in differing)
    return changed


def printed(program: Path, where: str) -> Any:
    run = subprocess.run([sys.executable, program], env=os.environ | {"WHERE": where}, stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)


def mypy(program: Path) -> str:
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", program.parent / "cache", program],
        cwd=program.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    return checked.stdout


@pytest.mark.usefixtures("vendor")
@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_program_for_the_vendors_client_passes_mypy_and_does_the_same(
    snippet: str, hm: Hypeman, tmp_path: Path, server: str
) -> None:
    source = (PORTING / snippet).read_text()
    theirs, ours = tmp_path / "theirs.py", tmp_path / "ours.py"
    theirs.write_text(source)
    ours.write_text(ported(source))
    for program in (theirs, ours):
        checked = mypy(program)
        assert checked.startswith("Success"), checked

    image = tmp_path / "vm" / "snapshots" / "snapshot-latest"
    image.mkdir(parents=True)
    (tmp_path / "vm" / "disk.raw").write_bytes(b"disk")
    (image / "memory").write_bytes(bytes(range(256)) * 4096)
    hm.instances.register(name="web-1", hypervisor="qemu", directory=tmp_path / "vm")
    said = printed(ours, str(hm.data_dir))
    assert said == printed(theirs, server)
    # What both say is what the snippets are about.
    if snippet == "snippet.py":
        assert said["lists"]["filter"] == ["baseline"]
        statuses = [failure["status"] for failure in said["failures"].values()]
        assert statuses == [404, 404, 404, 404, 409, 400, 404, 404, 404, 409]
    else:
        assert said["found"] == said["left"] == ["baseline"]
        assert [failure[0] for failure in said["failures"]] == [404, 404, 409, 404, 409]
    assert said["forked"][:2] != said["restored"][:2]


@pytest.mark.usefixtures("vendor")
def test_mypy_sees_a_program_that_does_not_fit(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(ported(SNIPPET).replace("source_instance_name", "source_instance"))
    assert "has no attribute" in mypy(wrong)


def constructor(hm: Hypeman, stopped: Instance) -> None:
    with pytest.raises(TypeError):
        Hypeman(base_url="http://127.0.0.1", api_key="key")  # type: ignore[call-arg]


def virtual_machines(hm: Hypeman, stopped: Instance) -> None:
    assert not any(hasattr(hm.instances, name) for name in ("create", "start", "stop", "standby", "fork"))
    with pytest.raises(NotFoundError):
        hm.instances.snapshots.create("web-1", kind="Stopped")
    hm.instances.snapshots.create(stopped.id, kind="Stopped")


def other_resources(hm: Hypeman, stopped: Instance) -> None:
    assert {name for name in vars(hm) if not name.startswith("_")} == {"instances", "snapshots"}


def target_hypervisor(hm: Hypeman, stopped: Instance) -> None:
    with pytest.raises(TypeError):
        hm.snapshots.fork("x", name="y", target_hypervisor="qemu")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        hm.instances.snapshots.restore("x", id="y", target_hypervisor="qemu")  # type: ignore[call-arg]


def default_target_state(hm: Hypeman, stopped: Instance) -> None:
    image = Path(stopped.directory or "") / "snapshots" / "snapshot-latest"
    image.mkdir(parents=True)
    (image / "memory").write_bytes(b"memory")
    made = hm.instances.snapshots.create(stopped.id, kind="Standby")
    assert hm.instances.snapshots.restore(made.id, id=stopped.id).state == "Standby"


def order_of_lists(hm: Hypeman, stopped: Instance) -> None:
    made = [hm.instances.snapshots.create(stopped.id, kind="Stopped").id for _ in range(3)]
    assert [snapshot.id for snapshot in hm.snapshots.list()] == made[::-1]


def newer_values(hm: Hypeman, stopped: Instance) -> None:
    annotations = libhypeman.Snapshot.__annotations__
    for field in ("kind", "source_hypervisor", "compression_state"):
        assert "str" in annotations[field].split(" | "), field


def request_options(hm: Hypeman, stopped: Instance) -> None:
    for option in ("extra_headers", "extra_query", "extra_body"):
        with pytest.raises(TypeError):
            hm.instances.snapshots.create(stopped.id, kind="Stopped", **{option: {}})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        hm.snapshots.get("x", timeout=1.0)  # type: ignore[call-arg]
    hm.instances.snapshots.create(stopped.id, kind="Stopped", timeout=60.0)


def raw_responses(hm: Hypeman, stopped: Instance) -> None:
    assert not any(hasattr(hm.snapshots, name) for name in ("with_raw_response", "with_streaming_response"))


def too_long(hm: Hypeman, stopped: Instance) -> None:
    with pytest.raises(CallTimeoutError) as caught:
        hm.instances.snapshots.create(stopped.id, kind="Stopped", timeout=0.0)
    assert isinstance(caught.value, libhypeman.InternalServerError) and isinstance(caught.value, TimeoutError)
    assert caught.value.code == "timeout"


def what_errors_have(hm: Hypeman, stopped: Instance) -> None:
    with pytest.raises(NotFoundError) as caught:
        hm.snapshots.get("nosuchsnapshot")
    error: HypemanError = caught.value
    assert (error.code, error.status_code, error.id) == ("not_found", 404, "nosuchsnapshot")
    assert not any(hasattr(error, name) for name in ("request", "response", "body"))


def errors_of_servers(hm: Hypeman, stopped: Instance) -> None:
    for name in ("AuthenticationError", "RateLimitError", "UnprocessableEntityError", "APIConnectionError"):
        assert not hasattr(libhypeman, name), name


def results(hm: Hypeman, stopped: Instance) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    assert not hasattr(made, "model_dump") and not hasattr(made, "to_json")
    assert made.to_dict()["id"] == made.id


def positional_arguments(hm: Hypeman, stopped: Instance) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    with pytest.raises(TypeError):
        hm.snapshots.get(snapshot_id=made.id)  # type: ignore[call-arg]
    assert hm.snapshots.get(made.id) == hm.snapshots.get(id=made.id)


CLAIMS: dict[str, Callable[[Hypeman, Instance], None]] = {
    "The constructor": constructor,
    "Virtual machines": virtual_machines,
    "Other resources": other_resources,
    "`target_hypervisor`": target_hypervisor,
    "Default `target_state`": default_target_state,
    "Order of lists": order_of_lists,
    "Values newer than this version": newer_values,
    "Request options": request_options,
    "Raw responses": raw_responses,
    "A call that takes too long": too_long,
    "What errors have": what_errors_have,
    "Errors that only a server has": errors_of_servers,
    "Results": results,
    "Positional arguments": positional_arguments,
}


def test_the_table_names_each_difference_once_and_each_has_a_proof() -> None:
    table = (REPOSITORY / "docs" / "porting.md").read_text()
    rows = re.findall(r"^\| (?:Python|Both) \| (.*?) \|", table, re.M)
    assert sorted(rows) == sorted(CLAIMS)


@pytest.mark.parametrize("what", CLAIMS)
def test_what_the_table_says_is_so(what: str, hm: Hypeman, stopped: Instance) -> None:
    CLAIMS[what](hm, stopped)
