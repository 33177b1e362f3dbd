"""`noria tune` and `noria predict` for models that write: chat, tools, summarize, rewrite.

In: task files and a decoder. Every such task is learnt as a conversation: a text becomes the user's message behind an instruction, its target the
answer. Out: a Hugging Face folder (with `model.gguf` where a GGUF file can say what it is), `writing.json` with the instruction, and, written last,
`tuned.json`.
"""

import json
import shutil
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ValidationError

from noria.align import finetune
from noria.align.finetune import MAX_HELD_OUT_TOKENS, check_base, short_enough
from noria.data import ChatExample, Example, TextPairExample, write_task
from noria.data.examples import WritingTask
from noria.data.language import mostly_chinese
from noria.data.task_checks import TaskFile, check_asked, question_of
from noria.data.tasks import first_fault, numbered_rows, read_objects
from noria.errors import ArtifactError, ConfigError, ContextOverflowError, DataError, ModelError
from noria.evaluate.lengths import too_long
from noria.lifecycle.measure import open_plain
from noria.lifecycle.predictions import keep_predictions
from noria.model import BaseModel, Renderer, load_tokenizer
from noria.model.export import export_gguf, has_gguf
from noria.model.precision import dtype_of
from noria.model.registry import GGUF_NAME
from noria.schema import GenerationRequest, Message, Record
from noria.schema import Generator as TextGenerator
from noria.store import claim, finished, hardware, versions, write_file
from noria.store.files import copy_folder, disk_errors
from noria.train import Progress, TuneConfig, encode_chat
from noria.train.checkpoint import given_up_on_failure
from noria.train.curve import draw
from noria.train.methods import chosen
from noria.train.task import DONE, SCRATCH, Report, Say, Tuned, Watch, nothing

NAME = "writing.json"
INSTRUCTIONS = {
    ("summarize", "en"): "Summarize this text.",
    ("summarize", "zh"): "请概括下面的文字。",
    ("rewrite", "en"): "Rewrite this text.",
    ("rewrite", "zh"): "请改写下面的文字。",
}
MAX_ANSWER_TOKENS = 512
CONCURRENCY = 16
"""Rows that a model is asked at once."""


class Writing(Record):
    """What a prediction needs beside the model."""

    task: WritingTask
    instruction: str | None = None

    @classmethod
    def of(cls, task: WritingTask, rows: Sequence[Example]) -> "Writing":
        language = "zh" if mostly_chinese(map(question_of, rows)) else "en"
        return cls(task=task, instruction=INSTRUCTIONS.get((task, language)))

    @classmethod
    def read(cls, folder: Path, task: WritingTask) -> "Writing":
        """What a folder was tuned for; of a folder that was not, the task without an instruction of its own. Raises ArtifactError."""
        if not (folder / NAME).is_file():
            return cls(task=task, instruction=INSTRUCTIONS.get((task, "en")))
        try:
            return cls.model_validate_json((folder / NAME).read_bytes())
        except (OSError, ValueError) as error:
            raise ArtifactError(f"'{folder / NAME}' cannot be read ({error!s:.200}). Tune again.") from error

    def asked(self, row: Example) -> tuple[Message, ...]:
        """What the model is asked for a row: a conversation up to its last answer."""
        if isinstance(row, TextPairExample):
            return (Message(role="user", content=f"{self.instruction}\n\n{row.text}"),)
        messages = cast(ChatExample, row).messages
        return messages[:-1] if messages[-1].role == "assistant" else messages

    def conversation(self, row: Example) -> ChatExample:
        """What is learnt of a row."""
        if isinstance(row, ChatExample):
            return row
        target = Message(role="assistant", content=cast(TextPairExample, row).target or "")
        return ChatExample(messages=(*self.asked(row), target), train=(False, True))


