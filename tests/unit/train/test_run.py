"""The loop by itself: a number is learnt, on a clock that the steps move."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from noria.errors import ModelError
from noria.testing.swing import swing_run
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
    assert 95 <= case.run.seconds <= 100
    assert case.run.step < 90, "the time of the steps that were left counts"


def test_a_checkpoint_of_an_earlier_release_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Case(tmp_path, monkeypatch, kill_at=45).validated(goes_on=False)
    [path] = tmp_path.glob("checkpoint-*.pt")
    state = torch.load(path, weights_only=False)
    torch.save({name: value for name, value in state.items() if name not in ("longest", "num_validated", "since_best")}, path)
    assert Case(tmp_path, monkeypatch).validated()[-1] == 100


class OneSteepStep:
    """Learns a number; the loss of step 25 is 0, and its gradient infinite."""

    def step(self, number: int) -> Step:
        def loss(model: torch.nn.Linear, steep: bool) -> Loss:
            found = model(torch.ones(1, 4)).sum()
            return Loss(total=(found - found.detach()).sqrt() if steep else (found - 1).square())

        return Step(micro_batches=[MicroBatch(loss, number == 25)], weight=1.0, num_tokens=1)


def steep_run(folder: Path, spike: float | None) -> Run:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    config = RunConfig(rate=lambda *_: 1.0, checkpoint_every=10, spike=spike)
    return Run(model, model, OneSteepStep(), [torch.optim.SGD(model.parameters(), lr=1e-3)], config, folder)


def test_a_gradient_that_is_not_finite_leads_back_before_it_reaches_the_weights(tmp_path: Path) -> None:
    run = steep_run(tmp_path, spike=8.0)
    run.run(40)
    assert (run.step, run.skipped, run.watch.num_returns) == (40, 6, 1)
    assert all(p.isfinite().all() for p in run.parameters.values())


def test_where_nothing_is_watched_a_gradient_that_is_not_finite_is_one_sentence(tmp_path: Path) -> None:
    run = steep_run(tmp_path, spike=None)
    with pytest.raises(ModelError, match="The norm of the gradients is inf at step 26 with rate 0.001. Lower `learning_rate`"):
        run.run(40)
    assert all(p.isfinite().all() for p in run.parameters.values())


def test_measuring_changes_no_weight_where_a_gradient_is_not_finite(tmp_path: Path) -> None:
    run = steep_run(tmp_path, spike=8.0)
    before = copy.deepcopy(run.model.state_dict())
    run.measure(30, 100.0)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize("size", [1e-3, 0.5, 1.0, 7.0, 1e4])
def test_gradients_are_clipped_as_torch_does(tmp_path: Path, size: float) -> None:
    run = steep_run(tmp_path, spike=None)
    expected = copy.deepcopy(run.model)
    for number, (one, other) in enumerate(zip(run.model.parameters(), expected.parameters(), strict=True)):
        one.grad = torch.full_like(one, size / (number + 1) / 2)
        other.grad = one.grad.clone()
    norm = torch.nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
    assert run._clip() == float(norm)  # pyright: ignore[reportPrivateUsage]
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(run.model.parameters(), expected.parameters(), strict=True))


def best_weight(folder: Path) -> float:
    best = load_best(folder)
    assert best is not None
    return best["weights"]["weight"].item()


def test_the_mean_of_the_best_weights_is_the_best_where_it_costs_less(tmp_path: Path) -> None:
    """They swing around 1 and come nearer; the last three are the best."""
    run = swing_run(tmp_path, rate=0.95, num_best=3)
    run.run(10)
    last = [1 - (-0.9) ** step for step in (8, 9, 10)]
    assert best_weight(tmp_path) == pytest.approx(sum(last) / 3, abs=1e-6)
    assert (run.best_at, run.best) == (10, pytest.approx((sum(last) / 3 - 1) ** 2, abs=1e-6))
    assert run.model.weight.item() == pytest.approx(last[-1], abs=1e-6)
    assert sorted(p.name for p in tmp_path.glob("best*")) == ["best-000000008.pt", "best-000000009.pt", "best-000000010.pt", "best.pt"]


@pytest.mark.parametrize("num_best", [1, 3])
def test_the_best_stays_the_best_where_the_mean_costs_more(tmp_path: Path, num_best: int) -> None:
    """They come nearer from one side: the last is better than any mean."""
    swing_run(tmp_path, rate=0.1, num_best=num_best).run(10)
    assert best_weight(tmp_path) == pytest.approx(1 - 0.8**10, abs=1e-6)


@pytest.mark.parametrize("kill_at", range(1, 12))
@pytest.mark.parametrize("checkpoint_every", [1, 4])
def test_a_run_killed_while_it_validates_has_the_same_best(tmp_path: Path, kill_at: int, checkpoint_every: int) -> None:
    """The eleventh validation is that of the mean."""

    def killed(number: int) -> None:
        if number == kill_at:
            raise Killed

    whole = swing_run(tmp_path / "whole", rate=1.05, num_best=3, checkpoint_every=checkpoint_every)
    whole.run(10)
    with pytest.raises(Killed):
        swing_run(tmp_path / "cut", rate=1.05, num_best=3, checkpoint_every=checkpoint_every, on_validation=killed).run(10)
    again = swing_run(tmp_path / "cut", rate=1.05, num_best=3, checkpoint_every=checkpoint_every)
    again.resume()
    again.run(10)
    assert best_weight(tmp_path / "cut") == best_weight(tmp_path / "whole")
    assert (again.best, again.best_at, again.bests) == (whole.best, whole.best_at, whole.bests)
    assert sorted(p.name for p in (tmp_path / "cut").glob("best*")) == sorted(p.name for p in (tmp_path / "whole").glob("best*"))


def test_a_score_that_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    scores = iter([float("nan"), 2.0, float("nan")])
    run = swing_run(tmp_path, rate=0.1, num_best=1)
    run.config = replace(run.config, validate=lambda: {"loss": next(scores, 3.0)})
    run.run(10)
    assert (run.best, run.best_at) == (2.0, 2)
