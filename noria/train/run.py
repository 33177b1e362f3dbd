"""The loop every stage trains with: steps, the update, checkpoints, validation, what becomes of a loss that jumps.

In: a model whose weights that learn require gradients, where its steps come from (`Steps`), optimizers, a folder. Out: the model changed in place
and, in the folder, the curve and the checkpoints. A run that was killed goes on from its last checkpoint and ends with the same weights as one
that was not (on one machine, with an equal number of threads, and where its time did not shorten it): a step depends on its number and the seed
alone, never on what was drawn before. Several processes share a step by its micro-batches (`noria.train.processes`).
"""

import contextlib
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from noria.errors import ModelError
from noria.store import write_file
from noria.train import checkpoint
from noria.train.objective import Loss
from noria.train.processes import Processes
from noria.train.sharding import let_go, placed, placed_state, whole
from noria.train.spike import SpikeWatch

CURVE = "curve.jsonl"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Told after every step."""

    step: int
    num_steps: int
    loss: float
    tokens: int
    tokens_per_second: float
    seconds_left: float
    validation: Mapping[str, float] = field(default_factory=dict[str, float])
    """What the last validation found; empty before the first."""


@dataclass(frozen=True)
class MicroBatch:
    """What goes through the model at once: called with the model it gives the summed loss."""

    loss: Callable[[Any, Any], Loss]
    items: Any

    def __call__(self, model: Any) -> Loss:
        return self.loss(model, self.items)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one update learns from.

    `micro_batches` are computed one after the other: each gives a summed loss, and `weight` is what the sum over all of them is divided by, so that
    accumulated gradients equal those of one big batch.
    """

    micro_batches: Sequence[MicroBatch]
    weight: float
    num_tokens: int


class Steps(Protocol):
    """Where steps come from. The same number gives the same step, whatever was asked for before."""

    def step(self, number: int, /) -> Step: ...


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How steps become weights."""

    rate: Callable[[int, int], float]
    """Share of each optimizer's own rate at (step, of how many)."""
    max_grad_norm: float = 1.0
    precision: torch.dtype = torch.float32
    """Precision of the matrix products."""
    seed: int = 0
    checkpoint_seconds: float = 120.0
    """Time between checkpoints, where `checkpoint_every` does not say it in steps."""
    checkpoint_every: int | None = None
    """Steps between checkpoints. A run that may go back to one needs it: where it goes back to must not depend on the clock."""
    seconds: float | None = None
    """Time for the steps. A machine that becomes slower than when they were planned gets fewer of them."""
    then: float = 0.0
    """Seconds of what follows the steps, at the speed they were planned with: a slower machine needs more for that, too."""
    num_checkpoints: int = 1
    """How many of the last checkpoints stay."""
    validate: Callable[[], Mapping[str, float]] | None = None
    """Scores the model as it is."""
    cost: Callable[[Mapping[str, float]], float] = lambda found: found["loss"]
    """Of what a validation found; the weights with the lowest are the best."""
    num_best: int = 1
    """How many of the best weights are kept. Of several the mean is validated after the last step, and is the best where it costs less than each."""
    num_validations: int = 0
    """How often that is done, at like distances and at the end. A plan that grows moves what is left of them, one that shrinks has fewer."""
    average: float | None = None
    """Memory of the exponential average of the weights (Polyak and Juditsky 1992) that is validated and kept as the best; None: the weights."""
    patience: int | None = None
    """Validations without a better one after which the run ends; None: it takes all its steps."""
    spike: float | None = None
    """A loss this many standard deviations above its running mean is a spike: the last checkpoint is taken up again and the steps after it are
    left out. So is a loss, or a norm of the gradients, that is not finite. None: nothing is watched, and what is not finite ends the run."""


