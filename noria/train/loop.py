"""Tuning: examples in, a tuned model out, in the time given.

In: a base model, examples and their objectives, a run folder. Out: the tuned model with plain weights (`TrainResult.model`) and, in the
folder, the plan, the loss curve, the last checkpoint and the adapters. The steps are taken by `noria.train.run`.
Not covered: several processes.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from noria.errors import ConfigError, DataError
from noria.model.precision import dtype_of
from noria.train import checkpoint
from noria.train.adapters import base_of, make_trainable, merged, save_adapter
from noria.train.attention import use_own_attention, use_packed_attention
from noria.train.batches import Example, pack, schedule
from noria.train.compiled import MINUTES_TO_COMPILE_ONCE, compiles, use_compiled_layers
from noria.train.config import TuneConfig
from noria.train.dropout import use_dropout
from noria.train.frozen import TopLayers
from noria.train.memory import give_back_freed_memory, keep_freed_memory
from noria.train.objective import Objective
from noria.train.optimizers import adamw, up_and_down
from noria.train.plan import SHARE_FOR_STEPS, Speed, make_plan
from noria.train.products import use_lean_products, use_own_products
from noria.train.run import MicroBatch, Progress, Run, RunConfig, Step


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
    held_out: Sequence[Example] = (),
    then: float = 0.0,
) -> TrainResult:
    """Tune `model` (changed in place) on `examples`.

    Args:
        held_out: examples of the first objective; the weights with the lowest loss on them are taken, where there are any.
        then: seconds of what follows the training, for which a machine that becomes slower needs more.

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
    learning = make_trainable(model, config)
    steps = ExampleSteps({o.name: o for o in objectives}, config)
    run = _run(learning, steps, config, folder, then, _expected_minutes(config, usable, learning))
    resumed = run.resume()
    steps.examples = _prepared(run, usable)
    num_batches = len(list(_epoch(steps.examples, config)))
    plan = make_plan(folder, config, steps.examples, num_batches, partial(_measure, run, config))
    started = time.monotonic()
    if held_out:
        score = partial(_held_out_loss, base_of(learning), objectives[0], list(held_out), config.micro_batch_tokens)
        run.config = replace(run.config, validate=score, num_validations=config.num_validations, patience=config.patience, num_best=config.num_best)
    run.run(plan.num_steps, on_progress)
    best = checkpoint.load_best(folder) if held_out else None
    if best is not None:
        checkpoint.restore(run.parameters, best["weights"])
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
        **({"held_out_loss": run.best, "best_step": run.best_at} if held_out else {}),
        "train_seconds": round(run.seconds, 1),
        "tokens_per_second": round(run.tokens / max(run.seconds, 1e-9), 1),
        "wall_seconds_of_this_process": round(time.monotonic() - started, 1),
    }
    save_adapter(learning, folder / "adapter")
    use_own_products(learning)
    give_back_freed_memory()
    return TrainResult(model=use_own_attention(merged(learning)), metrics=metrics)


def _held_out_loss(model: Any, objective: Objective, examples: list[Example], micro_batch_tokens: int) -> dict[str, float]:
    batches = pack(examples, range(len(examples)), micro_batch_tokens)
    total = sum(float(objective.loss(model, [examples[i] for i in batch]).total) for batch in batches)
    return {"loss": total / sum(example.weight for example in examples)}


MAX_MEASURED = 5
"""Steps by which the speed is judged, if there is time: fewer vary by a tenth with the lengths of their sequences."""
MEASURED_SHARE = 0.03
"""Share of the run's minutes after which no further step is measured."""