def adapt_writing(
    config: TuneConfig,
    task: WritingTask,
    train: TaskFile,
    held_out: TaskFile,
    model: BaseModel,
    out: Path,
    request: dict[str, Any],
    report: Report,
    say: Say,
    watch: Watch = nothing,
) -> Tuned:
    """Tune a decoder on the rows of `train`; the weights with the lowest loss on `held_out` are kept.

    Args:
        request: what `out` is made for, as `noria.store.claim` takes it.
        watch: told of each validation the loss, as a score.

    Raises:
        ConfigError, DataError, ModelError, StoreError: see `noria.train.loop.train`.
    """
    scratch = out / SCRATCH
    if told := finished(out, DONE, scratch, request, "metrics"):
        return Tuned(folder=out, metrics=told["metrics"])
    writing = check_writing(config, task, train, held_out, model, say)
    claim(out, scratch, request, "noria tune")
    precision = str(dtype_of(config.precision, torch.get_default_device())).removeprefix("torch.")
    told = {"learning_rate": config.peak_rate, "batch_tokens": config.batch_tokens, "max_tokens": config.max_tokens, "precision": precision}
    say(chosen(model.name, config.method, told))

    found: dict[str, float] = {}

    def on_progress(progress: Progress) -> None:
        report(f"tuning (loss {progress.loss:.3f})", progress.step, progress.num_steps)
        if progress.validation != found:
            found.update(progress.validation)
            watch(progress.step * config.num_validations // progress.num_steps, -found["loss"])

    with given_up_on_failure(out, scratch):
        for side, file in (("train", train), ("held_out", held_out)):
            (scratch / side).mkdir(exist_ok=True)
            write_task(scratch / side / "chat.jsonl", map(writing.conversation, file.rows.values()))
        metrics = finetune(config, scratch / "train", model, scratch, on_progress=on_progress, held_out=scratch / "held_out")
    say(f"{metrics['num_examples']:,} rows to learn from: {metrics['num_steps']:,} steps, {metrics['epochs']:.3g} epochs.")
    _write(out, model, writing, request, metrics)
    return Tuned(folder=out, metrics=metrics)


def check_writing(config: TuneConfig, task: WritingTask, train: TaskFile, held_out: TaskFile, model: BaseModel, say: Say) -> Writing:
    """What is asked of the model; tells of rows that are left out. Raises ConfigError, DataError, ModelError for what cannot be tuned."""
    check_base(config, task, model)
    writing = Writing.of(task, list(train.rows.values()))
    _say_left_out(config, model, writing, train, held_out, say)
    return writing


def _say_left_out(config: TuneConfig, base: BaseModel, writing: Writing, train: TaskFile, held_out: TaskFile, say: Say) -> None:
    """Tell of rows that are too long to be learnt, or that do not choose. Raises DataError where none is left."""
    renderer = Renderer(load_tokenizer(base.path))
    for file in (train, held_out):
        rows = {line: writing.conversation(row) for line, row in file.rows.items()}
        encoded = {line: encode_chat(renderer, row.messages, row.tools, row.train) for line, row in rows.items()}
        long = [line for line, example in encoded.items() if example.num_tokens > config.max_tokens]
        if len(long) == len(rows):
            raise DataError(f"All {len(rows)} rows of '{file.path}' are longer than `max_tokens` = {config.max_tokens}. Raise it, or shorten them.")
        if long:
            say(
                f"{len(long)} of {len(rows)} rows of '{file.path}' are longer than `max_tokens` = {config.max_tokens} tokens (line {long[0]} first); "
                "they are left out."
            )
        behind = len(rows) - len(long) - len(short_enough(list(encoded.values()), config))
        if file is held_out and behind:
            say(f"{behind} of {len(rows)} rows of '{file.path}' choose nothing: they stand behind the first {MAX_HELD_OUT_TOKENS:,} tokens.")


def _write(out: Path, base: BaseModel, writing: Writing, request: dict[str, Any], metrics: dict[str, Any]) -> None:
    scratch = out / SCRATCH
    with disk_errors(out):
        if base.gguf is not None or has_gguf(replace(base, path=scratch / "model")):
            export_gguf(scratch / "model", base.gguf, out / GGUF_NAME)
        copy_folder(scratch / "model", out)
        if (scratch / "adapter").exists():
            copy_folder(scratch / "adapter", out / "adapter")
        shutil.copyfile(scratch / "curve.jsonl", out / "curve.jsonl")
        draw(out / "curve.jsonl", out)
        write_file(out / NAME, [writing.model_dump_json(indent=1) + "\n"])
        told = {"request": request, "base": base.name, "metrics": metrics, "versions": versions(), "hardware": hardware()}
        write_file(out / DONE, [json.dumps(told, indent=2) + "\n"])
        shutil.rmtree(scratch)


def predict_writing(model: str, task: WritingTask, data: Path, out: Path, report: Report) -> int:
    """Write what a model answers to each row of `data`, one object a line in their order; returns how many.

    Args:
        model: a tuned folder, or any decoder that `[model] base` can name, or the URL of a server.

    Raises:
        ConfigError: the folder was tuned for another task.
        DataError: `data` breaks its format.
    """
    writing = Writing.read(Path(model), task)
    if writing.task != task and {writing.task, task} != {"chat", "tools"}:
        raise ConfigError(f"'{model}' was tuned for the task {writing.task!r}, not {task!r}. Give `--task {writing.task}`, or another folder.")
    file = TaskFile(path=data, rows=_questions(data) if task in ("chat", "tools") else dict(numbered_rows(data, task)))
    check_asked(file, task)
    rows = list(file.rows.values())

    def predict(start: int) -> Generator[dict[str, Any]]:
        said = answers(model, writing, rows[start:], file.places[start:])
        return ({"message": one.to_openai()} if task in ("chat", "tools") else {"target": one.content} for one in said)

    keep_predictions(model, task, rows, predict, out, report)
    return len(rows)


def answers(model: str, writing: Writing, rows: Sequence[Example], places: Sequence[str]) -> Generator[Message]:
    """The answers of a model to rows, as `answers_of`."""
    generator = open_plain(model)
    try:
        yield from answers_of(generator, writing, rows, places)
    finally:
        generator.close()


def answers_of(generator: TextGenerator, writing: Writing, rows: Sequence[Example], places: Sequence[str]) -> Generator[Message]:
    """The answers to rows, in their order; greedy. Raises ModelError and DataError with the row's place."""

    def answer(row: Example, place: str) -> Message:
        try:
            return generator.generate(_request(writing, row)).message
        except ContextOverflowError as error:
            raise too_long(place, error) from error
        except (ModelError, DataError) as error:
            raise type(error)(f"{place}: {error}") from error

    pool = ThreadPoolExecutor(CONCURRENCY)
    try:
        yield from pool.map(answer, rows, places)
    finally:
        pool.shutdown(cancel_futures=True)


def _request(writing: Writing, row: Example) -> GenerationRequest:
    tools = row.tools if isinstance(row, ChatExample) else ()
    return GenerationRequest(messages=writing.asked(row), tools=tools, max_tokens=MAX_ANSWER_TOKENS)


def _questions(data: Path) -> dict[int, Example]:
    """Conversations to be answered, by their lines; those that end with the user's message are allowed here. Raises DataError."""
    rows: dict[int, Example] = {}
    for line, told in read_objects(data):
        try:
            rows[line] = ChatExample.model_validate(_with_answer(told))
        except ValidationError as error:
            raise DataError(f"'{data}' line {line}: {first_fault(error, ChatExample)}") from error
    return rows


def _with_answer(told: Mapping[str, Any]) -> dict[str, Any]:
    """A conversation that ends with an answer, empty where it has none; which messages are learnt is nothing to a prediction."""
    row = {name: value for name, value in told.items() if name != "train"}
    messages = row.get("messages")
    if not isinstance(messages, list):
        return row
    plain = [{k: v for k, v in one.items() if k != "train"} if isinstance(one, dict) else one for one in messages]
    ends = bool(plain) and isinstance(plain[-1], dict) and plain[-1].get("role") == "assistant"
    return {**row, "messages": plain if ends or not plain else [*plain, {"role": "assistant", "content": ""}]}
