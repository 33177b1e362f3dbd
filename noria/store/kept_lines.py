"""Lines that stand on disk as they are made: a killed run goes on behind the last whole one.

In: a JSON file of lines whose first says what the others are of. Out: the others as far as they are whole, and what appends to them. What a line
holds, and what to do where the file is of something else, is the caller's.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from noria.store.files import disk_errors, write_file


def json_line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def kept_lines(path: Path, request: Mapping[str, Any]) -> list[Any] | None:
    """What an earlier call kept, nothing where there is no file; None where the file does not begin with this request. Raises StoreError."""
    if not path.is_file():
        return []
    with disk_errors(path):
        first, *lines = path.read_bytes().split(b"\n")
    if not first and not lines:
        return []
    found: list[Any] = []
    try:
        if json.loads(first) != json.loads(json_line(request)):
            return None
    except ValueError:
        return None
    with suppress(ValueError):  # a power cut may leave anything; what was read before it is whole
        for line in lines[:-1]:  # a line without an end was cut by a kill
            found.append(json.loads(line))
    return found


@contextmanager
def keeping_lines(path: Path, request: Mapping[str, Any], kept: Iterable[Any]) -> Iterator[Callable[[Any], None]]:
    """Write the request and what is kept of an earlier call; gives what appends one more value, at once. Raises StoreError."""
    write_file(path, map(json_line, (request, *kept)))
    with disk_errors(path):
        file = path.open("a", encoding="utf-8", newline="\n")

    def append(value: Any) -> None:
        with disk_errors(path):
            file.write(json_line(value))
            file.flush()

    with file:
        yield append
