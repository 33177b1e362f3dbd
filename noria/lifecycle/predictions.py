"""Predictions kept as they are made: a killed `noria predict` goes on behind the last whole one.

In: rows, and what predicts them one after the other. Out: a file with one object a line, which appears whole. Until then they stand in
`.NAME.partial` beside it: its first line says what predicts, every other one has a prediction behind the hash of its row, so that rows changed or
added since are asked, and those before them are not asked again.
"""

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from noria.data import Example, example_key
from noria.store import file_hash, write_file
from noria.store.files import disk_errors
from noria.store.kept_lines import json_line, keeping_lines, kept_lines
from noria.train.task import DONE, Report

Predict = Callable[[int], Generator[dict[str, Any]]]
"""What is said of the rows from this one on, in their order."""


def keep_predictions(model: str, task: str, rows: Sequence[Example], predict: Predict, out: Path, report: Report) -> None:
    """Write what is said of each row, going on where an earlier call with the same model and task was stopped. Raises StoreError."""
    partial = out.with_name(f".{out.name}.partial")
    asked, keys = _asked(model, task), [_key(row) for row in rows]
    said = _kept(partial, asked, keys)
    with keeping_lines(partial, asked, map(list, zip(keys, said, strict=False))) as append:
        if len(said) < len(rows):
            with closing(predict(len(said))) as found:
                for one in found:
                    append([keys[len(said)], one])
                    said.append(one)
                    report("predicting", len(said), len(rows))
    write_file(out, map(json_line, said))
    with disk_errors(partial):
        partial.unlink()


def _asked(model: str, task: str) -> dict[str, Any]:
    """What predicts: a folder that was tuned again since is another model."""
    made = Path(model) / DONE
    return {"model": model, "task": task, "tuned": file_hash(made) if made.is_file() else None}


def _key(row: Example) -> str:
    return hashlib.sha256(example_key(row).encode()).hexdigest()[:16]


def _kept(partial: Path, asked: Mapping[str, Any], keys: Sequence[str]) -> list[dict[str, Any]]:
    """The predictions of an earlier call on the first rows, as far as the rows are the same; of another model's or task's there are none."""
    said: list[dict[str, Any]] = []
    for line, key in zip(kept_lines(partial, asked) or (), keys, strict=False):
        match line:
            case [known, one] if known == key:
                said.append(one)
            case _:
                break
    return said
