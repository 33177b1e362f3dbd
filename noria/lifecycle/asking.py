"""Folders that `noria tune` made for classify, tag or answer, opened to be asked: a model with a head, or past cases."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noria.data import Example
from noria.data.tag_schemes import Scheme
from noria.engine.heads import NAME, not_tuned, open_head
from noria.errors import ConfigError
from noria.lifecycle.measure import holds_cases, open_plain
from noria.lifecycle.untrained import CasesFile, Untrained
from noria.store.claim import begun

Predictions = Callable[[Sequence[Example]], Generator[dict[str, Any]]]
"""What is said of rows, in their order."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a folder can say."""

    task: str
    labels: Sequence[str] = ()
    several: bool = False
    scheme: Scheme | None = None
    says_none: bool = False
    """Whether it may say that no label fits."""


def open_folder(folder: Path, task: str) -> tuple[Known, Predictions]:
    """Raises ConfigError where it was made for another task, ArtifactError and ModelError where it cannot be read."""
    known, predictions = _cases(folder) if holds_cases(str(folder)) else _head(folder)
    if known.task != task:
        raise ConfigError(f"'{folder}' was tuned for the task {known.task!r}, not {task!r}. Give `--task {known.task}`, or another folder.")
    return known, predictions


def _head(folder: Path) -> tuple[Known, Predictions]:
    if not (folder / NAME).is_file() and not begun(folder):
        raise ConfigError(not_tuned(folder))
    opened = open_head(folder)
    told = opened.told

    def predictions(rows: Sequence[Example]) -> Generator[dict[str, Any]]:
        yield from (one.output for one in opened.predictions(rows))

    return Known(task=told.task, labels=told.labels, several=told.several, scheme=told.scheme, says_none=bool(told.threshold)), predictions


def _cases(folder: Path) -> tuple[Known, Predictions]:
    file = CasesFile.read(folder)

    def predictions(rows: Sequence[Example]) -> Generator[dict[str, Any]]:
        untrained = Untrained.open(folder, open_plain)
        try:
            yield from untrained.predictions(rows)
        finally:
            untrained.close()

    return Known(task=file.task, labels=file.labels, several=file.several, says_none=bool(file.threshold)), predictions
