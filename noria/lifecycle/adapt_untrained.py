"""`noria tune --method prompting|retrieval`: task files in, a folder of cases out, scored on the evaluation file as trained models are."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

from noria.data import Example, Task
from noria.data.examples import WritingTask
from noria.data.language import mostly_chinese
from noria.data.task_checks import OUT_OF_SCOPE, TaskFile, first_list, names_of, question_of
from noria.errors import ConfigError, DataError
from noria.evaluate.suites import chat_suite
from noria.lifecycle.adapt_writing import NAME as WRITING
from noria.lifecycle.adapt_writing import Writing, answers_of
from noria.lifecycle.cases import CaseBook, question_text
from noria.lifecycle.measure import open_plain
from noria.lifecycle.race import asking_seconds
from noria.lifecycle.standing import Standing, reported, spread, standing_on_rows, standing_on_suite
from noria.lifecycle.untrained import NAME, CaseGenerator, CasesFile, Untrained, UntrainedConfig, or_none, placed
from noria.model import DEFAULT_BASE, resolve
from noria.model.registry import CHINESE_ENCODER, DEFAULT_ENCODER
from noria.store import check_claim, claim, finished, hardware, versions, write_file
from noria.train.checkpoint import given_up_on_failure
from noria.train.heads.scope import threshold_of
from noria.train.sentences import SentenceEncoder
from noria.train.task import DONE, SCRATCH, Report, Say, Tuned

NUMBERS = {"prompting": (0, 2, 4, 8), "retrieval": (1, 3, 5, 10, 20)}
"""Numbers of cases that are tried where none is set."""
ROWS_TO_CHOOSE, ROWS_TO_SCORE, FEWEST_ROWS = 40, 300, 8
"""Rows of the evaluation file that a model is asked; where nothing is generated, `ROWS_TO_LOOK_UP` instead."""
ROWS_TO_LOOK_UP = 5000
COMMAND = "noria tune"


def check_untrained(config: UntrainedConfig, task: str) -> None:
    """Raises ConfigError where the method cannot do the task."""
    writes = task in get_args(WritingTask)
    if task in ("score", "embed", "tag") or (task == "answer" and config.method == "retrieval"):
        raise ConfigError(f"`--method {config.method}` is not for the task {task!r}. Give another method.")
    if config.thought and (writes or config.method == "retrieval"):
        raise ConfigError("`thought` is for `--method prompting` of classify and answer. Leave it out.")
    if config.votes > 1 and config.method == "retrieval":
        raise ConfigError("`votes` is for `--method prompting`; what is retrieved votes by `num_examples`. Leave it out.")


def adapt_untrained(
    config: UntrainedConfig,
    task: Task,
    train: TaskFile,
    held_out: TaskFile,
    out: Path,
    base: str | None,
    request: Mapping[str, Any],
    report: Report,
    say: Say,
) -> Tuned:
    """Write the cases, with as many of them to be shown or to vote as do best on the evaluation file.

    Raises:
        ConfigError: a method that cannot do the task, or an `out` that was begun otherwise.
        DataError: no row can be gone by.
        ModelError, StoreError: see `noria.train.task.tune`.
    """
    check_untrained(config, task)
    told = finished(out, DONE, out / SCRATCH, request, "metrics")
    if told is not None:
        return Tuned(folder=out, metrics=told["metrics"])
    check_claim(out, out / SCRATCH, request, COMMAND)
    refuse_shares_of_one(config, train, held_out)
    began = time.monotonic()
    rows = list(train.rows.values())
    writing = Writing.of(cast(WritingTask, task), rows) if task in get_args(WritingTask) else None
    file = _file(config, task, train, base)
    encoder = SentenceEncoder(resolve(file.encoder))
    report("reading cases", 0, 1)
    book = CaseBook.of(rows if writing is None else map(writing.conversation, rows), encoder)
    report("reading cases", 1, 1)
    if encoder.num_cut:
        say(f"{encoder.num_cut:,} of {len(book.rows):,} cases have a text of more than {encoder.room} tokens; the rest of it is not compared.")
    untrained = Untrained(file, book, None if file.base is None else open_plain(file.base))
    with closing(untrained):
        claim(out, out / SCRATCH, request, COMMAND)
        with given_up_on_failure(out, out / SCRATCH):
            untrained.file = _with_best_number(config, untrained, writing, held_out, report)
            found, untrained.file = _standing(untrained, writing, held_out, _most(config, untrained.file, ROWS_TO_SCORE), report)
    metrics = {found.metric: found.score, "score": found.score, "num_scored": len(found.groups), "num_steps": 0}
    metrics |= {"num_examples": untrained.file.num_examples, "train_seconds": round(time.monotonic() - began, 1)}
    say(f"{len(book.rows):,} cases; {untrained.file.num_examples} of them for a question.")
    book.write(out)
    if writing is not None:
        write_file(out / WRITING, [writing.model_dump_json(indent=1) + "\n"])
    write_file(out / NAME, [untrained.file.model_dump_json(indent=1) + "\n"])
    told = {"request": request, "base": file.base, "metrics": metrics, "versions": versions(), "hardware": hardware()}
    write_file(out / DONE, [json.dumps(told, indent=2) + "\n"])
    finished(out, DONE, out / SCRATCH, request)
    return Tuned(folder=out, metrics=metrics)


def _file(config: UntrainedConfig, task: Task, train: TaskFile, base: str | None) -> CasesFile:
    rows = train.rows.values()
    chinese = mostly_chinese(map(question_of, rows))
    labels = sorted({name for row in rows for name in names_of(row)}) if task == "classify" else []
    if task == "classify" and not labels:
        raise DataError("No row has a label: there is nothing to go by. Give rows with labels.")
    return CasesFile(
        method=config.method,
        task=task,
        encoder=config.encoder or (CHINESE_ENCODER if chinese else DEFAULT_ENCODER),
        base=(base or DEFAULT_BASE) if config.method == "prompting" else None,
        thought=config.thought,
        votes=config.votes,
        labels=tuple(labels),
        several=first_list(train) is not None,
        chinese=chinese,
    )


def has_strangers(labels: Collection[str], held_out: TaskFile) -> bool:
    """Whether rows to choose by are `out_of_scope` and none of the labels is called so: a threshold is to tell them."""
    return bool(labels) and OUT_OF_SCOPE not in labels and any(OUT_OF_SCOPE in names_of(row) for row in held_out.rows.values())


def refuse_shares_of_one(config: UntrainedConfig, train: TaskFile, held_out: TaskFile) -> None:
    """Raises ConfigError where rows are `out_of_scope` and there is one vote, which always has all of the votes: no threshold tells them apart."""
    labels = {name for row in train.rows.values() for name in names_of(row)}
    one, name = (config.votes == 1, "votes") if config.method == "prompting" else (config.num_examples == 1, "num_examples")
    if one and has_strangers(labels, held_out):
        shares = f"`--method {config.method}` tells them by their share of the votes"
        raise ConfigError(f"'{held_out.path}' has rows labelled {OUT_OF_SCOPE!r}: {shares}. Set `{name}` to 3 or more, or remove these rows.")


def _with_best_number(config: UntrainedConfig, untrained: Untrained, writing: Writing | None, held_out: TaskFile, report: Report) -> CasesFile:
    """The file with the number of cases that was set, or else does best; of equals the smallest."""
    file = untrained.file
    if config.num_examples is not None:
        return file.model_copy(update={"num_examples": config.num_examples})
    if writing is not None and config.method == "retrieval":
        return file.model_copy(update={"num_examples": 1})
    found: dict[int, float] = {}
    if config.method == "retrieval":  # the texts are embedded once for all numbers
        rows, strangers = spread(held_out.rows, ROWS_TO_LOOK_UP), has_strangers(file.labels, held_out)
        near = untrained.book.nearest([question_text(row) for row in rows.values()], max(NUMBERS["retrieval"]))
        for number in NUMBERS["retrieval"][strangers:]:  # one case has all of the votes, whatever it is asked
            said = [untrained.voted(one[:number]) for one in near]
            found[number] = _with_threshold(file, rows, said, strangers)[0].score
    else:
        for number in NUMBERS["prompting"]:
            untrained.file = file.model_copy(update={"num_examples": number})
            found[number] = _standing(untrained, writing, held_out, _most(config, file, ROWS_TO_CHOOSE), report)[0].score
    best = max(found, key=lambda number: (found[number], -number))
    return file.model_copy(update={"num_examples": best})


def _most(config: UntrainedConfig, file: CasesFile, wanted: int) -> int:
    """Rows to ask: as many as are wanted, or fewer where the minutes are few; every number that is tried asks them, and the chosen one again."""
    if file.base is None:
        return ROWS_TO_LOOK_UP
    if config.minutes is None:
        return wanted
    times = 1 if config.num_examples is not None else len(NUMBERS["prompting"]) + 1
    each = asking_seconds(file.task, "prompting", 1, config.model_dump())
    return max(FEWEST_ROWS, min(wanted, int(60 * config.minutes / (times * each))))


def _standing(untrained: Untrained, writing: Writing | None, held_out: TaskFile, count: int, report: Report) -> tuple[Standing, CasesFile]:
    """What the cases are worth on rows spread over the evaluation file, and how they are made use of: with a threshold where there is to be one."""

    def told(done: int, total: int) -> None:
        report(f"asking (with {untrained.file.num_examples} cases)", done, total)

    file, asked = untrained.file, replace(held_out, rows=spread(held_out.rows, count))
    rows = list(asked.rows.values())
    if file.task in ("chat", "tools"):
        return standing_on_suite(chat_suite(held_out.path, held_out.path.stem, count, file.task), CaseGenerator(untrained), told), file
    if writing is None:
        said = list(reported(placed(untrained.predictions(rows), asked.places), len(rows), told))
        return _with_threshold(file, asked.rows, said, has_strangers(file.labels, held_out))
    answers = answers_of(CaseGenerator(untrained), writing, rows, asked.places)
    return standing_on_rows(file.task, asked.rows, ({"target": one.content} for one in reported(answers, len(rows), told))), file


def _with_threshold(file: CasesFile, rows: Mapping[int, Example], said: Sequence[dict[str, Any]], strangers: bool) -> tuple[Standing, CasesFile]:
    """What predictions without a threshold are worth with the best one, where there are rows that it is to tell."""
    if not strangers:
        return standing_on_rows(file.task, rows, said), file
    threshold = threshold_of([one["score"] for one in said], [OUT_OF_SCOPE in names_of(row) for row in rows.values()])
    told = [or_none(one, threshold) for one in said]
    return standing_on_rows(file.task, rows, told), file.model_copy(update={"threshold": threshold})
