"""`parse` in a process of its own: a file that hangs, crashes or eats memory costs itself, never the run.

In: name and bytes of a file. Out: its `Document`, or a `DataError` with the reason. Plain text is parsed where it is. The process starts with the
first file that needs it and serves all that follow; one that is ended for a file is started anew for the next.
"""

import json
import os
import selectors
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from noria.data.parse import TEXT_SUFFIXES, Document, parse
from noria.errors import DataError, DependencyError

_LENGTH = struct.Struct("<Q")


class Parser:
    """Parses files one after another; `close` ends its process.

    Args:
        max_seconds: for one file.
        max_memory_bytes: of the process's address space.
    """

    def __init__(self, max_seconds: float = 60.0, max_memory_bytes: int = 4 << 30) -> None:
        self._max_seconds = max_seconds
        self._max_memory_bytes = max_memory_bytes
        self._process: subprocess.Popen[bytes] | None = None

    def parse(self, path: Path, data: bytes, main_text: bool = False) -> Document:
        """As `noria.data.parse.parse`. Raises DataError (also when time or memory is used up), DependencyError."""
        if path.suffix.lower() in TEXT_SUFFIXES:
            return parse(path, data, main_text)
        answer = self._ask(json.dumps({"path": str(path), "main_text": main_text}).encode(), data)
        if answer["error"] == "dependency":
            raise DependencyError(answer["text"])
        if answer["error"]:
            raise DataError(answer["text"])
        return Document(title=answer["title"], text=answer["text"])

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, header: bytes, data: bytes) -> dict[str, str]:
        if self._process is None:
            command = [sys.executable, "-m", "noria.data.parser_worker", str(self._max_memory_bytes)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            self._receive(30.0)  # it says that it is there, so that its start is not counted as the file's time
        assert self._process.stdin is not None
        try:
            for part in (header, data):
                self._process.stdin.write(_LENGTH.pack(len(part)) + part)
            self._process.stdin.flush()
        except OSError as error:
            self.close()
            raise DataError("The process that parses it ended before it began.") from error
        return json.loads(self._receive(self._max_seconds))

    def _receive(self, max_seconds: float) -> bytes:
        """One message of the process. Raises DataError when it ends, or not in time."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + max_seconds
        received, wanted = bytearray(), _LENGTH.size
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while len(received) < wanted:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.close()
                    raise DataError(f"Parsing it takes longer than {max_seconds:g} seconds.")
                part = os.read(self._process.stdout.fileno(), 1 << 16)
                if not part:
                    self.close()
                    raise DataError("Parsing it crashed, or needs more memory than it may take.")
                received += part
                if wanted == _LENGTH.size and len(received) >= wanted:
                    wanted += _LENGTH.unpack_from(received)[0]
        return bytes(received[_LENGTH.size :])
