"""The releases kept in memory: loaded once, shared by all conversations, the one unused longest closed first.

In: a function that loads a release (its engine, prompts, tools and knowledge). Out: leases on loaded releases. One whose artifacts are
missing or corrupt is remembered as broken, with the reason, and tried again after a while; it never takes another down with it.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from noria.errors import NoriaError, ServeError
from noria.schema import Release

log = logging.getLogger("noria.serve")
RETRY_SECONDS = 30.0


class Closable(Protocol):
    def close(self) -> None: ...


S = TypeVar("S", bound=Closable)


class Engines(Generic[S]):
    """At most `max_engines` loaded releases (more only while each is answering)."""

    def __init__(self, load: Callable[[Release], S], max_engines: int, retry_seconds: float = RETRY_SECONDS) -> None:
        self._load = load
        self._max_engines = max_engines
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        self._loaded: OrderedDict[str, S] = OrderedDict()
        self._leases: dict[str, int] = {}
        self._broken: dict[str, tuple[float, str]] = {}

    @contextmanager
    def lease(self, release: Release) -> Iterator[S]:
        """The loaded release, which stays loaded inside the block. Raises ServeError (503) when it cannot be loaded."""
        serving = self._take(release)
        try:
            yield serving
        finally:
            with self._lock:
                self._leases[release.id] -= 1
            self._evict()

    def usable(self, release: Release) -> bool:
        """Whether the release is loaded or can be: loads it if need be."""
        try:
            with self.lease(release):
                return True
        except ServeError:
            return False

    @property
    def loaded(self) -> tuple[str, ...]:
        """Ids of the releases in memory."""
        with self._lock:
            return tuple(self._loaded)

    @property
    def broken(self) -> dict[str, str]:
        """Why a release cannot be loaded, by id."""
        with self._lock:
            return {release_id: reason for release_id, (_, reason) in self._broken.items()}

    def close(self) -> None:
        with self._lock:
            servings, self._loaded = list(self._loaded.values()), OrderedDict()
        for serving in servings:
            serving.close()

    def _take(self, release: Release) -> S:
        with self._lock:
            loading = self._loading.setdefault(release.id, threading.Lock())
        with loading:
            with self._lock:
                serving = self._loaded.get(release.id)
                failed = self._broken.get(release.id)
            if serving is None:
                if failed is not None and time.monotonic() - failed[0] < self._retry_seconds:
                    raise _unavailable(release, failed[1])
                serving = self._loaded_now(release)
            with self._lock:
                self._loaded[release.id] = serving
                self._loaded.move_to_end(release.id)
                self._leases[release.id] = self._leases.get(release.id, 0) + 1
                self._broken.pop(release.id, None)
            return serving

    def _loaded_now(self, release: Release) -> S:
        started = time.monotonic()
        try:
            serving = self._load(release)
        except (NoriaError, OSError) as error:
            with self._lock:
                self._broken[release.id] = (time.monotonic(), str(error))
            log.warning("release r%d cannot be loaded: %s", release.number, error)
            raise _unavailable(release, str(error)) from error
        log.info("release r%d loaded in %.1f seconds", release.number, time.monotonic() - started)
        return serving

    def _evict(self) -> None:
        """Close what is over the limit and not in use."""
        closing: list[S] = []
        with self._lock:
            for release_id in list(self._loaded):
                if len(self._loaded) <= self._max_engines:
                    break
                if self._leases.get(release_id, 0) == 0:
                    closing.append(self._loaded.pop(release_id))
        for serving in closing:
            serving.close()


def _unavailable(release: Release, reason: str) -> ServeError:
    return ServeError(f"Release r{release.number} cannot be loaded: {reason}", 503, "release_unavailable", "model")
