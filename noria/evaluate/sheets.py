"""Sheets by which people judge two answers blind: CSV files that any spreadsheet opens.

Out: `id`, `request`, `first`, `second`, and empty columns `better` and `comment`. The id is made of request and answers, and which model stands first
is drawn by it: a filled sheet is read back without a key, and only for the answers it shows. In: the same file with first, second or tie in `better`;
rows left empty are passed over.
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from noria.errors import ConfigError, DataError
from noria.evaluate.judge import Pair, Side
from noria.store import write_file

COLUMNS = ("id", "request", "first", "second", "better", "comment")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""With what spreadsheets take a cell for a formula; answers come from models and users."""


def write_sheet(pairs: Sequence[Pair], path: Path) -> None:
    """Write an empty sheet. Raises ConfigError where another file stands there, StoreError."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for pair in pairs:
        answers = (pair.model, pair.against) if _model_first(pair) else (pair.against, pair.model)
        writer.writerow([_key(pair), *map(_cell, (pair.request, *answers)), "", ""])
    whole = "\ufeff" + text.getvalue()  # the mark by which spreadsheets know UTF-8
    if path.exists() and path.read_bytes() != whole.encode():
        raise ConfigError(f"'{path}' is there already and may hold what people wrote. Give another name with `--sheet`.")
    write_file(path, [whole])


def read_sheet(path: Path, pairs: Sequence[Pair]) -> dict[str, Side]:
    """What a person said of the pairs. Raises DataError with the line of what cannot be read."""
    known = {_key(pair): pair for pair in pairs}
    found: dict[str, Side] = {}
    for line, row in _rows(path):
        said = row["better"].strip().lower()
        if not said:
            continue
        if row["id"] not in known:
            raise DataError(f"'{path}' line {line}: there is no pair {row['id']!r:.60}. Fill a sheet of the same comparison.")
        if said not in ("first", "second", "tie"):
            raise DataError(f"'{path}' line {line}: `better` is {said!r:.60}; allowed: first, second, tie, or nothing.")
        pair = known[row["id"]]
        found[pair.id] = "tie" if said == "tie" else "model" if (said == "first") == _model_first(pair) else "against"
    if not found:
        raise DataError(f"'{path}' has no verdicts. Write first, second or tie into the column `better`.")
    return found


def _rows(path: Path) -> list[tuple[int, Mapping[str, str]]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}. Name a sheet that exists.") from error
    if b"\x00" in raw:
        raise DataError(f"'{path}' is saved as UTF-16. Save the sheet as CSV (in Excel: CSV UTF-8).")
    reader = csv.DictReader(io.StringIO(_text(raw), newline=""))
    missing = [name for name in ("id", "better") if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"'{path}' has no column `{missing[0]}`. Save the sheet as CSV, with its first line.")
    try:
        return [(reader.line_num, {name: row.get(name) or "" for name in ("id", "better")}) for row in reader]
    except csv.Error as error:
        raise DataError(f"'{path}' line {reader.line_num}: {error}. Save the sheet as CSV.") from error


def _text(raw: bytes) -> str:
    """A sheet as text; one that is not in UTF-8 may have any other letters, as Excel in China writes GBK: what is read of it is ASCII."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _hash(pair: Pair) -> str:
    return hashlib.sha256(json.dumps([pair.id, pair.request, pair.model, pair.against]).encode()).hexdigest()


def _key(pair: Pair) -> str:
    return f"p-{_hash(pair)[:12]}"  # a bare number spreadsheets would write anew in their own way


def _model_first(pair: Pair) -> bool:
    return int(_hash(pair)[-1], 16) % 2 == 0


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
