"""What a candidate learns from: the project's feedback, or a file of dialogues, as a dataset artifact split into training and evaluation.

In: the feedback log, or a chat file (or a folder with `train/chat.jsonl` and `evaluation/chat.jsonl`). Out: a `Dataset`. Rows of a file are split
by their `metadata.conversation`, else by their `id`, with the hash and share that feedback is split by; evaluation rows that training has
nearly seen are removed. Training rows without a system message get what the agent would add (`framing`); held-out ones get it when a
release is asked, each its own. Personal data are redacted by `[feedback] redact`, wherever the rows come from.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noria.data import (
    ChatExample,
    Item,
    NearDuplicates,
    conversation_of,
    example_key,
    read_chat,
    read_preferences,
    read_thumbs,
    split_by_group,
    write_task,
)
from noria.errors import DataError
from noria.evaluate.suites import Suite, chat_suite
from noria.feedback import FeedbackConfig, Redactor, export_artifact, read_report, task_path
from noria.feedback.export import REPORT
from noria.lifecycle.framing import Frame
from noria.lifecycle.releases import Records
from noria.store import Artifact, file_hash

_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {"chat": read_chat, "thumbs": read_thumbs, "preference": read_preferences}
TASKS = tuple(_READERS)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Training and held-out rows of one improvement."""

    artifact: Artifact

    @property
    def feedback_used(self) -> int:
        """Pieces of feedback behind it; of a file, its rows."""
        if (self.artifact.path / REPORT).is_file():
            return read_report(self.artifact.path).feedback_used
        return sum(self.artifact.manifest.metrics["rows"].values())

    @property
    def train_files(self) -> dict[str, Path]:
        """Task to its file of training rows, where there are any."""
        found = {task: task_path(self.artifact.path, "train", task) for task in TASKS}
        return {task: path for task, path in found.items() if path.is_file()}

    def heldout(self, max_items: int) -> Suite | None:
        """The held-out decisions, or None where none were held out."""
        path = task_path(self.artifact.path, "evaluation", "chat")
        return chat_suite(path, "heldout", max_items) if path.is_file() else None


def dataset_from_feedback(records: Records) -> Dataset:
    """All feedback so far. Raises DataError if there is nothing to learn from."""
    artifact, report = export_artifact(records.database, records.artifacts, records.project.section("feedback", FeedbackConfig))
    dataset = Dataset(artifact=artifact)
    if not dataset.train_files:
        raise DataError(
            f"There is nothing to learn from yet: {report.feedback_read} pieces of feedback gave no training example. Correct answers on the page, "
            "give thumbs, import some with `noria feedback import FILE`, or name dialogues with `noria improve --from FILE`."
        )
    return dataset


def dataset_from_file(records: Records, path: Path) -> Dataset:
    """Dialogues given as a chat file, or already split in a folder. Raises DataError."""
    if path.is_dir():
        return _from_folder(records, path)
    config = records.project.section("feedback", FeedbackConfig)
    frame = Frame.of_folder(records)

    def make(folder: Path) -> dict[str, Any]:
        redactor = Redactor(config)
        examples = [redactor.example(example) for example in read_chat(path)]
        items = [Item(key=i, groups=(conversation_of(example, str(i)),)) for i, example in enumerate(examples)]
        sides = split_by_group(items, config.evaluation_share, config.split_seed).sides
        train = [example for i, example in enumerate(examples) if sides[i] == "train"]
        if not train:
            raise DataError(f"'{path}' leaves no row for training with `evaluation_share` {config.evaluation_share:g}; give more rows.")
        heldout = _unseen(train, [example for i, example in enumerate(examples) if sides[i] == "evaluation"], config)
        return _write(folder, [frame.example(example) for example in train], heldout)

    given = {"feedback": config.model_dump(mode="json"), "from": path.name, "frame": frame.address}
    artifact = records.artifacts.build("dataset", {"file": file_hash_of(path)}, given, config.split_seed, make)
    return Dataset(artifact=artifact)


def _from_folder(records: Records, path: Path) -> Dataset:
    files = {f"{side}/{task}.jsonl": task_path(path, side, task) for side in ("train", "evaluation") for task in TASKS}
    files = {name: file for name, file in files.items() if file.is_file()}
    if "train/chat.jsonl" not in files:
        raise DataError(f"'{path}' has no `train/chat.jsonl`. Name a chat file, or a folder that `noria feedback export` wrote.")

    config = records.project.section("feedback", FeedbackConfig)
    frame = Frame.of_folder(records)

    def make(folder: Path) -> dict[str, Any]:
        redactor = Redactor(config)
        rows: dict[str, int] = {}
        for name, file in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            read = map(redactor.example, _READERS[file.stem](file))
            rows[name.removesuffix(".jsonl")] = write_task(folder / name, map(frame.example, read) if name.startswith("train/") else read)
        return {"rows": rows}

    inputs = {name: file_hash(file) for name, file in files.items()}
    artifact = records.artifacts.build(
        "dataset", inputs, {"feedback": config.model_dump(mode="json"), "from": path.name, "frame": frame.address}, 0, make
    )
    return Dataset(artifact=artifact)


def file_hash_of(path: Path) -> str:
    """Hash of a file that a user named. Raises DataError."""
    if not path.is_file():
        raise DataError(f"'{path}' does not exist. `--from` takes 'feedback', a chat file, or a folder that `noria feedback export` wrote.")
    return file_hash(path)


def _unseen(train: list[ChatExample], heldout: list[ChatExample], config: FeedbackConfig) -> list[ChatExample]:
    """Held-out rows that training has not nearly seen."""
    index = NearDuplicates(config.near_duplicate_similarity or 1.0)
    for number, example in enumerate(train):
        index.add(number, _text(example))
    seen = {example_key(example) for example in train}
    return [example for example in heldout if example_key(example) not in seen and not index.find(_text(example))]


def _text(example: ChatExample) -> str:
    return "\n".join(message.content for message in example.messages if message.role in ("user", "assistant"))


def _write(folder: Path, train: list[ChatExample], heldout: list[ChatExample]) -> dict[str, Any]:
    rows: dict[str, int] = {}
    for side, examples in (("train", train), ("evaluation", heldout)):
        if examples:
            (folder / side).mkdir(exist_ok=True)
            rows[f"{side}/chat"] = write_task(folder / side / "chat.jsonl", examples)
    return {"rows": rows}
