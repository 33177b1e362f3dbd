"""Rows that a tuned model knows already: those it learnt from, and those by which its weights were chosen.

In: a file to measure by, and names of models. Out: how many of its rows ask what a row of either file asks, as figures for the report and as a
sentence each. None: the folder was not tuned by us, or the file is gone or has changed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from noria.data import Task
from noria.data.task_checks import TaskFile, in_both
from noria.data.tasks import numbered_rows
from noria.engine.heads import DONE
from noria.errors import DataError, StoreError
from noria.store import is_as_it_was, read_told

Say = Callable[[str], None]


def seen_by(model: str, against: str | None, file: TaskFile, task: Task, say: Say) -> dict[str, int | None]:
    """What both models know of a file, for the report. Raises ArtifactError where a folder does not tell what it was made from."""
    found = _seen(model, file, task, say)
    return found if against is None else found | {f"{name}_against": count for name, count in _seen(against, file, task, say).items()}


def _seen(model: str, file: TaskFile, task: Task, say: Say) -> dict[str, int | None]:
    trained, chosen_by = _files(Path(model), task)

    def count(known: TaskFile | None, what: str) -> int | None:
        if known is None:
            return None
        lines = in_both(file, known)
        if lines:
            say(f"{len(lines)} of {len(file.rows)} rows of '{file.path}' ask what '{known.path}' asks, {what} (line {lines[0]} first).")
        return len(lines)

    learnt = count(trained, f"from which '{model}' learnt")
    return {"in_training_file": learnt, "in_evaluation_file": count(chosen_by, f"by which '{model}' was chosen")}


def _files(folder: Path, task: Task) -> tuple[TaskFile | None, TaskFile | None]:
    """The rows that a folder was tuned on, and those that chose its weights; where rows were left out of the former, the latter told which."""
    if not (folder / DONE).is_file():
        return None, None
    request: dict[str, Any] = read_told(folder / DONE, "request")["request"]
    trained, chosen_by = (_as_it_was(named, task) for named in request["files"][:2])
    if trained is None or not request["settings"].get("--drop-duplicates"):
        return trained, chosen_by
    if chosen_by is None:
        return None, None
    left_out = set(in_both(trained, chosen_by))
    return TaskFile(path=trained.path, rows={line: row for line, row in trained.rows.items() if line not in left_out}), chosen_by


def _as_it_was(named: Sequence[Any], task: Task) -> TaskFile | None:
    """The rows of a file that is still what `noria.store.sizes` told of it."""
    path = Path(named[0])
    try:
        return TaskFile(path=path, rows=dict(numbered_rows(path, task))) if is_as_it_was(named) else None
    except (StoreError, DataError):
        return None
