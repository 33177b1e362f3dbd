"""Measuring models on task files whose rows have one right answer: tuned folders with a head, and models that write summaries or rewordings.

In: a task file, a model and perhaps another. Out: a report with intervals, and of two models the comparison on the same rows; as JSON, and as a page
beside it. Both models are found to be there and made for the task before the first one runs. Rows that share a conversation, or a context that
questions are asked about, are drawn and compared together.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from noria.data import Example, Task
from noria.data.task_checks import OUT_OF_SCOPE, TaskFile, check_labels, check_tags, in_both, names_of, read_file
from noria.data.tasks import numbered_rows
from noria.errors import ConfigError, DataError
from noria.evaluate.intervals import intervals
from noria.evaluate.paired import compare
from noria.evaluate.report import details, write_page
from noria.evaluate.scores import score
from noria.evaluate.suites import chat_suite
from noria.lifecycle.adapt_writing import Writing, WritingTask, answers
from noria.lifecycle.asking import Known, open_folder
from noria.lifecycle.measure import Say, check_plain, open_plain, plan, write_report
from noria.lifecycle.standing import Standing, group_of, reported, standing_on_rows, standing_on_suite
from noria.lifecycle.trial import Progress
from noria.store import read_told
from noria.train.task import DONE

Predict = Callable[[Sequence[Example], Progress], list[Mapping[str, Any]]]
"""What a model says of rows, in their order."""


def measure_rows(model: str, task: str, data: Path, *, against: str | None, out: Path | None, progress: Progress, say: Say) -> dict[str, Any]:
    """Run a model (and another) on `data` and report; `out` gets the report, and an HTML page beside it.

    Raises:
        ConfigError: a model was made for another task.
        DataError: `data` breaks its format, or its rows are of another kind than the model's.
        ArtifactError, ModelError: a folder was not tuned, or cannot be read.
    """
    file = read_file(data, cast(Task, task))
    rows = list(file.rows.values())
    groups = [group_of(row, str(line)) for line, row in file.rows.items()]
    planned = {} if against is None else plan(data, groups, say)
    asked = _checked(model, task, file, say)
    asked_before = None if against is None else _checked(against, task, file, say)
    seen, seen_before = _seen(model, task, file, say), None if against is None else _seen(against, task, file, say)
    report: dict[str, Any] = {"task": task, "model": model, "data": str(data), "n": len(rows), "in_training_file": seen}
    said = asked(rows, progress)
    found = score(task, rows, said)
    report |= {"main": found.main, "metrics": dict(found.metrics), "intervals": intervals(found.made, groups), "by_class": found.by_class}
    before = None
    if asked_before is not None:
        earlier = asked_before(rows, progress)
        before = earlier, score(task, rows, earlier)
        report |= {"against": against, "metrics_against": dict(before[1].metrics), **planned, "in_training_file_against": seen_before}
        report |= compare(before[1].compared, found.compared, groups, found.main)
    report |= details(rows, said, found, before)
    if out is not None:
        write_report(report, out)
        write_page(report, out.with_suffix(".html"))
    return report


def standing_of(name: str, task: str, file: TaskFile, report: Callable[[str, float, float], None]) -> Standing:
    """What a model is worth on the rows of a file; of `chat` and `tools` on as many answers as it has rows. Raises as `measure_rows`."""

    def told(done: int, total: int) -> None:
        report(f"asking ({Path(name).name})", done, total)

    if task in ("chat", "tools"):
        generator = open_plain(name)
        try:
            return standing_on_suite(chat_suite(file.path, file.path.stem, len(file.rows)), generator, told)
        finally:
            generator.close()
    _, predict = opened(name, task)
    said = predict(list(file.rows.values()), lambda _, done, total: told(int(done), int(total)))
    return standing_on_rows(task, file.rows, said)


def _checked(name: str, task: str, file: TaskFile, say: Say) -> Predict:
    """A model that is there, made for the task and for rows such as these. Raises as `measure_rows`."""
    known, predict = opened(name, task)
    if known is not None:
        _check_rows(name, known, file, say)
    return predict


def opened(name: str, task: str) -> tuple[Known | None, Predict]:
    """A model that is there and made for the task, with what it can say where that is known. Raises ConfigError, ArtifactError, ModelError."""
    if task in get_args(WritingTask):
        return None, _opened_to_write(name, cast(WritingTask, task))
    known, predictions = open_folder(Path(name), task)

    def predict(rows: Sequence[Example], progress: Progress) -> list[Mapping[str, Any]]:
        return list(reported(predictions(rows), len(rows), partial(progress, name)))

    return known, predict


def _opened_to_write(name: str, task: WritingTask) -> Predict:
    writing = Writing.read(Path(name), task)
    if writing.task != task:
        raise ConfigError(f"'{name}' was tuned for the task {writing.task!r}, not {task!r}. Give `--task {writing.task}`, or another model.")
    check_plain(name)

    def predict(rows: Sequence[Example], progress: Progress) -> list[Mapping[str, Any]]:
        places = [f"row {number}" for number in range(1, len(rows) + 1)]
        found = reported(answers(name, writing, rows, places), len(rows), partial(progress, name))
        return [{"target": answer.content} for answer in found]

    return predict


def _check_rows(name: str, told: Known, file: TaskFile, say: Say) -> None:
    """Refuse rows that the model cannot be measured by, and say what it cannot know."""
    if told.task == "classify":
        check_labels(file, told.several, f"'{name}'")
    if told.scheme is not None:
        check_tags(file, told.scheme)
    known = {*told.labels, OUT_OF_SCOPE} if told.says_none else set(told.labels)
    strange = {line: names for line, row in file.rows.items() if (names := sorted(set(names_of(row)) - known))} if known else {}
    if strange:
        line, names = next(iter(strange.items()))
        say(f"{len(strange)} rows of '{file.path}' have labels that '{name}' does not know ({names[0]!r} in line {line} first); they count as wrong.")


def _seen(name: str, task: str, file: TaskFile, say: Say) -> int | None:
    """How many rows ask what a row of the training file asks; None where that file is not to be found any more."""
    trained = _training_file(Path(name), task)
    if trained is None:
        return None
    lines = in_both(file, trained)
    if lines:
        first = f"line {lines[0]} first"
        say(f"{len(lines)} of {len(file.rows)} rows of '{file.path}' ask what '{trained.path}' asks, from which '{name}' learnt ({first}).")
    return len(lines)


def _training_file(folder: Path, task: str) -> TaskFile | None:
    """The rows that a folder was tuned on, if their file is still there as it was; where rows were left out of it, what told which is needed too."""
    if not (folder / DONE).is_file():
        return None
    request = read_told(folder / DONE, "request")["request"]
    first, *others = request["files"]
    trained = _as_it_was(first, task)
    if trained is None or not request["settings"].get("--drop-duplicates"):
        return trained
    left_out: set[int] = set()
    for named in others:
        other = _as_it_was(named, task)
        if other is None:
            return None
        left_out.update(in_both(trained, other))
    return TaskFile(path=trained.path, rows={line: row for line, row in trained.rows.items() if line not in left_out})


def _as_it_was(named: Sequence[Any], task: str) -> TaskFile | None:
    """The rows of a file (its path and size) that is still as large as it was; None of one that is gone, or has changed."""
    path, size = Path(named[0]), named[1]
    try:
        return TaskFile(path=path, rows=dict(numbered_rows(path, cast(Task, task)))) if path.stat().st_size == size else None
    except (OSError, DataError):
        return None
