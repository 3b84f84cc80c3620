"""The guest memory of a snapshot at random access."""

from __future__ import annotations

import mmap
import operator
from pathlib import Path
from typing import Self, SupportsIndex, overload

from libhypeman import _html
from libhypeman._errors import ClosedError, HypemanError
from libhypeman._native import Lender, Memory
from libhypeman._types import MemoryExtent, MemoryRange

WritableBytes = bytearray | memoryview | mmap.mmap

# The most that `readinto` has twice in memory.
_PIECE_BYTES = 1 << 20


class MemoryImage(Lender):
    """The guest memory of a snapshot, open for reading at any offset, compressed or not.

    ``image[offset]`` is a byte and ``image[start:end]`` are bytes, as of a ``bytes`` object; offsets are those of the
    raw memory file. Only what is asked for is read and decompressed. Any number of threads may read at once.

    What takes a buffer takes a slice without another copy: ``memoryview(image[:4096])``, ``numpy.frombuffer(...)``, and
    `readinto` fills a buffer of your own. It takes the image itself, too, and then reads all of it into memory first.

    While it is open the snapshot cannot be deleted (`BusyError`): close it, or use it in a ``with`` block. It may
    outlive its `Hypeman`. Once closed, all but `close` raises `ClosedError`.
    """

    __slots__ = ("_native",)

    # Walking over gigabytes byte by byte would look like a hang: `x in image`.
    __iter__ = None
    __contains__ = None

    def __init__(self, native: Memory) -> None:
        self._native = native

    @property
    def snapshot_id(self) -> str:
        """The snapshot that this is the memory of."""
        return self._native.snapshot_id()

    @property
    def path(self) -> Path:
        """The file that is read, raw or compressed."""
        return self._native.path()

    @property
    def size_bytes(self) -> int:
        """The length of the image: of the raw memory file."""
        return self._native.size_bytes()

    def __len__(self) -> int:
        return self.size_bytes

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: SupportsIndex | slice) -> int | bytes:
        if isinstance(key, slice):
            start, end, step = key.indices(self.size_bytes)
            if step != 1:
                raise ValueError("a slice of guest memory has no step")
            return self.read_at(start, max(0, end - start))
        index = operator.index(key)
        size = self.size_bytes
        if not -size <= index < size:
            raise IndexError(f"byte {index} is outside of a memory image of {size} bytes")
        return self.read_at(index % size, 1)[0]

    def read_at(self, offset: int, length: int) -> bytes:
        """Reads ``length`` bytes from ``offset`` on: fewer only where the image ends, none behind it.

        Every frame of a compressed image, and every MiB of a raw one that has checksums, is checked before its
        bytes are used.

        Raises `CorruptError` where what is needed is damaged: the rest can be read all the same. `StorageError`;
        ``OverflowError`` for a negative offset or length.
        """
        return self._native.read_at(offset, length)

    def readinto(self, buffer: WritableBytes, offset: int = 0) -> int:
        """Fills ``buffer`` from ``offset`` on, and returns how much of it: less only where the image ends.

        Any writable buffer of bytes will do; type checkers want those they do not know wrapped in a ``memoryview``.

        Raises as `read_at`, and ``TypeError`` for a buffer that is read-only or not contiguous.
        """
        done = 0
        with memoryview(buffer) as view, view.cast("B") as target:
            while piece := self.read_at(offset + done, min(_PIECE_BYTES, len(target) - done)):
                target[done : done + len(piece)] = piece
                done += len(piece)
        return done

    def extents(self) -> list[MemoryExtent]:
        """Tells what the image consists of, from its start to its end without a gap.

        Raises `CorruptError`, `StorageError`.
        """
        return self._native.extents()

    def ranges(self) -> list[MemoryRange]:
        """Tells which guest-physical addresses lie where in the image, by address.

        Raises `NotSupportedError` where the form of the file does not say it for certain (QEMU's stream, and
        Firecracker's from 3 GiB on), `CorruptError`, `StorageError`.
        """
        return self._native.ranges()

    def __repr__(self) -> str:
        try:
            return f"MemoryImage({self.snapshot_id!r}, size_bytes={self.size_bytes})"
        except ClosedError:
            return "MemoryImage(closed)"

    def _repr_html_(self) -> str | None:
        try:
            return _html.memory_map(self.snapshot_id, [(e.kind, e.offset, e.size_bytes) for e in self.extents()])
        except HypemanError:
            # A notebook shows the plain form where there is nothing to draw: the image is closed, or damaged.
            return None

    def close(self) -> None:
        """Lets the snapshot go. A read on another thread is finished first; closing twice is fine."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