class Run:
    """State of a run: what a checkpoint holds, and how a step changes it."""

    def __init__(
        self,
        model: torch.nn.Module,
        called: Any,
        steps: Steps,
        optimizers: Sequence[torch.optim.Optimizer],
        config: RunConfig,
        folder: Path,
        processes: Processes | None = None,
    ) -> None:
        self.model = model
        self.called = called
        """What a step's losses are computed with: the model, or a part of it."""
        self.source = steps
        self.config = config
        self.folder = folder
        self.processes = processes or Processes()
        self.parameters = checkpoint.trainable(model)
        self.optimizers = list(optimizers)
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.step = 0
        self.num_steps: int | None = None
        """As planned, or fewer where the machine has become slower since."""
        self.tokens = 0
        self.seconds = 0.0
        self.first_seconds = 0.0
        """What the first step of this process took: with compilation, where there is any."""
        self.skipped = 0
        """Steps left out after spikes; they still count in the number by which a step is asked for."""
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.best: float | None = None
        self.best_at = 0
        self.bests: list[tuple[float, int]] = []
        """What the best weights cost and their steps, the best first."""
        self.longest = 0
        """The most steps that were planned so far."""
        self.num_validated = self.since_best = 0
        """Parts of the run behind which it was validated, and validations since the best."""
        self.validation: dict[str, float] = {}
        self.watch = SpikeWatch(config.spike)
        self.averages = None if config.average is None else {name: p.detach().clone() for name, p in self.parameters.items()}
        self._looked = 0, 0.0, 0.0
        """Tokens and seconds when it was last looked whether the time holds, and the seconds a token that were seen then."""
        self.kept: dict[str, Any] = {}
        """What the stage wants to find again after a restart."""
        device = next(iter(self.parameters.values())).device
        products = config.precision
        self.autocast = torch.autocast(device.type, dtype=products) if products != torch.float32 else contextlib.nullcontext()

    def run(self, planned: int, on_progress: Callable[[Progress], None] | None = None) -> None:
        """Take the steps that are left of the plan. Raises ModelError when the loss or a gradient is not a number."""
        self.model.train()
        saved = time.monotonic()
        num_steps = self.num_steps = self.num_steps or planned
        while self.step < num_steps:
            begin = time.monotonic()
            point = self._step(num_steps)
            took = time.monotonic() - begin
            self.seconds += took
            self.first_seconds = self.first_seconds or took
            if point is None:
                self._back_to_the_last_checkpoint()
                continue
            if self.step % max(1, num_steps // REVIEWS) == 0:
                num_steps = self.num_steps = self._within_the_time(planned)
            point |= self._validated(num_steps)
            if self._is_past_its_best():
                num_steps = self.num_steps = self.step
            if self.processes.first:
                with (self.folder / CURVE).open("a", encoding="utf-8") as curve:
                    curve.write(json.dumps(point) + "\n")
            if on_progress:
                on_progress(self._progress(num_steps))
            if self._is_due(saved) or self.step == num_steps:
                self.save()
                saved = time.monotonic()
        if self.config.num_best > 1 and self.bests:
            self._choose_the_best()

    def measure(self, max_steps: int, seconds: float) -> tuple[int, int, float]:
        """Take steps at rate 0, so that no weight changes: how many, their tokens and seconds. The first warms caches and is not counted.

        Args:
            seconds: time after which no further step is taken; at least one is.
        """
        self.model.train()
        self._measured_step(0)
        begin, tokens, number = time.monotonic(), 0, 0
        while number < max_steps and (number == 0 or self.processes.agreed(time.monotonic() - begin) < seconds):
            number += 1
            tokens += self._measured_step(number)
        for optimizer in self.optimizers:
            optimizer.state.clear()
        seconds = time.monotonic() - begin
        self.kept["seconds_a_token"] = seconds / tokens
        return number, tokens, seconds

    def _measured_step(self, number: int) -> int:
        """A step at rate 0: its tokens. A gradient that is not finite is left out: times 0 it is not a number, either."""
        step = self.source.step(number)
        self._gradients(step, number)
        if math.isfinite(self._clip()):
            self._update(0.0)
        self._zero()
        return step.num_tokens

    def save(self) -> None:
        """Write a checkpoint; of several processes the first one does."""
        state = whole(self._state(), self.processes.first)
        if self.processes.first:
            checkpoint.save(self.folder, self.step, state, self.config.num_checkpoints)
            # Only now: a run that goes on from the checkpoint before needs those which were the best then.
            checkpoint.drop_bests(self.folder, [self._best_name(step) for _, step in self.bests])

    def resume(self) -> int:
        """Take up the last checkpoint that can be read; returns its step, 0 without one."""
        self.processes.wait()
        state = checkpoint.load(self.folder)
        if state is not None:
            self._restore(state)
        if self.processes.first:
            _cut_curve(self.folder / CURVE, self.step)
        return self.step

    def _state(self) -> dict[str, Any]:
        position = {k: getattr(self, k) for k in _POSITION}
        weights = {name: p.detach() for name, p in self.parameters.items()}
        # After the last step no moments are needed: what would be written last is a third as large.
        optimizers = [] if self.step == self.num_steps else [optimizer.state_dict() for optimizer in self.optimizers]
        return {**position, "watch": self.watch.state(), "weights": weights, "averages": self.averages, "optimizers": optimizers}

    def _restore(self, state: dict[str, Any]) -> None:
        checkpoint.restore(self.parameters, state["weights"])
        for optimizer, theirs in zip(self.optimizers, state["optimizers"], strict=bool(state["optimizers"])):
            optimizer.load_state_dict(placed_state(theirs, optimizer))
        for name in _POSITION:
            setattr(self, name, state.get(name, getattr(self, name)))  # a checkpoint of an earlier release lacks what is new
        if self.best is not None and not self.bests:
            self.bests = [(self.best, self.best_at)]
        self._looked = self.tokens, self.seconds, 0.0
        self.watch.restore(state["watch"])
        for name, average in (self.averages or {}).items():
            average.copy_(placed(state["averages"][name], average))

    def _within_the_time(self, planned: int) -> int:
        """`planned`, or as many as the time still allows at the speed so far; what follows is judged by the speed that two looks in a row saw."""
        if self.config.seconds is None:
            return planned
        tokens, seconds, before = self._looked
        now = (self.seconds - seconds) / max(1, self.tokens - tokens)
        self._looked = self.tokens, self.seconds, now
        known = self.kept.get("seconds_a_token")
        slower = min(max(1.0, min(now, before) / known), MOST_SLOWER) if known else 1.0
        left = self.config.seconds - self.config.then * (slower - 1) - self.seconds
        most = planned if self.step >= STEPS_BEFORE_MORE else self.num_steps or planned
        return int(self.processes.agreed(min(most, self.step + max(0, int(left * self.step / self.seconds)))))

    def _step(self, num_steps: int) -> dict[str, Any] | None:
        """One update and its point of the curve; None where the loss jumped and nothing was changed."""
        number = self.step + self.skipped
        step = self.source.step(number)
        share = self.config.rate(self.step, num_steps)
        loss = self._gradients(step, number)
        norm = self._clip()
        if self.watch.is_spike(loss, norm) and self.watch.num_returns < MAX_RETURNS and checkpoint.exists(self.folder):
            self._zero()
            return None
        for name, value in (("loss", loss), ("norm of the gradients", norm)):
            if not math.isfinite(value):
                rate = share * self.peaks[0][0]
                raise ModelError(f"The {name} is {value} at step {self.step + 1} with rate {rate:.2g}. Lower `learning_rate` and start again.")
        self.watch.add(loss)
        self._update(share)
        self._average()
        self.step += 1
        self.tokens += step.num_tokens
        self.last_loss = round(loss, 6)
        if self.first_loss is None:
            self.first_loss = self.last_loss
        return {"step": self.step, "loss": self.last_loss, "tokens": self.tokens}

    def _gradients(self, step: Step, number: int) -> float:
        """Add the gradients of the step's mean loss, one micro-batch at a time; returns the loss."""
        total = 0.0
        for index, micro in self.processes.part(list(enumerate(step.micro_batches))):
            seed_draws(self.config.seed, number, index)
            with self.autocast:
                loss = micro(self.called)
            mean = loss.total / step.weight
            mean.backward()
            total += mean.item()
        self.processes.sum_gradients(self.parameters.values())
        return self.processes.summed(total)

    def _clip(self) -> float:
        """Scale gradients whose norm is above the maximum down to it, as `clip_grad_norm_` does; returns the norm, all processes' together.

        What is not finite is not scaled: infinity times 0 is not a number, and one step along it would leave weights that no return mends.
        """
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        parted = torch.nn.utils.get_total_norm(gradients)
        norm = whole(parted, keep=True)
        # Gradients are only touched where that changes them: times 1.0, those of 135 M weights take 26 ms.
        if bool(norm.isfinite()) and bool(self.config.max_grad_norm / (norm + 1e-6) < 1.0):
            torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), self.config.max_grad_norm, parted)
        return float(norm)

    def _update(self, share: float) -> None:
        """Move the weights along their gradients at a share of the peak rates, and drop the gradients.

        A group of weights whose `begins` says so only moves after that share of the run.
        """
        done = self.step / self.num_steps if self.num_steps else 1.0
        for optimizer, peaks in zip(self.optimizers, self.peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * share * (done >= group.get("begins", 0.0))
            optimizer.step()
        self._zero()

    def _average(self) -> None:
        """Take the weights into their average; in the first steps its memory is shorter."""
        if self.averages is None or self.config.average is None:
            return
        memory = min(self.config.average, (self.step + 1) / (self.step + 10))
        for name, average in self.averages.items():
            average.lerp_(self.parameters[name].detach(), 1 - memory)

    def _zero(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def _is_due(self, saved: float) -> bool:
        """Whether it is time for a checkpoint; the last was at the time `saved`."""
        every = self.config.checkpoint_every
        return self.step % every == 0 if every else time.monotonic() - saved > self.config.checkpoint_seconds

    def _validated(self, num_steps: int) -> dict[str, float]:
        self.longest = max(self.longest, num_steps)
        number = self.config.num_validations
        due = number if self.step == num_steps else self.step * number // self.longest
        if self.config.validate is None or due <= self.num_validated:
            return {}
        self.num_validated = due
        self.validation = self._validation_of(self.averages)
        self.since_best += 1
        self._keep_if_among_the_best(self._cost(self.validation))
        return {f"validation_{name}": value for name, value in self.validation.items()}

    def _validation_of(self, weights: Mapping[str, torch.Tensor] | None) -> dict[str, float]:
        """What a validation finds with other weights than the model has, or with its own; it has its own again afterwards."""
        assert self.config.validate is not None
        own = {name: p.detach().clone() for name, p in self.parameters.items()} if weights is not None else None
        if weights is not None:
            checkpoint.restore(self.parameters, weights)
        self.model.eval()
        with torch.no_grad(), self.autocast:
            found = dict(self.config.validate())
        let_go(self.model)
        self.model.train()
        if own is not None:
            checkpoint.restore(self.parameters, own)
        return found

    def _cost(self, found: Mapping[str, float]) -> float:
        """The same in all processes, which must agree on what is the best; what is not a number is never it."""
        cost = self.processes.agreed(self.config.cost(found))
        return math.inf if math.isnan(cost) else cost

    def _keep_if_among_the_best(self, cost: float) -> None:
        mine = (cost, self.step)
        if any(step == self.step and best <= cost for best, step in self.bests) or cost == math.inf:
            return  # a way here that was left after a jump was as good
        bests = sorted([*(one for one in self.bests if one[1] != self.step), mine])[: self.config.num_best]
        if mine not in bests:
            return
        self.bests = bests
        if bests[0] == mine:
            self.best, self.best_at, self.since_best = cost, self.step, 0
        averages = self.averages
        weights = whole({name: p.detach() if averages is None else averages[name] for name, p in self.parameters.items()}, self.processes.first)
        if self.processes.first:
            checkpoint.save_best(self.folder, {"step": self.step, "weights": weights}, self._best_name(self.step))

    def _best_name(self, step: int) -> str:
        return checkpoint.BEST if self.config.num_best == 1 else f"best-{step:09d}.pt"

    def _choose_the_best(self) -> None:
        """Make one best of several: their mean (Izmailov et al. 2018), or the first of them. A restart after the last step does the same again."""
        self.processes.wait()
        names = [self._best_name(step) for _, step in self.bests]
        chosen: dict[str, Any] | None = None
        mean, count = checkpoint.mean_of_bests(self.folder, names)
        if count > 1:
            self.num_validated += 1
            found = self._validation_of(mean)
            cost = self._cost(found)
            if self.best is None or cost < self.best:
                self.best, self.validation = cost, found
                chosen = {"step": self.best_at, "weights": mean, "mean_of": count}
        chosen = chosen or next((state for name in names if (state := checkpoint.load_best(self.folder, name)) is not None), None)
        if self.processes.first and chosen is not None:
            checkpoint.save_best(self.folder, chosen)
        self.processes.wait()

    def _is_past_its_best(self) -> bool:
        """Whether as many validations as patience allows have found nothing better."""
        return self.config.patience is not None and self.since_best >= self.config.patience

    def _back_to_the_last_checkpoint(self) -> None:
        jumped = self.step + self.skipped
        self.processes.wait()
        state = checkpoint.load(self.folder)
        if state is None:
            raise ModelError(f"The loss jumped at step {self.step + 1} and no checkpoint can be read. Lower `learning_rate` and start again.")
        num_returns, best = self.watch.num_returns + 1, (self.best, self.best_at, self.bests, self.since_best)
        seconds = self.seconds
        self._restore(state)
        self.seconds, self._looked = seconds, (self.tokens, seconds, 0.0)  # the time that the steps took is gone, too
        self.watch.num_returns = num_returns
        self.best, self.best_at, self.bests, self.since_best = best  # whose weights stay, wherever they were found
        self.skipped = jumped + 1 - self.step
        if self.processes.first:
            _cut_curve(self.folder / CURVE, self.step)
        self.save()

    def _progress(self, num_steps: int) -> Progress:
        return Progress(
            step=self.step,
            num_steps=num_steps,
            loss=self.last_loss or 0.0,
            tokens=self.tokens,
            tokens_per_second=self.tokens / max(self.seconds, 1e-9),
            seconds_left=(num_steps - self.step) * self.seconds / self.step,
            validation=self.validation,
        )


REVIEWS = 20
"""How often a run that has its time looks whether it will keep it."""
STEPS_BEFORE_MORE = 5
"""Steps after which a plan may grow: the first of them may be of short texts, and a plan that was once longer is validated less often."""
MOST_SLOWER = 3.0
"""How much slower a machine is believed to have become for what follows, at most."""
_POSITION = (
    *("step", "num_steps", "tokens", "seconds", "skipped", "first_loss", "last_loss", "kept"),
    *("validation", "longest", "num_validated", "since_best", "best", "best_at", "bests"),
)
MAX_RETURNS = 5
"""How often a run goes back before a loss that jumps is taken as it is."""


def seed_draws(seed: int, number: int, index: int) -> None:
    """Make what is drawn for a micro-batch (dropout) depend on the seed, its step and its place in it alone, whichever process computes it."""
    drawn = random.Random(f"{seed}/{number}/{index}").getrandbits(63)
    torch.default_generator.manual_seed(drawn)  # `torch.manual_seed` writes down where it was called from: 1.4 ms
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(drawn)


def _cut_curve(path: Path, step: int) -> None:
    """Drop the points after the checkpoint: the steps they tell of are done again."""
    if step == 0:
        path.unlink(missing_ok=True)
    elif path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_file(path, [line + "\n" for line in kept])
