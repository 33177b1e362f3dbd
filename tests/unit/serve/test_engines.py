"""Releases in memory: loaded once, the oldest closed first, a broken one kept apart."""

import threading
from datetime import UTC, datetime

import pytest

from noria.errors import ArtifactError, ServeError
from noria.schema import Release
from noria.serve.engines import Engines


class Loaded:
    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False

    def close(self) -> None:
        self.closed = True


def release(number: int) -> Release:
    return Release(id=f"rel_{number}", number=number, parent_id=None, state="live", artifacts={}, created_at=datetime.now(UTC))


def test_the_one_unused_longest_is_closed_first() -> None:
    made: dict[int, Loaded] = {}
    engines = Engines(lambda r: made.setdefault(r.number, Loaded(r.number)), max_engines=2)
    for number in (1, 2, 1, 3):
        with engines.lease(release(number)) as loaded:
            assert not loaded.closed
    assert engines.loaded == ("rel_1", "rel_3")
    assert [n for n, loaded in made.items() if loaded.closed] == [2]
    engines.close()
    assert made[1].closed


def test_one_in_use_is_never_closed() -> None:
    engines = Engines(lambda r: Loaded(r.number), max_engines=1)
    with engines.lease(release(1)) as first:
        with engines.lease(release(2)):
            assert not first.closed
        assert not first.closed
        assert engines.loaded == ("rel_1",)
    assert not first.closed


def test_many_threads_load_a_release_once() -> None:
    loads: list[int] = []
    barrier = threading.Barrier(8)

    def load(r: Release) -> Loaded:
        loads.append(r.number)
        return Loaded(r.number)

    engines = Engines(load, max_engines=1)

    def use() -> None:
        barrier.wait()
        with engines.lease(release(1)):
            pass

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]


def test_a_broken_release_says_why_and_is_tried_again_later() -> None:
    tries: list[int] = []

    def load(r: Release) -> Loaded:
        tries.append(r.number)
        if len(tries) == 1:
            raise ArtifactError("'model.gguf' is missing from the artifact.")
        return Loaded(r.number)

    engines = Engines(load, max_engines=1, retry_seconds=0.0)
    with pytest.raises(ServeError, match="r7 cannot be loaded: 'model.gguf' is missing") as caught, engines.lease(release(7)):
        pass
    assert caught.value.status == 503
    assert engines.broken == {"rel_7": "'model.gguf' is missing from the artifact."}
    assert engines.usable(release(7))
    assert engines.broken == {}


def test_a_broken_release_is_not_loaded_at_every_request() -> None:
    tries: list[int] = []

    def load(r: Release) -> Loaded:
        tries.append(r.number)
        raise ArtifactError("gone")

    engines = Engines(load, max_engines=1, retry_seconds=60.0)
    assert not engines.usable(release(1))
    assert not engines.usable(release(1))
    assert tries == [1]