class ExampleSteps:
    """Steps over examples in memory, an objective at a time, in the order of `schedule`."""

    def __init__(self, objectives: Mapping[str, Objective], config: TuneConfig) -> None:
        self.objectives = objectives
        self.config = config
        self.examples: list[Example] = []
        self._at = 0
        self._batches: Iterator[list[int]] | None = None

    def step(self, number: int) -> Step:
        if self._batches is None or number != self._at:
            self._batches = islice(schedule(self.examples, self.config.batch_tokens, self.config.seed), number, None)
        self._at = number + 1
        batch = next(self._batches)
        micros = [[self.examples[i] for i in micro] for micro in pack(self.examples, batch, self.config.micro_batch_tokens)]
        return Step(
            micro_batches=[MicroBatch(self.objectives[examples[0].objective].loss, examples) for examples in micros],
            weight=sum(self.examples[i].weight for i in batch),
            num_tokens=sum(self.examples[i].num_tokens for i in batch),
        )


USUAL_SPEED = 5e11
"""Operations a second that a run is expected to reach at least where it computes in bfloat16."""


def _expected_minutes(config: TuneConfig, examples: Sequence[Example], model: Any) -> float:
    """How long the run may take: the minutes it has, or less where all epochs need less."""
    operations = 6 * sum(p.numel() for p in model.parameters()) * sum(e.num_tokens for e in examples) * config.epochs
    return min(operations / USUAL_SPEED / 60, config.minutes or math.inf)


def _run(learning: Any, steps: ExampleSteps, config: TuneConfig, folder: Path, then: float, minutes: float) -> Run:
    decoder: Any = base_of(learning)
    called = decoder
    if config.top_layers is not None and config.top_layers < decoder.config.num_hidden_layers:
        called = TopLayers(decoder, decoder.config.num_hidden_layers - config.top_layers)
    dtype = dtype_of(config.precision, decoder.device)
    use_lean_products(learning, dtype)
    use_dropout(decoder, config.dropout)
    pays = compiles(config.compile, minutes if dtype == torch.bfloat16 else None, MINUTES_TO_COMPILE_ONCE)
    compiled = pays and called is decoder and use_compiled_layers(decoder, dtype, config.dropout, of_any_length=True)
    if config.compile and not compiled:
        kind = decoder.config.model_type
        raise ConfigError(f"Layers of a {kind!r} by `method={config.method}` are not compiled, nor any beside `top_layers`. Leave `compile` out.")
    optimizer = adamw(learning, config.peak_rate, config.weight_decay, betas=(0.9, 0.99))
    settings = RunConfig(
        rate=partial(up_and_down, warmup=config.warmup),
        max_grad_norm=config.max_grad_norm,
        precision=dtype,
        seed=config.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        # With `top_layers` the speed of the first epoch says nothing of the next.
        seconds=None if config.minutes is None or called is not decoder else config.minutes * 60 * SHARE_FOR_STEPS,
        then=then,
    )
    return Run(learning, called, steps, [optimizer], settings, folder)


def _prepared(run: Run, examples: Sequence[Example]) -> list[Example]:
    """Let each objective look at its examples; the references that were found under the untouched model are kept for a restart."""
    known = run.kept.get("references")
    out = list(examples) if known is None else [e.with_reference(tuple(r)) for e, r in zip(examples, known, strict=True)]
    assert isinstance(run.source, ExampleSteps)
    run.model.eval()  # adapters too: what is held against the tuned model later has nothing left out
    for name, objective in run.source.objectives.items():
        mine = [i for i, e in enumerate(examples) if e.objective == name]
        with torch.no_grad(), run.autocast:
            prepared = objective.prepare(base_of(run.model), [out[i] for i in mine])
        for index, example in zip(mine, prepared, strict=True):
            out[index] = example
    if known is None:
        run.kept["references"] = [e.reference for e in out]
        if any(run.kept["references"]):
            run.save()
    return out


def _measure(run: Run, config: TuneConfig) -> Speed:
    """Tokens a second of typical steps; once more where what is frozen is known the second time."""
    num_steps, tokens, seconds = run.measure(MAX_MEASURED, MEASURED_SHARE * 60 * (config.minutes or math.inf))
    first = tokens / seconds
    if isinstance(run.called, TopLayers):
        _, tokens, seconds = run.measure(num_steps, math.inf)
    return Speed(first=first, later=tokens / seconds)


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
