"""How calls run: without the GIL, watched, interrupted, and across a fork.

The VMM of these tests is a thread of the test itself, so a call that kept the GIL could never be answered.
"""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libhypeman import (
    CallCancelledError,
    CallTimeoutError,
    CancelToken,
    ClosedError,
    Hypeman,
    Instance,
    InstanceState,
    Progress,
)

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}
RUNNING = {"status": "running", "running": True, "singlestep": False}


class Vmm(threading.Thread):
    """A QMP server that calls `met` when someone connects, and then speaks only if `talks`."""

    def __init__(self, path: Path, met: Callable[[], None], talks: bool) -> None:
        super().__init__(daemon=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._met = met
        self._talks = talks

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._met()
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        def say(message: object) -> None:
            connection.sendall(json.dumps(message).encode() + b"\r\n")

        try:
            if self._talks:
                say(GREETING)
            for line in connection.makefile("rb"):
                request = json.loads(line)
                answers = {"qmp_capabilities": {}, "query-status": RUNNING}
                answer = answers.get(request["execute"])
                outcome = {"error": {"class": "GenericError", "desc": "no"}} if answer is None else {"return": answer}
                say(outcome | ({"id": request["id"]} if "id" in request else {}))
        except OSError:
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join()


@pytest.fixture
def vmm(hm: Hypeman, tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Registers a VM behind a VMM of the test."""
    started: list[Vmm] = []

    def start(met: Callable[[], None] = lambda: None, talks: bool = True) -> Instance:
        api_socket, where = tmp_path / "vmm.sock", tmp_path / "vm"
        where.mkdir()
        started.append(Vmm(api_socket, met, talks))
        started[0].start()
        return hm.instances.register(name="vm", hypervisor="qemu", api_socket=api_socket, directory=where)

    yield start
    hm.close()
    for one in started:
        one.close()


def test_other_threads_run_while_a_call_waits(hm: Hypeman, vmm: Callable[..., Instance]) -> None:
    assert vmm().state is InstanceState.RUNNING
    assert [instance.state for instance in hm.instances.list()] == [InstanceState.RUNNING]


def test_ctrl_c_ends_a_call_that_waits_for_a_vmm_within_a_second(hm: Hypeman, vmm: Callable[..., Instance]) -> None:
    # A test run that a shell started in the background ignores SIGINT, and Python with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    armed = threading.Event()
    pressed: list[float] = []

    def interrupt() -> None:
        if armed.is_set():
            pressed.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    vm = vmm(interrupt, talks=False)
    armed.set()
    with pytest.raises(KeyboardInterrupt):
        hm.instances.snapshots.create(vm.id, kind="Standby")
    # It takes a twentieth of that; a VMM that is silent would be given up on later.
    assert time.monotonic() - pressed[0] < 1
    armed.clear()
    assert hm.snapshots.list() == []


@pytest.mark.parametrize("call", ["get", "list", "open"])
def test_ctrl_c_is_answered_within_a_second_while_a_silent_vmm_is_asked_what_it_does(
    hm: Hypeman, vmm: Callable[..., Instance], tmp_path: Path, call: str
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    armed = threading.Event()
    pressed: list[float] = []

    def interrupt() -> None:
        if armed.is_set():
            armed.clear()
            pressed.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    vm = vmm(interrupt, talks=False)
    if call == "open":
        left_paused(hm, vm)
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: hm.instances.get(vm.id),
        "list": hm.instances.list,
        "open": lambda: Hypeman(hm.data_dir),
    }
    armed.set()
    with pytest.raises(KeyboardInterrupt):
        calls[call]()
    assert time.monotonic() - pressed[0] < 1


def left_paused(hm: Hypeman, vm: Instance) -> None:
    """The note of a program that died in a capture of ``vm``, whose VMM is this process."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    note = {
        "snapshot_id": "aaaaaaaaaaaaaaaaaaaaaaaa",
        "instance_id": vm.id,
        "hypervisor": "qemu",
        "api_socket": str(vm.api_socket),
        "was_running": True,
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "peer": {"pid": os.getpid(), "uid": os.getuid(), "start_ticks": ticks},
    }
    intents = hm.data_dir / "snapshots" / ".libhypeman" / "intents"
    (intents / "aaaaaaaaaaaaaaaaaaaaaaaa.json").write_text(json.dumps(note))


def test_a_token_ends_a_call_from_another_thread(hm: Hypeman, vmm: Callable[..., Instance]) -> None:
    token, armed = CancelToken(), threading.Event()
    vm = vmm(lambda: token.cancel() if armed.is_set() else None, talks=False)
    armed.set()
    assert not token.cancelled
    with pytest.raises(CallCancelledError):
        hm.instances.snapshots.create(vm.id, kind="Standby", cancel=token)
    assert token.cancelled


def test_a_token_that_is_cancelled_and_a_timeout_that_is_over_end_the_call_before_it_begins(
    hm: Hypeman, stopped: Instance
) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CallCancelledError):
        hm.instances.snapshots.create(stopped.id, kind="Stopped", cancel=token)
    with pytest.raises(TimeoutError) as caught:
        hm.instances.snapshots.create(stopped.id, kind="Stopped", timeout=0)
    assert isinstance(caught.value, CallTimeoutError)
    assert hm.snapshots.list() == []
    assert hm.instances.snapshots.create(stopped.id, kind="Stopped", timeout=float("inf"))


def test_what_a_progress_callback_raises_ends_the_call(hm: Hypeman, stopped: Instance) -> None:
    def enough(step: Progress) -> None:
        raise EOFError(step.phase)

    token = CancelToken()
    with pytest.raises(EOFError):
        hm.instances.snapshots.create(stopped.id, kind="Stopped", progress=enough, cancel=token)
    assert token.cancelled


def test_threads_share_a_handle(hm: Hypeman, stopped: Instance) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
            assert hm.snapshots.get(made.id) == made
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(hm.snapshots.list()) == 6


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_answered_and_the_parent_goes_on(hm: Hypeman, stopped: Instance) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # A child that hangs is ended by its clock, and fails the test so.
        try:
            answered = [snapshot.id for snapshot in hm.snapshots.list()] == [made.id]
        except ClosedError:
            answered = True
        except BaseException:
            answered = False
        os._exit(0 if answered else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert hm.snapshots.get(made.id) == made
    hm.instances.snapshots.create(stopped.id, kind="Stopped")
