"""Evaluation texts inside documents: a model must not be trained on what it will be measured with.

In: the evaluation files. Out: for a document the first of their texts of which it holds a part. A part is a run of 13 words (as for GPT-3, Brown et
al. 2020), of 20 ideographs in Chinese, or the whole text where it is shorter, without regard to case, width, punctuation and line breaks. Texts
under 8 words or 12 ideographs are not looked for: they would be found everywhere. Not covered: paraphrases and translations.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.data.documents import Unread, whole_characters
from noria.data.grams import IDEOGRAPH, Hashes, UnitWindows, units
from noria.data.parse import decode
from noria.data.parser import Parser
from noria.data.readers import MAX_ROW_BYTES, ROW_SUFFIXES, Track, is_read, open_stream, read_documents, suffix_of
from noria.errors import DataError, NoriaError

NUM_WORDS, MIN_WORDS = 13, 8
NUM_IDEOGRAPHS, MIN_IDEOGRAPHS = 20, 12
_NO_TEXT = frozenset({"id", "source", "url", "license", "role", "name", "type", "language"})
"""Fields whose values say nothing of what is asked."""


@dataclass
class EvaluationTexts:
    """An index of evaluation texts."""

    num_texts: int = 0
    num_short: int = 0
    """Texts that are too short to be looked for."""
    files: list[str] = field(default_factory=list[str])
    windows: dict[int, tuple[Hashes, NDArray[np.int64]]] = field(default_factory=dict[int, tuple[Hashes, NDArray[np.int64]]])
    """For each size of window its hashes, sorted, and the file of each."""

    def find(self, text: str) -> tuple[str, str] | None:
        """The evaluation file and the passage of it that stand in a text."""
        windows = UnitWindows(units(text))
        for size, (known, files) in self.windows.items():
            hashes = windows.hashes(size)
            places = np.searchsorted(known, hashes)
            places[places == len(known)] = 0
            hits = np.flatnonzero(known[places] == hashes)
            if len(hits):
                return self.files[files[places[hits[0]]]], windows.window(int(hits[0]), size)
        return None


@cache
def read_evaluation(paths: tuple[Path, ...]) -> EvaluationTexts:
    """Index the texts of evaluation files: every text of every row, or the documents of other kinds.

    Raises:
        DataError: a file cannot be read whole, or holds no text that is long enough; then nothing can be promised about it.
    """
    found = EvaluationTexts()
    hashes: dict[int, list[Hashes]] = {}
    sources: dict[int, list[NDArray[np.int64]]] = {}
    for number, path in enumerate(paths):
        found.files.append(whole_characters(path.name))
        before = found.num_texts
        for text in _texts(path):
            size = _window_size(cut := units(text))
            if size is None:
                found.num_short += 1
                continue
            found.num_texts += 1
            hashes.setdefault(size, []).append(UnitWindows(cut).hashes(size))
            sources.setdefault(size, []).append(np.full(len(hashes[size][-1]), number))
        if found.num_texts == before:
            raise DataError(f"'{path}' holds no text of {MIN_WORDS} words or {MIN_IDEOGRAPHS} ideographs or more to look for. Leave it out.")
    for size in sorted(hashes):
        known, first = np.unique(np.concatenate(hashes[size]), return_index=True)
        found.windows[size] = (known, np.concatenate(sources[size])[first])
    return found


def _window_size(of: list[str]) -> int | None:
    chinese = sum(1 for unit in of if IDEOGRAPH.match(unit)) * 2 > len(of)
    longest, shortest = (NUM_IDEOGRAPHS, MIN_IDEOGRAPHS) if chinese else (NUM_WORDS, MIN_WORDS)
    return None if len(of) < shortest else min(len(of), longest)


def _texts(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise DataError(f"No file '{path}'. Check what is given with `--against`.")
    suffix = suffix_of(path)
    try:
        yield from _read(path, suffix)
    except NoriaError:
        raise
    except Exception as error:  # a library may raise anything on a broken archive
        raise DataError(f"'{path}': damaged or cut off ({error!s:.200}). Evaluation files must be read whole.") from error


def _read(path: Path, suffix: str) -> Iterator[str]:
    if suffix in (*ROW_SUFFIXES, ".json"):
        yield from _texts_of_json(path, whole=suffix == ".json")
    elif suffix in (".csv", ".tsv"):
        yield from _texts_of_table(path, "\t" if suffix == ".tsv" else ",")
    elif is_read(path):
        with Parser() as parser:
            for item in read_documents(path, parser, Track()):
                if isinstance(item, Unread):
                    raise DataError(f"'{path}' {item.place}: {item.reason} Evaluation files must be read whole.")
                yield item.text
    else:
        raise DataError(f"'{path}' is of no kind that is read as an evaluation file; JSONL, JSON, CSV and the kinds of corpora are.")


def _texts_of_table(path: Path, delimiter: str) -> Iterator[str]:
    csv.field_size_limit(MAX_ROW_BYTES)
    try:
        with open_stream(path) as stream:
            lines = io.StringIO(decode(stream.read()), newline="")
        for row in csv.reader(lines, delimiter=delimiter):
            yield from row
    except (DataError, csv.Error) as error:
        raise DataError(f"'{path}': {error!s:.200} Evaluation files must be read whole.") from error


def _texts_of_json(path: Path, whole: bool) -> Iterator[str]:
    with open_stream(path) as stream:
        rows = enumerate([stream.read()] if whole else stream, 1)
        for number, row in rows:
            if not row.strip():
                continue
            try:
                value = json.loads(row.decode("utf-8-sig"))
            except (ValueError, RecursionError) as error:
                place = "" if whole else f" line {number}"
                raise DataError(f"'{path}'{place}: not JSON ({error!s:.100}). Evaluation files must be read whole.") from error
            yield from _strings(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in _NO_TEXT or not isinstance(inner, str):
                yield from _strings(inner)
