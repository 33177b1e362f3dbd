"""From a blocking iterator in a thread to the event loop, a batch at a time.

In: a function that makes an iterator (an agent's turn, an engine's stream). Out: lists of its items in order, as many as have come since the
last look, so that a fast engine costs one wake-up for many tokens. Stopping the consumer closes the iterator at its next item, in its own
thread, which is how a client that goes away cancels the generation it asked for.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from typing import Generic, TypeVar

T = TypeVar("T")


class Pump(Generic[T]):
    """Runs `make` in `executor` and hands what it yields to the running event loop."""

    def __init__(self, make: Callable[[Callable[[], bool]], Iterator[T]], executor: Executor, ended: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            make: given a function that tells whether the consumer has stopped, for work that waits before it yields.
            ended: called in the worker's thread when the iterator is exhausted or closed, however that came.
        """
        self._loop = asyncio.get_running_loop()
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._when_ended = ended
        self._cancelled = False
        self._awake = asyncio.Event()
        self._signalled = False
        executor.submit(self._run, make)

    def cancel(self) -> None:
        """Close the iterator when it yields next; nothing more is handed out."""
        self._cancelled = True

    async def batches(self, idle_seconds: float) -> AsyncIterator[list[T]]:
        """Yield what has come, never twice; an empty list after `idle_seconds` without anything. Raises what the iterator raised."""
        try:
            while True:
                self._signalled = False
                ended = self._ended  # read before the items: what came before the end is handed out first
                batch = [self._items.popleft() for _ in range(len(self._items))]
                if batch:
                    yield batch
                    continue
                if ended:
                    if self._error is not None:
                        raise self._error
                    return
                try:
                    async with asyncio.timeout(idle_seconds):
                        await self._awake.wait()
                except TimeoutError:
                    yield []
                self._awake.clear()
        finally:
            self.cancel()

    def _run(self, make: Callable[[Callable[[], bool]], Iterator[T]]) -> None:
        try:
            items = make(lambda: self._cancelled)
            try:
                for item in items:
                    if self._cancelled:
                        break
                    self._items.append(item)
                    self._signal()
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # noqa: BLE001 - raised again in the event loop
            self._error = error
        finally:
            self._when_ended()
            self._ended = True
            self._signalled = False
            self._signal()

    def _signal(self) -> None:
        if not self._signalled:
            self._signalled = True
            try:
                self._loop.call_soon_threadsafe(self._awake.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self._cancelled = True
