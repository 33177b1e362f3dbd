"""The loop by itself: a number is learnt, on a clock that the steps move."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from noria.train.checkpoint import load_best
from noria.train.objective import Loss
from noria.train.run import MicroBatch, Progress, Run, RunConfig, Step


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Steps:
    """Take the seconds of the clock that `seconds` says of a step's number; a step of `jumps` has a loss a thousand times too large, once."""

    def __init__(self, clock: Clock, seconds: Callable[[int], float], jumps: int | None) -> None:
        self.clock, self.seconds, self.jumps = clock, seconds, jumps

    def step(self, number: int) -> Step:
        def loss(model: torch.nn.Linear, scale: float) -> Loss:
            self.clock.now += self.seconds(number)
            return Loss(total=(model(torch.ones(1, 4)) - 1).square().sum() * scale)

        return Step(micro_batches=[MicroBatch(loss, 1000.0 if number == self.jumps else 1.0)], weight=1.0, num_tokens=1)


class Killed(BaseException):
    pass


def evenly(_number: int) -> float:
    return 1.0


def slow_at_first(number: int) -> float:
    return 2.0 if number < 30 else 0.5


@dataclass
class Case:
    """A run in `folder` that has 100 seconds for as many steps and ten validations, with a checkpoint at every `checkpoint_every` steps."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    seconds: Callable[[int], float] = evenly
    cost: Callable[[float], float] = float.__neg__
    kill_at: int | None = None
    patience: int | None = None
    checkpoint_every: int = 1
    jumps: int | None = None
    first: int | None = None
    """Steps that were planned at first; None: 100."""

    def validated(self, goes_on: bool = True) -> list[int]:
        """The steps at which it was validated; a killed run goes on, or not."""
        self.folder.mkdir(exist_ok=True)
        clock = Clock()
        self.monkeypatch.setattr("noria.train.run.time", clock)
        at: list[int] = []

        def validate() -> dict[str, float]:
            at.append(run.step)
            return {"loss": self.cost(float(run.step))}

        def on_progress(progress: Progress) -> None:
            if progress.step == self.kill_at:
                raise Killed

        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        config = RunConfig(
            rate=lambda *_: 1.0,
            checkpoint_every=self.checkpoint_every,
            seconds=100.0,
            validate=validate,
            num_validations=10,
            patience=self.patience,
            spike=6.0 if self.jumps else None,
        )
        steps = Steps(clock, self.seconds, self.jumps)
        run = Run(model, model, steps, [torch.optim.SGD(model.parameters(), lr=1e-3)], config, self.folder)
        if run.resume() == 0:
            run.num_steps = self.first
        self.run = run
        try:
            run.run(100, on_progress)
        except Killed:
            return at + replace(self, kill_at=None).validated() if goes_on else at
        return at


def test_validations_are_spread_over_the_run_and_the_last_is_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Case(tmp_path, monkeypatch).validated() == list(range(10, 101, 10))


def test_a_plan_that_shrinks_is_validated_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each validation, too, takes longer on a machine that has become slower."""
    assert Case(tmp_path, monkeypatch, seconds=lambda _: 3.0).validated() == [10, 20, 30, 33]


def test_a_plan_that_grows_is_not_validated_more_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 steps were planned on a machine that was slow; all 100 fit after all, which is seen after six validations."""
    at = Case(tmp_path, monkeypatch, seconds=slow_at_first, first=50).validated()
    assert at[:6] == [5, 10, 15, 20, 25, 30]
    assert len(at) <= 10
    assert at[-1] == 100


def test_a_plan_is_not_raised_after_one_cheap_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first step of short texts, sixty times as fast as the rest, promised all 100; 20 are taken, which are still validated some ten times."""
    at = Case(tmp_path, monkeypatch, seconds=lambda number: 5.0 if number else 0.08, first=20).validated()
    assert len(at) in (9, 10)
    assert at[-1] <= 21


@pytest.mark.parametrize("kill_at", [1, 25, 30, 41, 60])
@pytest.mark.parametrize(("seconds", "first"), [(evenly, 60), (slow_at_first, 50), (lambda _: 3.0, None)])
def test_a_killed_run_is_validated_at_the_same_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int, seconds: Callable[[int], float], first: int | None
) -> None:
    whole = Case(tmp_path / "whole", monkeypatch, seconds=seconds, first=first).validated()
    killed = Case(tmp_path / "killed", monkeypatch, seconds=seconds, first=first, kill_at=kill_at).validated()
    assert sorted(set(killed)) == whole
    assert len(killed) <= len(whole) + 1  # the one after which it was killed, before the checkpoint


@pytest.mark.parametrize("kill_at", [None, 55])
def test_patience_counts_validations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int | None) -> None:
    assert Case(tmp_path, monkeypatch, kill_at=kill_at, cost=lambda step: abs(step - 30), patience=3).validated()[-1] == 60


def test_the_best_weights_stay_the_best_where_a_jump_leads_back_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation at 70 finds the best; the jump behind it leads back to 50, and nothing on the new way is as good."""
    costs = iter([9.0, 9.0, 9.0, 9.0, 5.0, 4.0, 1.0])
    case = Case(tmp_path, monkeypatch, cost=lambda _: next(costs, 3.0), jumps=72, checkpoint_every=50)
    at = case.validated()
    assert at[:8] == [10, 20, 30, 40, 50, 60, 70, 60]
    assert (case.run.watch.num_returns, case.run.best, case.run.best_at) == (1, 1.0, 70)
    best = load_best(tmp_path)
    assert best is not None
    assert best["step"] == 70


def test_a_checkpoint_of_an_earlier_release_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Case(tmp_path, monkeypatch, kill_at=45).validated(goes_on=False)
    [path] = tmp_path.glob("checkpoint-*.pt")
    state = torch.load(path, weights_only=False)
    torch.save({name: value for name, value in state.items() if name not in ("longest", "num_validated", "since_best")}, path)
    assert Case(tmp_path, monkeypatch).validated()[-1] == 100
