"""`noria tune` and `noria predict` for models that write: chat, tools, summarize, rewrite.

In: task files and a decoder. Every such task is learnt as a conversation: a text becomes the user's message behind an instruction, its target the
answer. Out: a Hugging Face folder (with `model.gguf` where the base is a GGUF file), `writing.json` with the instruction, and, written last,
`tuned.json`.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, cast

from noria.align import finetune
from noria.data import ChatExample, Example, TextPairExample, write_task
from noria.data.task_checks import TaskFile
from noria.data.tasks import read_objects, read_task
from noria.errors import ArtifactError, ConfigError, DataError
from noria.lifecycle.measure import open_plain
from noria.model import BaseModel, resolve
from noria.model.export import export_gguf
from noria.model.registry import DEFAULT_BASE, GGUF_NAME
from noria.schema import GenerationRequest, Message, Record
from noria.store import claim, hardware, read_told, refuse_other, sizes, versions, write_file
from noria.store.files import disk_errors
from noria.train import Progress, TuneConfig
from noria.train.curve import draw
from noria.train.task import DONE, SCRATCH, Report, Say, Tuned

WritingTask = Literal["chat", "tools", "summarize", "rewrite"]
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
    def of(cls, task: WritingTask, rows: Iterable[Example]) -> "Writing":
        texts = [row.text for row in rows if isinstance(row, TextPairExample)]
        language = "zh" if sum(_is_chinese(text) for text in texts) * 2 > len(texts) else "en"
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
    rows: Sequence[Example],
    out: Path,
    base: str | None,
    report: Report,
    say: Say,
) -> Tuned:
    """Tune a decoder on `rows`, those of `train` that are to be learnt; the weights with the lowest loss on `held_out` are kept.

    Raises:
        ConfigError, DataError, ModelError, StoreError: see `noria.train.loop.train`.
    """
    model = resolve(base or DEFAULT_BASE)
    settings = {**config.model_dump(mode="json"), "--task": task, "--base": str(model.path)}
    request = {"settings": settings, "files": sizes((train.path, held_out.path))}
    if (out / DONE).is_file():
        told = read_told(out / DONE, "request", "metrics")
        refuse_other(out, told["request"], request)
        return Tuned(folder=out, metrics=told["metrics"])
    scratch = out / SCRATCH
    claim(out, scratch, request, "noria tune")
    writing = Writing.of(task, rows)
    for side, kept in (("train", rows), ("held_out", list(held_out.rows.values()))):
        (scratch / side).mkdir(exist_ok=True)
        write_task(scratch / side / "chat.jsonl", map(writing.conversation, kept))

    def on_progress(progress: Progress) -> None:
        report(f"tuning (loss {progress.loss:.3f})", progress.step, progress.num_steps)

    metrics = finetune(config, scratch / "train", model, scratch, on_progress=on_progress, held_out=scratch / "held_out")
    say(f"{len(rows):,} rows to learn from: {metrics['num_steps']:,} steps, {metrics['epochs']:.3g} epochs.")
    _write(out, model, writing, request, metrics)
    return Tuned(folder=out, metrics=metrics)


def _write(out: Path, base: BaseModel, writing: Writing, request: dict[str, Any], metrics: dict[str, Any]) -> None:
    scratch = out / SCRATCH
    with disk_errors(out):
        if base.gguf is not None:
            export_gguf(scratch / "model", base.gguf, out / GGUF_NAME)
        for made in (*(scratch / "model").iterdir(), *(path for path in (scratch / "adapter", scratch / "curve.jsonl") if path.exists())):
            shutil.copytree(made, out / made.name, dirs_exist_ok=True) if made.is_dir() else shutil.copyfile(made, out / made.name)
        draw(out / "curve.jsonl", out)
        write_file(out / NAME, [writing.model_dump_json(indent=1) + "\n"])
        told = {"request": request, "base": base.name, "metrics": metrics, "versions": versions(), "hardware": hardware()}
        write_file(out / DONE, [json.dumps(told, indent=2, ensure_ascii=False) + "\n"])
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
    rows = _questions(data) if task in ("chat", "tools") else list(read_task(data, task))
    answers = written(model, writing, rows, report)
    field = "message" if task in ("chat", "tools") else "target"
    said = [answer.to_openai() if field == "message" else answer.content for answer in answers]
    write_file(out, (json.dumps({field: one}, ensure_ascii=False) + "\n" for one in said))
    return len(rows)


def written(model: str, writing: Writing, rows: Sequence[Example], report: Report) -> list[Message]:
    """The answers of a model to rows, in their order; greedy."""
    generator = open_plain(model)
    try:
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            answers: list[Message] = []
            for answer in pool.map(lambda row: generator.generate(_request(writing, row)).message, rows):
                answers.append(answer)
                report("predicting", len(answers), len(rows))
            return answers
    finally:
        generator.close()


def _request(writing: Writing, row: Example) -> GenerationRequest:
    tools = row.tools if isinstance(row, ChatExample) else ()
    return GenerationRequest(messages=writing.asked(row), tools=tools, max_tokens=MAX_ANSWER_TOKENS)


def _questions(data: Path) -> list[Example]:
    """Conversations to be answered; those that end with the user's message are allowed here. Raises DataError."""
    answer = {"role": "assistant", "content": ""}
    rows: list[Example] = []
    for line, told in read_objects(data):
        messages = told.get("messages")
        ends = isinstance(messages, list) and messages and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant"
        try:
            rows.append(ChatExample.model_validate({**told, "messages": messages if ends or not isinstance(messages, list) else [*messages, answer]}))
        except ValueError as error:
            raise DataError(f"'{data}' line {line}: {error!s:.300}") from error
    return rows


def _is_chinese(text: str) -> bool:
    return sum("一" <= char <= "鿿" for char in text) * 4 > len(text)
