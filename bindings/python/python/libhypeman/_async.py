"""The handle and its resource tree for asyncio: the calls of `Hypeman`, awaited.

Signatures and documentation are those of the blocking calls: they are made from them.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

from libhypeman._client import Hypeman
from libhypeman._errors import ClosedError
from libhypeman._instances import Instances, InstanceSnapshots
from libhypeman._memory import MemoryImage, WritableBytes
from libhypeman._offload import cancellable, later, listed, off_loop, opened, run
from libhypeman._pager import Pager
from libhypeman._snapshots import Snapshots


class _Opener:
    """Opens the data directory on the thread of whichever call comes first."""

    def __init__(self, open: Callable[[], Hypeman]) -> None:
        self._open = open
        self._lock = threading.Lock()
        self._opened: Hypeman | None = None
        self._closed = False

    def get(self) -> Hypeman:
        with self._lock:
            if self._opened is None:
                if self._closed:
                    raise ClosedError("this handle was closed before it was used; open the data directory again")
                self._opened = self._open()
            return self._opened

    def close(self) -> None:
        with self._lock:
            self._closed = True
            opened = self._opened
        if opened is not None:
            opened.close()


class AsyncHypeman:
    """`Hypeman` for asyncio: the same arguments, the same tree of calls, each of them awaited.

    ``async with`` opens the data directory; without that, the first call does. Nothing blocks the event loop.

    >>> async with AsyncHypeman("/var/lib/hypeman") as hm:  # doctest: +SKIP
    ...     async with asyncio.timeout(30):
    ...         snapshot = await hm.instances.snapshots.create("nginx1", kind="Standby")
    ...     async for one in hm.snapshots.list(kind="Standby"):
    ...         print(one.id)

    A task that is cancelled cancels its call (the given ``cancel`` token, if there is one) and goes on when that has
    ended. ``progress`` is called on the event loop; what it raises ends the call.

    Raises as `Hypeman`, where it is opened.
    """

    instances: AsyncInstances
    snapshots: AsyncSnapshots

    @later(Hypeman)
    def __init__(self, open: Callable[[], Hypeman]) -> None:
        self._opener = _Opener(open)
        self.instances = AsyncInstances(self._opener)
        self.snapshots = AsyncSnapshots(self._opener)

    def _blocking(self) -> Hypeman:
        return self._opener.get()

    async def data_dir(self) -> Path:
        """Returns the data directory, as an absolute path."""
        return await run(lambda: self._blocking().data_dir)

    finish = cancellable(Hypeman.finish)

    async def close(self) -> None:
        """Closes the handle: later calls raise `ClosedError`. Closing twice is fine.

        Compression jobs stop; the next one to open the data directory resumes them.
        """
        await run(self._opener.close)

    async def __aenter__(self) -> Self:
        await run(self._blocking, undo=Hypeman.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncInstances:
    """`Instances`, awaited."""

    snapshots: AsyncInstanceSnapshots

    def __init__(self, opener: _Opener) -> None:
        self._opener = opener
        self.snapshots = AsyncInstanceSnapshots(opener)

    def _blocking(self) -> Instances:
        return self._opener.get().instances

    register = off_loop(Instances.register)
    get = off_loop(Instances.get)
    list = listed(Instances.list)
    unregister = off_loop(Instances.unregister)


class AsyncInstanceSnapshots:
    """`InstanceSnapshots`, awaited."""

    def __init__(self, opener: _Opener) -> None:
        self._opener = opener

    def _blocking(self) -> InstanceSnapshots:
        return self._opener.get().instances.snapshots

    create = cancellable(InstanceSnapshots.create)
    restore = cancellable(InstanceSnapshots.restore)


class AsyncMemoryImage:
    """`MemoryImage` for asyncio: the guest memory of a snapshot, open for reading at any offset.

    ``async for`` goes over its bytes in pieces of `PIECE_BYTES`, from the start to the end.
    """

    __slots__ = ("_image", "snapshot_id", "path", "size_bytes")

    PIECE_BYTES = 4 << 20
    """The length of each piece but the last."""

    snapshot_id: str
    """The snapshot that this is the memory of."""
    path: Path
    """The file that is read, raw or compressed."""
    size_bytes: int
    """The length of the image: of the raw memory file."""

    def __init__(self, image: MemoryImage) -> None:
        self._image = image
        self.snapshot_id = image.snapshot_id
        self.path = image.path
        self.size_bytes = image.size_bytes

    def _blocking(self) -> MemoryImage:
        return self._image

    def __len__(self) -> int:
        return self.size_bytes

    _read = off_loop(MemoryImage.read_at)

    async def read_at(self, offset: int, length: int) -> bytes:
        """Reads ``length`` bytes from ``offset`` on, as `MemoryImage.read_at` does, and raises as that."""
        # In pieces, so that a task that is cancelled in a large read is not held up.
        read = await self._read(offset, min(length, self.PIECE_BYTES))
        if len(read) == length:
            return read
        pieces, done = [read], len(read)
        while piece := await self._read(offset + done, min(length - done, self.PIECE_BYTES)):
            pieces.append(piece)
            done += len(piece)
        return b"".join(pieces)

    async def readinto(self, buffer: WritableBytes, offset: int = 0) -> int:
        """Fills ``buffer`` from ``offset`` on, and returns how much of it, as `MemoryImage.readinto` does."""
        done = 0
        with memoryview(buffer) as view, view.cast("B") as target:
            while piece := await self._read(offset + done, min(self.PIECE_BYTES, len(target) - done)):
                target[done : done + len(piece)] = piece
                done += len(piece)
        return done

    extents = off_loop(MemoryImage.extents)
    ranges = off_loop(MemoryImage.ranges)
    close = off_loop(MemoryImage.close)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for offset in range(0, self.size_bytes, self.PIECE_BYTES):
            yield await self.read_at(offset, self.PIECE_BYTES)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncPager:
    """`Pager` for asyncio: guest memory that is served page by page to VMs that run already."""

    __slots__ = ("_pager", "snapshot_id", "socket")

    snapshot_id: str
    """The snapshot whose memory is served."""
    socket: Path
    """Where VMs connect. Only this user may, unless the host changes owner or mode of the file."""

    def __init__(self, pager: Pager) -> None:
        self._pager = pager
        self.snapshot_id = pager.snapshot_id
        self.socket = pager.socket

    def _blocking(self) -> Pager:
        return self._pager

    metrics = off_loop(Pager.metrics)
    wait = cancellable(Pager.wait)
    stop = off_loop(Pager.stop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


class AsyncSnapshots:
    """`Snapshots`, awaited. `memory` and `serve_memory` give an `AsyncMemoryImage` and an `AsyncPager`."""

    def __init__(self, opener: _Opener) -> None:
        self._opener = opener

    def _blocking(self) -> Snapshots:
        return self._opener.get().snapshots

    list = listed(Snapshots.list)
    get = off_loop(Snapshots.get)
    delete = off_loop(Snapshots.delete)
    wait = cancellable(Snapshots.wait)
    compress = off_loop(Snapshots.compress)
    cancel_compression = off_loop(Snapshots.cancel_compression)
    fork = cancellable(Snapshots.fork)
    inspect = off_loop(Snapshots.inspect)
    verify = cancellable(Snapshots.verify)

    memory = opened(Snapshots.memory, AsyncMemoryImage, MemoryImage.close)
    serve_memory = opened(Snapshots.serve_memory, AsyncPager, Pager.stop)
