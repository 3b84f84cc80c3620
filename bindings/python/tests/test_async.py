"""The calls, awaited: the loop goes on, and a task that is cancelled cancels its call."""

import asyncio
import contextvars
import dataclasses
import inspect
import json
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from conftest import MEMORY_BYTES, directory
from test_calls import Vmm

import libhypeman
from libhypeman import (
    AsyncHypeman,
    BusyError,
    CallCancelledError,
    CallTimeoutError,
    CancelToken,
    ClosedError,
    Hypeman,
    Instance,
    NotFoundError,
    Progress,
    Snapshot,
    _offload,
)

PAIRS = [
    (getattr(libhypeman, name.removeprefix("Async")), getattr(libhypeman, name))
    for name in libhypeman.__all__
    if name.startswith("Async")
]


def public(cls: type) -> dict[str, Any]:
    return {name: thing for name, thing in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}


@pytest.mark.parametrize(("blocking", "awaited"), PAIRS, ids=lambda cls: cls.__name__)
def test_every_call_is_there_with_the_arguments_and_the_documentation_of_the_blocking_one(
    blocking: type, awaited: type
) -> None:
    assert set(public(blocking)) <= set(public(awaited))
    for name, call in public(blocking).items():
        twin = public(awaited)[name]
        assert str(inspect.signature(twin, eval_str=False).replace(return_annotation="")) == str(
            inspect.signature(call).replace(return_annotation="")
        )
        assert inspect.getdoc(twin)


def test_a_handle_takes_the_options_of_the_blocking_one() -> None:
    assert inspect.signature(AsyncHypeman).parameters == inspect.signature(Hypeman).parameters


def test_every_blocking_class_with_calls_has_a_twin() -> None:
    with_calls = {"Hypeman", "Instances", "InstanceSnapshots", "Snapshots", "MemoryImage", "Pager"}
    assert {blocking.__name__ for blocking, _ in PAIRS} == with_calls


