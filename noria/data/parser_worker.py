"""The process behind `noria.data.parser`: reads files from stdin, writes documents to stdout, until stdin ends.

A message is its length (8 bytes, little-endian) and its bytes. A file is two: a JSON header and the content; an answer is one JSON object.
"""

import json
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from noria.data.parse import parse
from noria.errors import DataError, DependencyError

_LENGTH = struct.Struct("<Q")


def main() -> None:
    """Serve until stdin ends; `argv[1]` is the most memory this process may take, in bytes."""
    _limit_memory(int(sys.argv[1]))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what a library prints is no answer
    _send(answers, {})
    while (header := _receive(sys.stdin.buffer)) is not None:
        data = _receive(sys.stdin.buffer)
        if data is None:
            return
        _send(answers, _answer(json.loads(header), data))


def _answer(asked: dict[str, Any], data: bytes) -> dict[str, str]:
    try:
        document = parse(Path(asked["path"]), data, asked["main_text"])
    except DependencyError as error:
        return {"error": "dependency", "text": str(error)}
    except DataError as error:
        return {"error": "data", "text": str(error)}
    except RecursionError:
        return {"error": "data", "text": "It is nested too deeply."}
    except MemoryError:
        return {"error": "data", "text": "Parsing it needs more memory than it may take."}
    except Exception as error:  # noqa: BLE001 - a parser may raise anything on a broken file
        return {"error": "data", "text": f"It cannot be parsed: {type(error).__name__}: {' '.join(str(error).split())!s:.200}"}
    return {"error": "", "title": document.title, "text": document.text}


def _limit_memory(max_bytes: int) -> None:
    with suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))


def _receive(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_LENGTH.size)
    return stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else None


def _send(stream: IO[bytes], answer: dict[str, str]) -> None:
    message = json.dumps(answer).encode()
    stream.write(_LENGTH.pack(len(message)) + message)
    stream.flush()


if __name__ == "__main__":
    main()
