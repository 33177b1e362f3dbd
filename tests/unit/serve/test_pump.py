"""From a thread to the event loop: nothing lost, in order, and an end to it when nobody listens."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from noria.serve.pump import Pump


def collect(items: object, idle_seconds: float = 5.0, limit: int | None = None) -> list[object]:
    async def main() -> list[object]:
        with ThreadPoolExecutor(1) as executor:
            got: list[object] = []
            async for batch in Pump(lambda _: items, executor).batches(idle_seconds):  # type: ignore[arg-type,return-value]
                got += batch or ["idle"]
                if limit is not None and len(got) >= limit:
                    break
            return got

    return asyncio.run(main())


def test_every_item_arrives_once_in_order() -> None:
    for _ in range(20):
        assert collect(iter(range(2_000))) == list(range(2_000))


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    async def main() -> list[int]:
        got: list[int] = []
        with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="no more"):
            async for batch in Pump(lambda _: failing(), executor).batches(5.0):
                got += batch
        return got

    assert asyncio.run(main()) == [1]


def test_silence_is_told_as_an_empty_batch() -> None:
    go = threading.Event()

    def slow() -> Iterator[str]:
        go.wait(5)
        yield "late"

    async def main() -> list[list[str]]:
        got: list[list[str]] = []
        with ThreadPoolExecutor(1) as executor:
            async for batch in Pump(lambda _: slow(), executor).batches(0.01):
                got.append(batch)
                go.set()
        return got

    got = asyncio.run(main())
    assert got[0] == []
    assert got[-1] == ["late"]


def test_a_consumer_that_leaves_closes_the_iterator_in_its_thread() -> None:
    closed_in: list[str] = []
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed_in.append(threading.current_thread().name)

    async def main() -> None:
        with ThreadPoolExecutor(1, thread_name_prefix="worker") as executor:
            batches = Pump(lambda _: endless(), executor, ended.set).batches(5.0)
            async for _ in batches:
                break
            await batches.aclose()  # type: ignore[attr-defined]
            await asyncio.to_thread(ended.wait, 5)

    asyncio.run(main())
    assert len(closed_in) == 1
    assert closed_in[0].startswith("worker")
    assert ended.is_set()
