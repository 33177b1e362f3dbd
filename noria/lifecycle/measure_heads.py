"""Measuring models on task files whose rows have one right answer: tuned folders with a head, and models that write summaries or rewordings.

In: a task file, a model and perhaps another. Out: a report with intervals, and of two models the comparison on the same rows; as JSON, and as a page
beside it. Both models are found to be there and made for the task before the first one runs. Rows that share a conversation, or a context that
questions are asked about, are drawn and compared together.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from noria.data import Task
from noria.data.examples import WritingTask
from noria.data.task_checks import OUT_OF_SCOPE, TaskFile, check_labels, check_tags, names_of, read_file
from noria.errors import ConfigError
from noria.evaluate.intervals import intervals
from noria.evaluate.paired import compare
from noria.evaluate.report import details, write_page
from noria.evaluate.scores import score
from noria.evaluate.suites import chat_suite
from noria.lifecycle.adapt_writing import Writing, answers
from noria.lifecycle.asking import Known, open_folder
from noria.lifecycle.measure import Say, check_plain, curves_of, open_plain, plan, write_report
from noria.lifecycle.perplexity import Conversation, with_perplexity
from noria.lifecycle.seen import seen_by
from noria.lifecycle.standing import Standing, group_of, reported, standing_on_rows, standing_on_suite
from noria.lifecycle.trial import Progress
from noria.lifecycle.untrained import placed

Predict = Callable[[TaskFile, Progress], list[Mapping[str, Any]]]
"""What a model says of the rows of a file, in their order."""


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
    report: dict[str, Any] = {"task": task, "model": model, "data": str(data), "n": len(rows), **seen_by(model, against, file, cast(Task, task), say)}
    said = asked(file, progress)
    found = score(task, rows, said)
    report |= {"main": found.main, "metrics": dict(found.metrics), "intervals": intervals(found.made, groups), "by_class": found.by_class}
    before = None
    if asked_before is not None:
        earlier = asked_before(file, progress)
        before = earlier, score(task, rows, earlier)
        report |= {"against": against, "metrics_against": dict(before[1].metrics), **planned}
        report |= compare(before[1].compared, found.compared, groups, found.main)
    report |= details(rows, said, found, before)
    if task in get_args(WritingTask):
        report = with_perplexity(report, model, against, file, partial(_learnt, task=cast(WritingTask, task)), progress, say)
    if out is not None:
        write_report(report, out)
        write_page(report, out.with_suffix(".html"), curves_of(model, against))
    return report


def standing_of(name: str, task: str, file: TaskFile, report: Callable[[str, float, float], None]) -> Standing:
    """What a model is worth on the rows of a file; of `chat` and `tools` on as many answers as it has rows. Raises as `measure_rows`."""

    def told(done: int, total: int) -> None:
        report(f"asking ({Path(name).name})", done, total)

    if task in ("chat", "tools"):
        generator = open_plain(name)
        try:
            return standing_on_suite(chat_suite(file.path, file.path.stem, len(file.rows), task), generator, told)
        finally:
            generator.close()
    _, predict = opened(name, task)
    said = predict(file, lambda _, done, total: told(int(done), int(total)))
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

    def predict(file: TaskFile, progress: Progress) -> list[Mapping[str, Any]]:
        said = placed(predictions(list(file.rows.values())), file.places)
        return list(reported(said, len(file.rows), partial(progress, name)))

    return known, predict


def _opened_to_write(name: str, task: WritingTask) -> Predict:
    writing = Writing.read(Path(name), task)
    if writing.task != task:
        raise ConfigError(f"'{name}' was tuned for the task {writing.task!r}, not {task!r}. Give `--task {writing.task}`, or another model.")
    check_plain(name)

    def predict(file: TaskFile, progress: Progress) -> list[Mapping[str, Any]]:
        found = reported(answers(name, writing, list(file.rows.values()), file.places), len(file.rows), partial(progress, name))
        return [{"target": answer.content} for answer in found]

    return predict


def _learnt(name: str, task: WritingTask) -> Conversation:
    return Writing.read(Path(name), task).conversation


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
