"""One answer at a time in a conversation, over all servers of a project on this file system.

In: a file to lock. Out: `alone`. Threads of this process are told apart by a set, processes by a lock on one byte of the file that the
conversation's id picks; the system releases it when its holder dies (fcntl(2), POSIX record locks).
"""

import fcntl
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from noria.errors import ServeError

CLIENT_GONE = 499
"""The status, which nobody reads, of a request whose client went away (nginx's)."""
_LOOK_AGAIN_SECONDS = 0.02


class Busy:
    """Which conversations are being answered."""

    def __init__(self, path: Path) -> None:
        self._mine: set[int] = set()
        self._waiting: defaultdict[int, deque[object]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # closing any other handle of it would drop the locks

    def close(self) -> None:
        os.close(self._file)

    @contextmanager
    def alone(self, conversation_id: str, patience_seconds: float = 0.0, given_up: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Hold a conversation; who waits for it in this process gets it in the order of coming.

        Args:
            given_up: whether nobody wants the answer any more; asked while waiting.

        Raises:
            ServeError: another thread or process still holds it after `patience_seconds` (409), or it was given up (499).
        """
        place = int.from_bytes(sha256(conversation_id.encode()).digest()[:7], "big") >> 1
        self._take(place, conversation_id, time.monotonic() + patience_seconds, given_up)
        try:
            yield
        finally:
            with self._lock:
                self._mine.discard(place)
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _take(self, place: int, conversation_id: str, end: float, given_up: Callable[[], bool]) -> None:
        ticket = object()
        with self._lock:
            self._waiting[place].append(ticket)
        try:
            while not self._taken(place, ticket):
                if given_up():
                    raise ServeError("The client went away before its turn.", CLIENT_GONE, "client_gone")
                if time.monotonic() >= end:
                    message = f"Conversation {conversation_id!r:.80} is being answered. Wait for that answer, or stop it."
                    raise ServeError(message, 409, "conversation_busy")
                time.sleep(_LOOK_AGAIN_SECONDS)
        finally:
            with self._lock:
                self._waiting[place].remove(ticket)
                if not self._waiting[place]:
                    del self._waiting[place]

    def _taken(self, place: int, ticket: object) -> bool:
        with self._lock:
            if place in self._mine or self._waiting[place][0] is not ticket:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):  # POSIX allows either
                return False
            self._mine.add(place)
            return True
