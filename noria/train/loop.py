"""The training loop.

In: a base model, examples and their objectives, a run folder. Out: the tuned model with plain weights (`TrainResult.model`) and, in the
folder, the plan, the loss curve, the last checkpoint and the adapters. A run that was killed goes on from its checkpoint when it is started
again with the same arguments, and ends with the same weights as one that was not (on one machine, with an equal number of threads, and where its
time did not shorten it).
Not covered: several processes.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from noria.errors import DataError, ModelError
from noria.store import write_file
from noria.train import checkpoint
from noria.train.adapters import base_of, make_trainable, merged, save_adapter
from noria.train.attention import use_own_attention, use_packed_attention
from noria.train.batches import Example, pack, schedule
from noria.train.config import TuneConfig
from noria.train.frozen import TopLayers
from noria.train.memory import give_back_freed_memory, keep_freed_memory
from noria.train.objective import Objective
from noria.train.plan import SHARE_FOR_STEPS, Plan, Speed, make_plan
from noria.train.products import use_lean_products, use_own_products


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Told after every step."""

    step: int
    num_steps: int
    loss: float
    tokens: int
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """`model` has plain weights; `metrics` go into the artifact's manifest."""

    model: PreTrainedModel
    metrics: dict[str, Any]


def train(
    model: PreTrainedModel,
    examples: Sequence[Example],
    objectives: Sequence[Objective],
    config: TuneConfig,
    folder: Path,
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """Tune `model` (changed in place) on `examples`.

    Raises:
        DataError: no example is usable, or one has an objective that was not given.
        ModelError: the loss is not a number.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    usable = _usable(examples, objectives, config)
    folder.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    use_packed_attention(model)
    run = _Run(make_trainable(model, config), {o.name: o for o in objectives}, config, folder)
    resumed = run.resume()
    run.examples = run.prepare(usable)
    plan = make_plan(folder, config, run.examples, len(list(_epoch(run.examples, config))), run.measure)
    started = time.monotonic()
    run.steps(plan, on_progress)
    metrics = {
        "num_examples": len(usable),
        "num_left_out": len(examples) - len(usable),
        "num_steps": run.step,
        "tokens": run.tokens,
        "epochs": round(run.tokens / plan.num_tokens_per_epoch, 3),
        "planned_by": plan.reason,
        "resumed_at_step": resumed,
        "first_loss": run.first_loss,
        "last_loss": run.last_loss,
        "train_seconds": round(run.seconds, 1),
        "tokens_per_second": round(run.tokens / max(run.seconds, 1e-9), 1),
        "wall_seconds_of_this_process": round(time.monotonic() - started, 1),
    }
    save_adapter(run.model, folder / "adapter")
    use_own_products(run.model)
    give_back_freed_memory()
    return TrainResult(model=use_own_attention(merged(run.model)), metrics=metrics)


def learning_rate(step: int, num_steps: int, config: TuneConfig) -> float:
    """Linear warm-up over the first share of the steps, then linear decay to a twentieth of the peak."""
    warmup = max(1, math.ceil(config.warmup * num_steps))
    rise = min(1.0, (step + 1) / warmup)
    fall = max(0.05, 1.0 - max(0, step + 1 - warmup) / max(1, num_steps - warmup + 1))
    return config.peak_rate * rise * fall


def native_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32: processors without the instructions emulate them, slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # pyright: ignore[reportPrivateUsage]


MAX_MEASURED = 5
"""Steps by which the speed is judged, if there is time: fewer vary by a tenth with the lengths of their sequences."""
MEASURED_SHARE = 0.03
"""Share of the run's minutes after which no further step is measured."""
REVIEWS = 20
"""How often a run that has its minutes looks whether it will keep them."""


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Work that was done to see how long it takes."""

    num_batches: int
    tokens: int
    seconds: float


class _Run:
    """State of a run: what a checkpoint holds, and how a step changes it."""

    def __init__(self, model: Any, objectives: Mapping[str, Objective], config: TuneConfig, folder: Path) -> None:
        self.model = model
        self.objectives = objectives
        self.config = config
        self.folder = folder
        self.examples: list[Example] = []
        self.learner: Any = base_of(model)
        """What a step calls: the decoder, or its upper layers where only they learn."""
        if config.top_layers is not None and config.top_layers < self.learner.config.num_hidden_layers:
            self.learner = TopLayers(self.learner, self.learner.config.num_hidden_layers - config.top_layers)
        self.parameters = checkpoint.trainable(model)
        decayed = [p for p in self.parameters.values() if p.dim() > 1]
        rest = [p for p in self.parameters.values() if p.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=config.peak_rate, betas=(0.9, 0.99), fused=True)
        self.step = 0
        self.tokens = 0
        self.seconds = 0.0
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.references: list[tuple[float, ...]] | None = None
        self.num_steps: int | None = None
        """The plan's, or fewer where the machine has become slower since."""
        device = next(iter(self.parameters.values())).device
        precision = config.precision or ("bfloat16" if native_bfloat16(device) else "float32")
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.autocast = torch.autocast(device.type, dtype=dtype) if dtype == torch.bfloat16 else contextlib.nullcontext()
        use_lean_products(model, dtype)

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        """Let each objective look at its examples; the references that were found under the untouched model are kept for a restart."""
        out = list(examples) if self.references is None else [e.with_reference(r) for e, r in zip(examples, self.references, strict=True)]
        for name, objective in self.objectives.items():
            mine = [i for i, e in enumerate(examples) if e.objective == name]
            with torch.no_grad(), self.autocast:
                prepared = objective.prepare(base_of(self.model), [out[i] for i in mine])
            for index, example in zip(mine, prepared, strict=True):
                out[index] = example
        if self.references is None:
            self.references = [e.reference for e in out]
            if any(self.references):
                self.save()
        return out

    def measure(self) -> Speed:
        """Tokens a second of typical steps, taken at rate 0 so that no weight changes. The first of them warms caches and is not counted."""
        first, *batches = islice(schedule(self.examples, self.config.batch_tokens, self.config.seed), 1 + MAX_MEASURED)
        self._gradients(first)
        self._update(0.0)
        enough = time.monotonic() + MEASURED_SHARE * 60 * (self.config.minutes or math.inf)
        met = self._pass(batches, enough)
        known = self._pass(batches[: met.num_batches], math.inf) if isinstance(self.learner, TopLayers) else met
        self.optimizer.state.clear()
        return Speed(first=met.tokens / met.seconds, later=known.tokens / known.seconds)

    def _pass(self, batches: Sequence[Sequence[int]], enough: float) -> "_Measured":
        """Work through batches until the time is `enough`, at least through one."""
        begin, num_batches, tokens = time.monotonic(), 0, 0
        for batch in batches:
            tokens += self._gradients(batch)[1]
            self._update(0.0)
            num_batches += 1
            if time.monotonic() > enough:
                break
        return _Measured(num_batches=num_batches, tokens=tokens, seconds=time.monotonic() - begin)

    def steps(self, plan: Plan, on_progress: Callable[[Progress], None] | None) -> None:
        self.model.train()
        saved = time.monotonic()
        batches = islice(schedule(self.examples, self.config.batch_tokens, self.config.seed), self.step, None)
        num_steps = self.num_steps = self.num_steps or plan.num_steps
        with (self.folder / "curve.jsonl").open("a", encoding="utf-8") as curve:
            while self.step < num_steps:
                begin = time.monotonic()
                self._step(next(batches), num_steps)
                self.seconds += time.monotonic() - begin
                curve.write(json.dumps({"step": self.step, "loss": self.last_loss, "tokens": self.tokens}) + "\n")
                curve.flush()
                if self.step % max(1, plan.num_steps // REVIEWS) == 0:
                    num_steps = self.num_steps = self._within_the_time(plan.num_steps)
                if on_progress:
                    on_progress(self._progress(num_steps))
                if time.monotonic() - saved > self.config.checkpoint_seconds or self.step == num_steps:
                    self.save()
                    saved = time.monotonic()

    def _within_the_time(self, planned: int) -> int:
        """`planned`, or as many as the time still allows at the speed so far; with `top_layers` the first epoch says nothing of the next."""
        if self.config.minutes is None or isinstance(self.learner, TopLayers):
            return planned
        left = self.config.minutes * 60 * SHARE_FOR_STEPS - self.seconds
        return min(planned, self.step + max(0, int(left * self.step / self.seconds)))

    def _step(self, batch: Sequence[int], num_steps: int) -> None:
        loss, tokens = self._gradients(batch)
        rate = learning_rate(self.step, num_steps, self.config)
        if not math.isfinite(loss):
            raise ModelError(f"The loss is {loss} at step {self.step + 1} with rate {rate:.2g}. Lower `learning_rate` and tune again.")
        self._update(rate)
        self.step += 1
        self.tokens += tokens
        self.last_loss = round(loss, 6)
        if self.first_loss is None:
            self.first_loss = self.last_loss

    def _update(self, rate: float) -> None:
        """Move the weights along their gradients and drop these."""
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _gradients(self, batch: Sequence[int]) -> tuple[float, int]:
        """Add the gradients of one step's mean loss, one micro-batch at a time; returns the loss and the tokens."""
        weight = sum(self.examples[i].weight for i in batch)
        total = 0.0
        for micro in pack(self.examples, batch, self.config.micro_batch_tokens):
            examples = [self.examples[i] for i in micro]
            with self.autocast:
                loss = self.objectives[examples[0].objective].loss(self.learner, examples)
            mean = loss.total / weight
            mean.backward()
            total += mean.item()
        return total, sum(self.examples[i].num_tokens for i in batch)

    def _progress(self, num_steps: int) -> Progress:
        rate = self.tokens / max(self.seconds, 1e-9)
        left = (num_steps - self.step) * self.seconds / self.step
        return Progress(
            step=self.step,
            num_steps=num_steps,
            loss=self.last_loss or 0.0,
            tokens=self.tokens,
            tokens_per_second=rate,
            seconds_left=left,
        )

    def save(self) -> None:
        position = {k: getattr(self, k) for k in ("step", "num_steps", "tokens", "seconds", "first_loss", "last_loss", "references")}
        weights = {name: p.detach() for name, p in self.parameters.items()}
        checkpoint.save(self.folder, {**position, "weights": weights, "optimizer": self.optimizer.state_dict()})

    def resume(self) -> int:
        """Take up the last checkpoint; returns its step, 0 without one."""
        state = checkpoint.load(self.folder)
        if state is None:
            (self.folder / "curve.jsonl").unlink(missing_ok=True)
            return 0
        checkpoint.restore(self.parameters, state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.num_steps, self.tokens, self.seconds = state["step"], state.get("num_steps"), state["tokens"], state["seconds"]
        self.first_loss, self.last_loss = state["first_loss"], state["last_loss"]
        self.references = [tuple(r) for r in state["references"]]
        _cut_curve(self.folder / "curve.jsonl", self.step)
        return self.step


def _usable(examples: Sequence[Example], objectives: Sequence[Objective], config: TuneConfig) -> list[Example]:
    known = {o.name for o in objectives}
    strange = {e.objective for e in examples} - known
    if strange:
        raise DataError(f"Examples have the objective {sorted(strange)[0]!r}; this run has: {', '.join(sorted(known))}.")
    usable = [e for e in examples if all(len(s) <= config.max_tokens for s in e.sequences) and any(any(w[1:]) for w in e.weights)]
    if not usable:
        raise DataError(f"None of {len(examples)} examples can be learnt: each is empty or longer than `max_tokens` = {config.max_tokens}.")
    return usable


def _epoch(examples: Sequence[Example], config: TuneConfig) -> Iterator[list[int]]:
    """The batches of the first epoch."""
    seen = 0
    for batch in schedule(examples, config.batch_tokens, config.seed):
        yield batch
        seen += len(batch)
        if seen >= len(examples):
            return


def _cut_curve(path: Path, step: int) -> None:
    """Drop the points after the checkpoint: the steps they tell of are done again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_file(path, [f"{line}\n" for line in kept])