def test_a_story_of_a_snapshot_and_an_open_handle_that_is_closed_in_the_end(tmp_path: Path) -> None:
    where = directory(tmp_path / "vm")
    image = where / "snapshots" / "snapshot-latest"
    image.mkdir(parents=True)
    (image / "memory").write_bytes(bytes(range(256)) * (MEMORY_BYTES // 256))

    async def story() -> None:
        steps: list[Progress] = []
        async with AsyncHypeman(tmp_path / "data") as hm:
            assert await hm.data_dir() == tmp_path / "data"
            vm = await hm.instances.register(name="vm", hypervisor="qemu", directory=where)
            made = await hm.instances.snapshots.create(
                vm.id, kind="Standby", compression={"enabled": True}, progress=steps.append
            )
            assert steps and steps[-1].bytes_done == steps[-1].bytes_total
            assert await hm.instances.list() == [vm]
            done = await hm.snapshots.wait(made.id, timeout=60)
            assert [one async for one in hm.snapshots.list(kind="Standby")] == await hm.snapshots.list() == [done]
            assert (await hm.snapshots.inspect(made.id)).snapshot == done
            await hm.finish(timeout=60)
            assert (await hm.snapshots.verify(made.id)).is_good
            async with await hm.snapshots.memory(made.id) as memory:
                assert [piece async for piece in memory] == [(image / "memory").read_bytes()]
                assert await memory.read_at(5, 3) == b"\x05\x06\x07"
                assert sum(extent.size_bytes for extent in await memory.extents()) == len(memory) == MEMORY_BYTES
                with pytest.raises(BusyError):
                    await hm.snapshots.delete(made.id)
            await hm.snapshots.delete(made.id)
            with pytest.raises(NotFoundError):
                await hm.snapshots.get(made.id)
        with pytest.raises(ClosedError):
            await hm.snapshots.list()

    asyncio.run(story())


def test_a_large_read_comes_in_pieces_and_is_whole(
    hm: Hypeman, standby: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hm.instances.snapshots.create(standby.id, kind="Standby")
    with hm.snapshots.memory(made.id) as image:
        raw = image[:]
    monkeypatch.setattr(libhypeman.AsyncMemoryImage, "PIECE_BYTES", 300_001)

    async def read() -> None:
        async with AsyncHypeman(hm.data_dir) as other, await other.snapshots.memory(made.id) as memory:
            assert await memory.read_at(7, 1_000_000) == raw[7:1_000_007]
            assert await memory.read_at(7, 2 * MEMORY_BYTES) == raw[7:]
            buffer = bytearray(1_000_000)
            assert await memory.readinto(buffer, 9) == len(buffer)
            assert buffer == raw[9:1_000_009]
            assert b"".join([piece async for piece in memory]) == raw
            with pytest.raises(OverflowError):
                await memory.read_at(-1, 5)

    asyncio.run(read())


Story = Callable[[AsyncHypeman, str, asyncio.Event], Coroutine[Any, Any, None]]


def with_silent_vmm(tmp_path: Path, story: Story) -> None:
    """Runs a story with a VM whose VMM accepts a connection, and says nothing until the story is over."""

    async def run() -> None:
        loop, met = asyncio.get_running_loop(), asyncio.Event()
        where = directory(tmp_path / "vm")

        def is_met() -> None:
            loop.call_soon_threadsafe(met.set)

        async with AsyncHypeman(tmp_path / "data") as hm:
            vm = await hm.instances.register(
                name="vm", hypervisor="qemu", api_socket=tmp_path / "vmm.sock", directory=where
            )
            vmm = Vmm(tmp_path / "vmm.sock", is_met, talks=False)
            vmm.start()
            await story(hm, vm.id, met)
            assert await hm.snapshots.list() == []
        vmm.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_cancelled_task_ends_its_call_and_the_loop_is_free_meanwhile(tmp_path: Path) -> None:
    async def story(hm: AsyncHypeman, vm: str, met: asyncio.Event) -> None:
        token = CancelToken()
        task = asyncio.create_task(hm.instances.snapshots.create(vm, kind="Standby", cancel=token))
        await met.wait()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert token.cancelled
        # It is refused while the VM is captured.
        await hm.instances.unregister(vm)

    with_silent_vmm(tmp_path, story)


def test_a_task_that_is_cancelled_twice_still_waits_for_the_end_of_its_call() -> None:
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(60)
        ended.set()

    async def story() -> None:
        task = asyncio.create_task(_offload.run(work))
        await asyncio.to_thread(begun.wait)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(story())


def test_asyncio_timeouts_and_tokens_and_timeouts_of_the_call_end_it(tmp_path: Path) -> None:
    async def story(hm: AsyncHypeman, vm: str, met: asyncio.Event) -> None:
        with pytest.raises(TimeoutError) as ours:
            async with asyncio.timeout(0.05):
                await hm.instances.snapshots.create(vm, kind="Standby")
        assert not isinstance(ours.value, CallTimeoutError)
        with pytest.raises(CallTimeoutError):
            await hm.instances.snapshots.create(vm, kind="Standby", timeout=0.05)
        token = CancelToken()
        asyncio.get_running_loop().call_later(0.05, token.cancel)
        with pytest.raises(CallCancelledError):
            await hm.instances.snapshots.create(vm, kind="Standby", cancel=token)

    with_silent_vmm(tmp_path, story)


def test_progress_is_told_on_the_loop_in_its_context_and_what_it_raises_ends_the_call(
    hm: Hypeman, stopped: Instance
) -> None:
    who = contextvars.ContextVar("who", default="no one")

    async def story() -> None:
        who.set("the caller")
        heard: list[tuple[str, threading.Thread]] = []
        async with AsyncHypeman(hm.data_dir) as other:
            await other.instances.snapshots.create(
                stopped.id, kind="Stopped", progress=lambda step: heard.append((who.get(), threading.current_thread()))
            )
            assert set(heard) == {("the caller", threading.main_thread())}

            def enough(step: Progress) -> None:
                raise EOFError(step.phase)

            token = CancelToken()
            with pytest.raises(EOFError):
                await other.instances.snapshots.create(stopped.id, kind="Stopped", progress=enough, cancel=token)
            assert token.cancelled

    asyncio.run(story())


def test_a_fork_and_a_pager_are_awaited_and_a_wait_for_the_pager_is_cancelled_with_its_task(tmp_path: Path) -> None:
    where = directory(tmp_path / "vm")
    image = where / "snapshots" / "snapshot-latest"
    image.mkdir(parents=True)
    (image / "memory").write_bytes(bytes(range(256)) * 4096)

    async def story() -> None:
        async with AsyncHypeman(tmp_path / "data") as hm:
            vm = await hm.instances.register(name="vm", hypervisor="firecracker", directory=where)
            made = await hm.instances.snapshots.create(vm.id, kind="Standby")
            forked = await hm.snapshots.fork(made.id, name="fork", directory=tmp_path / "fork")
            assert (tmp_path / "fork" / "overlay.raw").read_bytes() == (where / "overlay.raw").read_bytes()
            assert await hm.instances.get("fork") == dataclasses.replace(forked, generation=None)
            async with await hm.snapshots.serve_memory(made.id, prefetch=False) as pager:
                assert pager.snapshot_id == made.id
                assert pager.socket.is_socket()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await pager.wait()
                assert (await pager.metrics()).vms_seen == 0
            assert not pager.socket.exists()
            with pytest.raises(ClosedError):
                await pager.wait()

    asyncio.run(story())


def test_what_was_opened_for_a_cancelled_task_is_closed(hm: Hypeman, standby: Instance) -> None:
    made = hm.instances.snapshots.create(standby.id, kind="Standby")

    async def story() -> None:
        async with AsyncHypeman(hm.data_dir) as other:
            task = asyncio.create_task(other.snapshots.memory(made.id))
            await asyncio.sleep(0)  # The task has begun, and its thread with it.
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await other.snapshots.delete(made.id)

    asyncio.run(story())


def test_many_calls_wait_at_once_and_hold_no_other_up(hm: Hypeman, standby: Instance) -> None:
    async def story() -> list[Snapshot]:
        async with AsyncHypeman(hm.data_dir) as other, asyncio.TaskGroup() as group:
            made = [
                group.create_task(other.instances.snapshots.create(standby.id, kind="Standby", name=f"n{number}"))
                for number in range(20)
            ]
            lists = [group.create_task(other.snapshots.list()) for _ in range(20)]
            await asyncio.gather(*made, *lists)
            return [task.result() for task in made]

    assert {one.id for one in asyncio.run(story())} == {one.id for one in hm.snapshots.list()}


def test_a_handle_is_opened_by_its_first_call_and_an_error_is_raised_from_there(tmp_path: Path) -> None:
    async def story() -> None:
        missing = AsyncHypeman(tmp_path / "missing", read_only=True)
        with pytest.raises(NotFoundError):
            await missing.snapshots.list()
        with pytest.raises(NotFoundError):
            async with missing:
                pytest.fail("was entered")
        lazy = AsyncHypeman(tmp_path / "data")
        assert not (tmp_path / "data").exists()
        assert await lazy.snapshots.list() == []
        await lazy.close()
        await lazy.close()
        never = AsyncHypeman(tmp_path / "never")
        await never.close()
        with pytest.raises(ClosedError):
            await never.snapshots.list()
        assert not (tmp_path / "never").exists()

    asyncio.run(story())


def test_a_loop_that_is_gone_leaves_no_thread_that_hangs() -> None:
    release = threading.Event()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_offload.run(release.wait))
    loop.run_until_complete(asyncio.sleep(0))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    release.set()
    for thread in threading.enumerate():
        if thread.name == "libhypeman-async":
            thread.join(60)
            assert not thread.is_alive()


def test_json_is_the_same_from_both(hm: Hypeman, stopped: Instance) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped", tags={"a": "b"})

    async def get() -> Snapshot:
        async with AsyncHypeman(hm.data_dir) as other:
            return await other.snapshots.get(made.id)

    assert json.dumps(asyncio.run(get()).to_dict()) == json.dumps(hm.snapshots.get(made.id).to_dict())
