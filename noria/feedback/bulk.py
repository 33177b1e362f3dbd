"""Feedback from a file: JSONL with `receipt`, `kind`, `value` and optionally `source`, `role`, `step`, as `POST /v1/feedback` takes them."""

from pathlib import Path
from typing import Any

from noria.agent import Toolbox
from noria.agent.demonstrations import check_demonstration
from noria.data import read_objects
from noria.errors import DataError
from noria.store import Database, FeedbackLog, Traces

_REQUIRED = ("receipt", "kind", "value")
_ALLOWED = (*_REQUIRED, "source", "role", "step")


def import_file(database: Database, path: Path, source: str | None = None, role: str = "operator", toolbox: Toolbox | None = None) -> int:
    """Add every line of a file, all or none, and return how many. `source` (default: the file's name) and `role` stand in where a line has none.

    Args:
        toolbox: the project's own tools, which calls that are shown must fit.

    Raises:
        DataError: naming file and line of the first piece that is wrong.
    """
    pieces: list[dict[str, Any]] = []
    places: list[str] = []
    traces, own = Traces(database), toolbox or Toolbox()
    for number, row in read_objects(path):
        place = f"'{path}' line {number}"
        missing = next((field for field in _REQUIRED if field not in row), None)
        if missing is not None:
            raise DataError(f"{place}: field `{missing}` is missing; required: {', '.join(_REQUIRED)}.")
        unknown = next((field for field in row if field not in _ALLOWED), None)
        if unknown is not None:
            raise DataError(f"{place}: unknown field `{unknown}`; allowed: {', '.join(_ALLOWED)}.")
        if row["kind"] == "demonstration" and isinstance(row["receipt"], str):
            try:
                check_demonstration(traces, own, row["receipt"], row["value"])
            except DataError as error:
                raise DataError(f"{place}: {error}") from error
        pieces.append({"source": source or path.name, "role": role, **row})
        places.append(place)
    if not pieces:
        raise DataError(f"'{path}' has no rows; a feedback file has one JSON object a line with {', '.join(_REQUIRED)}.")
    FeedbackLog(database).add_many(pieces, places)
    return len(pieces)


def stats(database: Database) -> dict[str, Any]:
    """What feedback there is: counts by kind and role, thumbs up and down, sources, turns, conversations, first and last time."""
    return FeedbackLog(database).stats()
