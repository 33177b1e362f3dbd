"""The loop by itself: a number is learnt, on a clock that the steps move."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from noria.train.objective import Loss
from noria.train.run import MicroBatch, Progress, Run, RunConfig, Step


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Steps:
    """Each takes a second of the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def step(self, _number: int) -> Step:
        def loss(model: torch.nn.Linear, _items: Any) -> Loss:
            self.clock.now += 1
            return Loss(total=(model(torch.ones(1, 4)) - 1).square().sum())

        return Step(micro_batches=[MicroBatch(loss, None)], weight=1.0, num_tokens=1)


class Killed(BaseException):
    pass


def validated(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    planned: int = 100,
    first: int | None = None,
    kill_at: int | None = None,
    cost: Callable[[int], float] = lambda step: -step,
    patience: int | None = None,
) -> list[int]:
    """The steps at which a run of these steps, ten validations and a checkpoint at every step, was validated.

    Args:
        first: steps planned at first, before more were found to fit.
    """
    folder.mkdir(exist_ok=True)
    clock = Clock()
    monkeypatch.setattr("noria.train.run.time", clock)
    at: list[int] = []

    def validate() -> dict[str, float]:
        at.append(run.step)
        return {"loss": cost(run.step)}

    def on_progress(progress: Progress) -> None:
        if progress.step == kill_at:
            raise Killed

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    config = RunConfig(rate=lambda *_: 1.0, checkpoint_every=1, seconds=float(planned), validate=validate, num_validations=10, patience=patience)
    run = Run(model, model, Steps(clock), [torch.optim.SGD(model.parameters(), lr=1e-3)], config, folder)
    if run.resume() == 0:
        run.num_steps = first
    try:
        run.run(planned, on_progress)
    except Killed:
        at += validated(folder, monkeypatch, planned, first, None, cost, patience)
    return at


def test_validations_are_spread_over_the_run_and_the_last_is_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert validated(tmp_path, monkeypatch) == list(range(10, 101, 10))


def test_a_plan_that_is_raised_is_validated_as_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = validated(tmp_path, monkeypatch, first=40)
    assert len(at) == 10
    assert at[-1] == 100


@pytest.mark.parametrize("kill_at", [1, 30, 41, 99])
def test_a_killed_run_is_validated_at_the_same_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int) -> None:
    whole = validated(tmp_path / "whole", monkeypatch, first=40)
    killed = validated(tmp_path / "killed", monkeypatch, first=40, kill_at=kill_at)
    assert sorted(set(killed)) == whole
    assert len(killed) <= len(whole) + 1  # the one after which it was killed, before the checkpoint


@pytest.mark.parametrize("kill_at", [None, 55])
def test_patience_counts_validations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int | None) -> None:
    assert validated(tmp_path, monkeypatch, kill_at=kill_at, cost=lambda step: abs(step - 30), patience=3)[-1] == 60
