"""Calls that block, awaited: each runs on a thread of its own, and a task that is cancelled cancels its call.

A pool would hold what waits for minutes before what takes a moment, and its threads would be missing in a process that
was forked off.
"""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from libhypeman._native import CancelToken

T = TypeVar("T")
R = TypeVar("R")
S_co = TypeVar("S_co", covariant=True)
S = TypeVar("S")
P = ParamSpec("P")


class Awaited(Protocol[S_co]):
    """An object that has a blocking twin. Getting that may block, too."""

    def _blocking(self) -> S_co: ...


def later(
    make: Callable[P, T],
) -> Callable[[Callable[[S, Callable[[], T]], None]], Callable[Concatenate[S, P], None]]:
    """A constructor with the arguments of ``make``, which is given what makes it, for when it is wanted."""
    signature = inspect.signature(make)

    def taking(construct: Callable[[S, Callable[[], T]], None]) -> Callable[Concatenate[S, P], None]:
        def constructor(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
            # What does not fit is told now, not by the first call.
            signature.bind(*args, **kwargs)
            construct(self, lambda: make(*args, **kwargs))

        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        parameters = [itself, *signature.parameters.values()]
        taken = signature.replace(parameters=parameters, return_annotation=None)
        constructor.__signature__ = taken  # type: ignore[attr-defined]
        return constructor

    return taking


def off_loop(call: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[Awaited[S], P], Coroutine[Any, Any, T]]:
    """The same call, awaited."""

    @functools.wraps(call)
    async def awaited(self: Awaited[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await run(lambda: call(self._blocking(), *args, **kwargs))

    return awaited


def opened(
    call: Callable[Concatenate[S, P], T], wrap: Callable[[T], R], close: Callable[[T], object]
) -> Callable[Concatenate[Awaited[S], P], Coroutine[Any, Any, R]]:
    """The same call, awaited, and what it opens wrapped; closed where no one takes it, since the task was cancelled."""

    @functools.wraps(call)
    async def awaited(self: Awaited[S], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return wrap(await run(lambda: call(self._blocking(), *args, **kwargs), undo=close))

    signature = inspect.signature(call).replace(return_annotation=getattr(wrap, "__name__"))
    awaited.__signature__ = signature  # type: ignore[attr-defined]
    return awaited


def cancellable(
    call: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[Awaited[S], P], Coroutine[Any, Any, T]]:
    """The same call with a ``cancel`` and maybe a ``progress``, awaited. Progress is told on the loop."""

    @functools.wraps(call)
    async def awaited(self: Awaited[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        given = kwargs.get("cancel")
        token = given if isinstance(given, CancelToken) else CancelToken()
        if given is None:
            kwargs["cancel"] = token
        listener = Listener(kwargs.get("progress"), token)
        if listener.tell is not None:
            kwargs["progress"] = listener.hear
        try:
            result = await run(lambda: call(self._blocking(), *args, **kwargs), token)
        except Exception:
            if listener.raised is None:
                raise
        if listener.raised is not None:
            raise listener.raised
        return result

    return awaited


def listed(
    call: Callable[Concatenate[S, P], builtins.list[T]],
) -> Callable[Concatenate[Awaited[S], P], Listing[T]]:
    """The same call, awaited or iterated over."""

    @functools.wraps(call)
    def listing(self: Awaited[S], /, *args: P.args, **kwargs: P.kwargs) -> Listing[T]:
        return Listing(run(lambda: call(self._blocking(), *args, **kwargs)))

    return listing


class Listing(Coroutine[Any, Any, list[T]], Generic[T]):
    """A list to come: ``await`` it, or go over it with ``async for``."""

    __slots__ = ("_list",)

    def __init__(self, list: Coroutine[Any, Any, list[T]]) -> None:
        self._list = list

    def __await__(self) -> Generator[Any, Any, list[T]]:
        return self._list.__await__()

    async def __aiter__(self) -> AsyncIterator[T]:
        for item in await self._list:
            yield item

    def send(self, value: Any) -> Any:
        return self._list.send(value)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        error: BaseException | object = None,
        trace: TracebackType | None = None,
    ) -> Any:
        return self._list.throw(error if isinstance(error, BaseException) else kind)

    def close(self) -> None:
        self._list.close()


class Listener:
    """Passes progress from the thread of a call to its loop. What the callback raises there ends the call."""

    def __init__(self, tell: Any, token: CancelToken) -> None:
        if tell is not None and not callable(tell):
            raise TypeError(f"progress must be callable, got {tell!r}")
        self.tell = tell
        self.raised: BaseException | None = None
        self._token = token
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()

    def hear(self, step: object) -> None:
        self._loop.call_soon_threadsafe(self._pass_on, step, context=self._context)

    def _pass_on(self, step: object) -> None:
        if self.raised is None:
            try:
                self.tell(step)
            except BaseException as error:
                self.raised = error
                self._token.cancel()


async def run(
    work: Callable[[], T], token: CancelToken | None = None, undo: Callable[[T], object] = lambda _: None
) -> T:
    """Runs `work` on a thread, and returns when it has ended, also where the task is cancelled before.

    `undo` is for a result that no one takes then.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Callable[[], T]] = loop.create_future()

    def on_thread() -> None:
        outcome = attempt(work)
        try:
            loop.call_soon_threadsafe(ended.set_result, outcome)
        except RuntimeError:
            pass  # The loop was closed over its tasks: no one is left to be told.

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(on_thread,), name="libhypeman-async").start()
    cancelled: asyncio.CancelledError | None = None
    while not ended.done():
        try:
            await asyncio.wait([ended])
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
            if token is not None:
                token.cancel()
        except GeneratorExit:
            if token is not None:
                token.cancel()
            raise
    if cancelled is None:
        return ended.result()()
    try:
        undone = ended.result()()
    except Exception:
        # How a call ended that no one waits for any more, its cancelled task cannot tell.
        raise cancelled from None
    await run(lambda: undo(undone))
    raise cancelled


def attempt(work: Callable[[], T]) -> Callable[[], T]:
    """Does `work` now, and returns what gives its result, or raises its exception."""
    try:
        result = work()
    except BaseException as error:
        failure = error

        def fail() -> T:
            raise failure

        return fail
    return lambda: result
