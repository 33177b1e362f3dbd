"""Task files: JSONL, one object a line. `read_task` checks a whole file before it gives out a row, `write_task` writes one whole or not at all.

An error names file, line, field, value and what is allowed. This module does not read corpora in other formats (HTML, PDF, Parquet).
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from noria.data.examples import EXAMPLES, ChatExample, Example, PreferenceExample, Task, ThumbsExample
from noria.errors import DataError
from noria.store import write_file


def read_task(path: Path, task: Task) -> Iterator[Example]:
    """The rows of a task file, in order and one at a time. The whole file is checked by the call itself, before anything is returned.

    Raises:
        DataError: no such file or task, no rows, or the first row that breaks the format.
    """
    check_task(path, task)
    return (example for _, example in _rows(path, task))


def numbered_rows(path: Path, task: Task) -> Iterator[tuple[int, Example]]:
    """The rows of a task file with the line each stands in. Raises DataError at the first that breaks the format."""
    if task not in EXAMPLES:
        raise DataError(f"No task is called {task!r}; allowed: {', '.join(EXAMPLES)}.")
    return _rows(path, task)


def check_task(path: Path, task: Task) -> int:
    """Check a whole task file and return the number of its rows. Raises DataError as `read_task`."""
    if task not in EXAMPLES:
        raise DataError(f"No task is called {task!r}; allowed: {', '.join(EXAMPLES)}.")
    count = sum(1 for _ in _rows(path, task))
    if count == 0:
        raise DataError(f"'{path}' has no rows; a {task} file has one JSON object a line.")
    return count


def read_chat(path: Path) -> Iterator[ChatExample]:
    """`read_task` of a chat or tools file, typed."""
    return (example for example in read_task(path, "chat") if isinstance(example, ChatExample))


def read_thumbs(path: Path) -> Iterator[ThumbsExample]:
    """Rows of a thumbs file; as `read_task`."""
    return (example for example in read_task(path, "thumbs") if isinstance(example, ThumbsExample))


def read_preferences(path: Path) -> Iterator[PreferenceExample]:
    """Rows of a preference file; as `read_task`."""
    return (example for example in read_task(path, "preference") if isinstance(example, PreferenceExample))


def write_task(path: Path, examples: Iterable[Example]) -> int:
    """Write rows to a task file and return how many; the file is complete or as it was before."""
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for example in examples:
            count += 1
            yield json.dumps(example.to_row(), ensure_ascii=False) + "\n"

    write_file(path, lines())
    return count


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of each line of a JSONL file; empty lines are passed over. Raises DataError."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _object(path, number, line)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}. Name a JSONL file that exists.") from error


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        value = json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' line {number}: byte {error.start + 1} is not UTF-8. Save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        what = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise DataError(f"'{path}' line {number}: not JSON ({what}); each line is one object, `{{...}}`.") from error
    if "\\u" in text and (half := half_of_a_pair(value)):
        raise DataError(f"'{path}' line {number}: a text holds {half!r}, half of a character pair. Leave it out, or write the whole character.")
    if not isinstance(value, dict):
        raise DataError(f"'{path}' line {number}: {value!r:.60} is no object; each line is one object, `{{...}}`.")
    return value


def half_of_a_pair(value: Any) -> str | None:
    """The first character of a JSON value that no UTF-8 holds (JSON can write half of a surrogate pair); None where all is well."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return str(error.object[error.start])
    return None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not allowed")


def _rows(path: Path, task: Task) -> Iterator[tuple[int, Example]]:
    model = EXAMPLES[task]
    for number, value in read_objects(path):
        try:
            yield number, model.model_validate(value)
        except ValidationError as error:
            raise DataError(f"'{path}' line {number}: {first_fault(error, model)}") from error


def first_fault(error: ValidationError, model: type[Example]) -> str:
    """The first thing that is wrong with a row, as a sentence: field, value and what is allowed."""
    first = error.errors()[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden" and "." not in field:
        return f"unknown field `{field}`; allowed: {', '.join(model.model_fields)}."
    if first["type"] == "missing":
        return f"field `{field}` is missing; it is required."
    if not field:
        return f"{said}."
    return f"field `{field}` is {first['input']!r:.80}: {said.rstrip('.')}."
