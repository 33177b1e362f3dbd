"""How many steps fit in the time given: measured once, written down, and kept by every restart of the run."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noria.errors import ArtifactError
from noria.schema import Record
from noria.train.batches import Example
from noria.train.config import TuneConfig

NAME = "plan.json"
SHARE_FOR_STEPS = 0.97  # the rest is for checkpoints, and for steps slower than those measured


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Tokens a second: when a sequence is met for the first time, and afterwards, when its frozen part is known."""

    first: float
    later: float

    def tokens_within(self, seconds: float, tokens_per_epoch: int) -> float:
        """How many tokens can be learnt from in the time."""
        first_epoch = tokens_per_epoch / self.first
        return seconds * self.first if seconds <= first_epoch else tokens_per_epoch + (seconds - first_epoch) * self.later


class Plan(Record):
    """What a run will do. The schedule depends on `num_steps`, so a resumed run must not measure again; a checkpoint tells what became of it."""

    num_steps: int
    num_tokens_per_epoch: int
    tokens_per_second: float | None
    reason: str


def make_plan(folder: Path, config: TuneConfig, examples: Sequence[Example], num_batches: int, measure: Callable[[], Speed]) -> Plan:
    """The plan in `folder`, or a new one.

    Args:
        num_batches: steps of one epoch.
        measure: runs some training work without changing the model.
    """
    path = folder / NAME
    if path.is_file():
        try:
            return Plan.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"'{path}' is not a plan: {error}. Delete the folder to start over.") from error
    tokens = sum(e.num_tokens for e in examples)
    wanted = max(1, round(config.epochs * num_batches))
    plan = Plan(num_steps=wanted, num_tokens_per_epoch=tokens, tokens_per_second=None, reason=f"{config.epochs:g} epochs")
    if config.minutes is not None:
        begin = time.monotonic()
        speed = measure()
        left = config.minutes * 60 * SHARE_FOR_STEPS - (time.monotonic() - begin)
        fitting = max(1, int(speed.tokens_within(left, tokens) / (tokens / num_batches)))
        reason = f"{config.epochs:g} epochs" if wanted <= fitting else f"{config.minutes:g} minutes at {speed.later:.0f} tokens/s"
        plan = Plan(num_steps=min(wanted, fitting), num_tokens_per_epoch=tokens, tokens_per_second=round(speed.later, 1), reason=reason)
    write_json(path, plan.model_dump())
    return plan


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a small JSON file; it appears whole or not at all."""
    making = path.with_name(f".{path.name}.making")
    with making.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)
