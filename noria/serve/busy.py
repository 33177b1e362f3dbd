"""One answer at a time in a conversation, over all servers of a project on this file system.

In: a file to lock. Out: `alone`. Threads of this process are told apart by a set, processes by a lock on one byte of the file that the
conversation's id picks; the system releases it when its holder dies (fcntl(2), POSIX record locks).
"""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from noria.errors import ServeError

_LOOK_AGAIN_SECONDS = 0.02


class Busy:
    """Which conversations are being answered."""

    def __init__(self, path: Path) -> None:
        self._mine: set[int] = set()
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # closing any other handle of it would drop the locks

    def close(self) -> None:
        os.close(self._file)

    @contextmanager
    def alone(self, conversation_id: str, patience: float = 0.0) -> Iterator[None]:
        """Hold a conversation. Raises ServeError (409) if another thread or process still holds it after `patience` seconds."""
        place = int.from_bytes(sha256(conversation_id.encode()).digest()[:7], "big") >> 1
        end = time.monotonic() + patience
        while not self._taken(place):
            if time.monotonic() >= end:
                message = f"Conversation {conversation_id!r:.80} is being answered. Wait for that answer, or stop it."
                raise ServeError(message, 409, "conversation_busy")
            time.sleep(_LOOK_AGAIN_SECONDS)
        try:
            yield
        finally:
            with self._lock:
                self._mine.discard(place)
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, place)

    def _taken(self, place: int) -> bool:
        with self._lock:
            if place in self._mine:
                return False
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except (BlockingIOError, PermissionError):  # POSIX allows either
                return False
            self._mine.add(place)
            return True
