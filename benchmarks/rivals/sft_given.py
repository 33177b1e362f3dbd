"""What the compared trainers share: the given token ids, the held-out loss, and the line of figures. Imports nothing but torch."""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

LORA = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}
RATES = {"lora": 1e-3, "full": 2e-4}
WARM_UP = 6000
"""Tokens of the first steps, which are told of apart: kernels are chosen, memory is touched for the first time, and code is compiled in them."""


class Clock:
    """Tokens a second of the steps behind the first ones."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, int]] = []
        self.begin()

    def begin(self) -> None:
        """Training begins now, and not when this was made."""
        self.began = time.monotonic()

    def step(self, tokens: int) -> None:
        """A step has ended; so many tokens without padding were learnt from until now."""
        self.marks.append((time.monotonic(), tokens))

    def figures(self) -> dict[str, float]:
        (warm, before), (end, tokens) = next(mark for mark in self.marks if mark[1] >= WARM_UP), self.marks[-1]
        return {"tokens_per_second": (tokens - before) / (end - warm), "first_steps_seconds": warm - self.began}


def parser(**choices: Sequence[str]) -> argparse.ArgumentParser:
    """`--given`, `--scratch` and `--method`, and an option for each of `choices`."""
    made = argparse.ArgumentParser()
    made.add_argument("--given", type=Path, required=True)
    made.add_argument("--scratch", type=Path, required=True)
    made.add_argument("--method", choices=["full", "lora"], required=True)
    for name, values in choices.items():
        made.add_argument(f"--{name}", choices=values, required=True)
    return made


def read(path: Path) -> dict[str, Any]:
    """`model`, and rows of `input_ids` and `labels` to learn from (`train`) and to judge by (`held_out`)."""
    return json.loads(path.read_text())


def peak_gigabytes() -> float:
    """The most memory that this process has held. (`ru_maxrss` will not do on Linux: it begins with what the parent held when it started this.)"""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30  # macOS counts bytes
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:")) / 2**20


@torch.no_grad()
def held_out_loss(model: Any, rows: Sequence[dict[str, list[int]]]) -> float:
    """Mean negative log-likelihood of the tokens that have labels."""
    model.eval()
    total = count = 0.0
    for row in rows:
        labels = torch.tensor([row["labels"]])
        found = int((labels[:, 1:] != -100).sum())
        total += model(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss.item() * found
        count += found
    return total / count


def tell(clock: Clock, gigabytes: float, loss: float) -> None:
    """Print the figures as the last line."""
    print(json.dumps({**clock.figures(), "held_out_loss": loss, "gigabytes": gigabytes}))
