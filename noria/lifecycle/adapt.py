"""`noria tune` and `noria predict`: task files in, a tuned folder or a file of predictions out.

The order of the work: check both files, choose what was left out, tune, score; nothing is written before the files are known to be right.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from noria.config import checked
from noria.data import Example, Task
from noria.data.task_checks import TaskFile, check_pair, in_both, read_file
from noria.data.tasks import read_task
from noria.errors import ConfigError
from noria.evaluate.scores import score
from noria.lifecycle.adapt_writing import WritingTask, adapt_writing, predict_writing
from noria.model import resolve
from noria.model.registry import DEFAULT_ENCODER
from noria.store import sizes, write_file
from noria.train import TuneConfig
from noria.train.heads import Prediction, open_head
from noria.train.heads import predict as predictions_of
from noria.train.heads.opening import HeadFile
from noria.train.precision import dtype_of
from noria.train.task import Report, Say, Tuned, Watch, tune
from noria.train.task_config import TaskConfig

HeadTask = Literal["classify", "tag", "answer"]
TASKS = (*get_args(HeadTask), *get_args(WritingTask))


def adapt(
    settings: Mapping[str, Any],
    task: str,
    train: Path,
    held_out: Path,
    out: Path,
    base: str | None,
    report: Report,
    say: Say,
    drop_duplicates: bool = False,
    num_trials: int | None = None,
) -> Tuned:
    """Tune a base model on the rows of `train`; `held_out` chooses the best weights.

    Args:
        settings: of `TaskConfig` where a head is tuned, of `TuneConfig` where a model that writes is.
        base: as in `[model] base`; None: the sentence encoder that comes with Noria, or its chat model.
        num_trials: how many settings are tried where better ones are searched for; None: no search.
        drop_duplicates: leave rows out of `train` that ask what a row of `held_out` asks.

    Raises:
        ConfigError, DataError, ModelError: see `noria.train.task.tune`.
    """
    if task not in TASKS:
        raise ConfigError(f"`--task` is {task!r}; allowed: {', '.join(TASKS)}.")
    learnt, chosen_by = read_file(train, cast(Task, task)), read_file(held_out, cast(Task, task))
    check_pair(learnt, chosen_by)
    rows = _without_duplicates(learnt, chosen_by, drop_duplicates, say)
    if task in get_args(WritingTask):
        if num_trials is not None:
            raise ConfigError("`--search` is for classify, tag and answer. Leave it out.")
        config = checked(TuneConfig, settings, "--set")
        return adapt_writing(config, cast(WritingTask, task), learnt, chosen_by, rows, out, base, report, say)
    kind = head_task(task)
    model = resolve(base or DEFAULT_ENCODER)
    given = (train, rows), (held_out, list(chosen_by.rows.values()))
    config = checked(TaskConfig, settings, "--set")
    if num_trials is None:
        return tune(config, kind, *given, model, out, scorer(kind), report, say)
    from noria.lifecycle.search import search

    def tuned(settings: TaskConfig, folder: Path, told: Report, watch: Watch) -> Tuned:
        return tune(settings, kind, *given, model, folder, scorer(kind), told, lambda _: None, watch)

    request = {
        "settings": {**config.model_dump(mode="json"), "--task": task, "--base": str(model.path), "--search": num_trials},
        "files": sizes((train, held_out)),
    }
    return search(config, num_trials, request, out, tuned, report, say)


def head_task(task: str) -> HeadTask:
    """The task, if a head is made for it. Raises ConfigError."""
    for known in get_args(HeadTask):
        if task == known:
            return known
    raise ConfigError(f"`--task` is {task!r}; allowed: {', '.join(TASKS)}.")


def scorer(task: HeadTask) -> Callable[[Sequence[Example], Sequence[Mapping[str, Any]]], Mapping[str, float]]:
    """The task's metrics, and as `score` the one that weights are chosen by."""

    def scored(rows: Sequence[Example], predictions: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
        found = score(task, rows, predictions)
        return {**found.metrics, "score": found.metrics[found.main]}

    return scored


def predict_file(model: str, task: str, data: Path, out: Path, report: Report) -> int:
    """Write what a model says of the rows of `data`, one object a line in their order; returns how many.

    Args:
        model: a folder that was tuned; a model that writes may have any name that `[model] base` takes, or the URL of a server.

    Raises:
        ConfigError: the folder was tuned for another task.
        DataError: `data` breaks its format.
    """
    if task in get_args(WritingTask):
        return predict_writing(model, cast(WritingTask, task), data, out, report)
    rows = list(read_task(data, cast(Task, head_task(task))))
    found = run_head(Path(model), task, rows, report)
    write_file(out, (json.dumps(one.output, ensure_ascii=False) + "\n" for one in found))
    return len(found)


def run_head(model: Path, task: str, rows: Sequence[Example], report: Report) -> list[Prediction]:
    """Predictions of a tuned folder on rows, in their order."""
    import torch

    head, weights = open_head(model)
    made_for = HeadFile.of(head).task
    if made_for != task:
        raise ConfigError(f"'{model}' was tuned for the task {made_for!r}, not {task!r}. Give `--task {made_for}`, or another folder.")
    found: list[Prediction] = []
    with torch.no_grad(), torch.autocast(weights.device.type, dtype=dtype_of(None, weights.device)):
        for start in range(0, len(rows), CHUNK):
            found += predictions_of(head, weights, rows[start : start + CHUNK])
            report("predicting", min(start + CHUNK, len(rows)), len(rows))
    return found


CHUNK = 4096
"""Rows whose texts are sorted by length together."""


def _without_duplicates(train: TaskFile, held_out: TaskFile, drop: bool, say: Say) -> list[Example]:
    lines = set(in_both(train, held_out))
    if lines and drop:
        say(f"{len(lines)} rows of '{train.path}' ask what '{held_out.path}' asks too; they are left out.")
    elif lines:
        say(
            f"{len(lines)} rows of '{train.path}' ask what '{held_out.path}' asks too (line {min(lines)} first); `--drop-duplicates` leaves them out."
        )
    kept = [row for line, row in train.rows.items() if not (drop and line in lines)]
    if not kept:
        raise ConfigError(f"All rows of '{train.path}' stand in '{held_out.path}' too. Give other rows to learn from.")
    return kept
