"""One task file from several, each with its share of the rows: what instruction tuning on a mixture learns from.

In: task files of one task, with weights. Out: a task file in a shuffled order. The rows of a file are gone through whole before one of them stands
twice; unless more rows are asked for than there are, none does.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noria.data.examples import Example, Task
from noria.data.task_checks import TaskFile, read_file
from noria.data.tasks import write_task
from noria.errors import ConfigError

LEAST_WEIGHT = 1e-6
"""Sums and ratios of weights stay numbers."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file and how much it weighs beside the others."""

    path: Path
    weight: float

    @classmethod
    def parse(cls, text: str) -> "Part":
        """From `F=WEIGHT`; a file without a weight weighs 1. Raises ConfigError."""
        name, equals, told = text.rpartition("=")
        if not equals:
            return cls(path=Path(text), weight=1.0)
        try:
            weight = float(told)
        except ValueError:
            weight = math.nan
        if not (name and LEAST_WEIGHT <= weight <= 1 / LEAST_WEIGHT):
            raise ConfigError(f"{text!r} is no part of a mixture; write a file and a weight from a millionth to a million, as in 'rows.jsonl=0.5'.")
        return cls(path=Path(name), weight=weight)


def mix(parts: Sequence[Part], task: Task, out: Path, num_rows: int | None, seed: int) -> list[dict[str, Any]]:
    """Write the mixture; returns of every part its file, its rows, and how many of the mixture's are from it.

    Args:
        num_rows: of the mixture; None: as many as there can be with no row twice.

    Raises:
        ConfigError: a part given twice, or `out` among the parts.
        DataError: a file breaks its format.
        StoreError: the disk refuses.
    """
    places = [part.path.resolve() for part in parts]
    again = next((part.path for index, part in enumerate(parts) if places[index] in places[:index]), None)
    if again is not None:
        raise ConfigError(f"'{again}' is given twice; give it once, with a larger weight.")
    if out.resolve() in places:
        raise ConfigError(f"`--out` is '{out}', which is part of the mixture. Name another file.")
    files = [read_file(part.path, task) for part in parts]
    whole = sum(part.weight for part in parts)
    if num_rows is None:
        num_rows = max(1, math.floor(min(len(file.rows) * whole / part.weight for file, part in zip(files, parts, strict=True)) + 1e-9))
    counts = _shared(num_rows, [part.weight / whole for part in parts])
    choice = random.Random(seed)
    rows = [row for file, count in zip(files, counts, strict=True) for row in _drawn(file, count, choice)]
    choice.shuffle(rows)
    write_task(out, rows)
    return [{"file": str(f.path), "weight": p.weight, "rows": len(f.rows), "taken": c} for f, p, c in zip(files, parts, counts, strict=True)]


def _shared(num: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers with the sum `num`, each as near to its share as can be (largest remainders)."""
    exact = [num * share for share in shares]
    counts = [math.floor(value + 1e-9) for value in exact]
    for index in sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])[: num - sum(counts)]:
        counts[index] += 1
    return counts


def _drawn(file: TaskFile, count: int, choice: random.Random) -> list[Example]:
    rows = list(file.rows.values())
    passes, rest = divmod(count, len(rows))
    return rows * passes + choice.sample(rows, rest)
