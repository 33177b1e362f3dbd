"""Task adaptation: a task's rows and a base model in, a tuned model folder out, in the time given.

The folder loads with transformers' own class for the task; `head.json` says what else a prediction needs (labels, tag scheme, thresholds). A killed
run is gone on with by the same command.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from noria.data import ClassifyExample, Example
from noria.data.task_checks import OUT_OF_SCOPE
from noria.errors import ConfigError, ModelError, StoreError
from noria.model import BaseModel
from noria.store import claim, hardware, read_told, refuse_other, sizes, versions, write_file
from noria.train import checkpoint
from noria.train.curve import draw
from noria.train.heads import Head, HeadFile, InputSteps, outputs_of
from noria.train.heads.classify import Classify, named
from noria.train.heads.contrast import ContrastSteps
from noria.train.heads.opening import TRANSITIONS, head_of, new_model
from noria.train.heads.probe import START_STRENGTH, best_strength, features_of, fit, last_layer
from noria.train.heads.scope import threshold_of
from noria.train.memory import give_back_freed_memory, keep_freed_memory
from noria.train.methods import learning_parameters, merged, with_method
from noria.train.precision import dtype_of
from noria.train.run import Progress, Run, RunConfig, Steps
from noria.train.task_config import TaskConfig

SCRATCH, DONE = ".tuning", "tuned.json"
Score = Callable[[Sequence[Example], Sequence[Mapping[str, Any]]], Mapping[str, float]]
"""Metrics of predictions on rows; `score` of them is what the best weights are chosen by."""
Report = Callable[[str, float, float], None]
Say = Callable[[str], None]
Watch = Callable[[int, float], None]
"""Told the number (from 1) and the score of each validation; what it raises ends the run."""
STEPS_WANTED, FEWEST_EPOCHS, MOST_EPOCHS = 2000, 3.0, 40.0
CONTRAST_STEPS = 300
FITTED = ("head", "contrast")
"""Methods that end with a classifier's last layer fitted to features."""
MAX_MEASURED = 10
"""Steps by which the speed is judged, if there is time."""
SHARE_FOR_STEPS = 0.85
"""Share of the minutes for steps; the rest is for validations and writing the model."""


def _nothing(_number: int, _score: float) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Where the model is, and what the run found."""

    folder: Path
    metrics: dict[str, Any]


def tune(
    config: TaskConfig,
    task: str,
    train: tuple[Path, Sequence[Example]],
    held_out: tuple[Path, Sequence[Example]],
    base: BaseModel,
    out: Path,
    score: Score,
    report: Report,
    say: Say,
    watch: Watch = _nothing,
) -> Tuned:
    """Tune `base` for a task; a finished `out` is returned as it is, a begun one is gone on with.

    Args:
        train, held_out: the files, and their rows, which were checked.
        score: metrics by which the best weights are chosen.
        say: told, in a sentence each, what was chosen and why.
        watch: told the score of each validation.

    Raises:
        ConfigError: an `out` that was begun otherwise.
        ModelError: the base cannot serve the task, or the loss is not a number.
        StoreError: the disk refuses.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    settings = {**config.model_dump(mode="json"), "--task": task, "--base": str(base.path)}
    request = {"settings": settings, "files": sizes((train[0], held_out[0]))}
    if (out / DONE).is_file():
        told = read_told(out / DONE, "request", "metrics")
        refuse_other(out, told["request"], request)
        return Tuned(folder=out, metrics=told["metrics"])
    head = head_of(config, task, base, train[1])
    scratch = out / SCRATCH
    claim(out, scratch, request, "noria tune")
    keep_freed_memory()
    model = new_model(config, head, base)
    if isinstance(head, Classify) and config.method in FITTED:
        metrics = _fitted(config, head, model, train[1], held_out[1], score, scratch, report, say)
        give_back_freed_memory()
        _write(out, model, None, head, base, request, metrics)
        return Tuned(folder=out, metrics=metrics)
    if config.method == "contrast":
        raise ConfigError("`--method contrast` is for classify. Give another method.")
    if isinstance(head, Classify) and config.fit_first:
        _fit(config, head, model, train[1])
    learning = with_method(model, config)
    run = _run(config, head, learning, train[1], held_out[1], score, scratch, say, watch)
    run.run(run.num_steps or 1, partial(_told, report))
    metrics = _finished(run) | _measured(config, head, learning, held_out[1], score)
    plain = merged(learning)
    transitions = plain._modules.pop("tag_transitions", None)
    give_back_freed_memory()
    _write(out, plain, transitions, head, base, request, metrics)
    return Tuned(folder=out, metrics=metrics)


def _fitted(
    config: TaskConfig,
    head: Classify,
    model: Any,
    train: Sequence[Example],
    held_out: Sequence[Example],
    score: Score,
    folder: Path,
    report: Report,
    say: Say,
) -> dict[str, Any]:
    """Tune by contrasts where the method says so, then fit the last layer, its penalty chosen on the held-out rows; returns the metrics."""
    rows = [*train, *(named(head.labels) if config.label_names and not head.several else ())]
    told: dict[str, Any] = {"num_steps": 0, "best_step": 0, "train_seconds": 0.0}
    if config.method == "contrast":
        if head.several:
            raise ConfigError("`--method contrast` is for rows with one label each. Give another method.")
        for module in model.children():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # what is left out of features makes unlike what is alike
        steps = ContrastSteps(head, head.inputs(rows), 2 * config.batch, config.seed)
        run = _begun(config, with_method(model, config), steps, folder)
        if run.num_steps is None:
            run.num_steps = _planned(run, max(1, round(config.epochs * steps.per_epoch)) if config.epochs else CONTRAST_STEPS, config)
        say(f"{len(train):,} rows to learn from: {run.num_steps:,} steps of contrasts, then the last layer.")
        run.run(run.num_steps, partial(_told, report))
        told = _finished(run)
    seconds = _fit(config, head, model, rows, (held_out, score))
    return told | {"train_seconds": round(told["train_seconds"] + seconds, 1)} | _measured(config, head, model, held_out, score)


def _fit(config: TaskConfig, head: Classify, model: Any, rows: Sequence[Example], chosen_by: tuple[Sequence[Example], Score] | None = None) -> float:
    """Fit the last layer to the features of the model as it is; returns the seconds.

    Args:
        chosen_by: held-out rows and their score, by which the penalty is chosen; None: it is not.
    """
    began = time.monotonic()
    model.eval()
    with torch.no_grad(), torch.autocast(model.device.type, dtype=dtype_of(config.precision, model.device)):
        inputs = head.inputs(rows)
        features, targets = features_of(head, model, inputs), [one.target for one in inputs]
        if chosen_by is None:
            fit(head, model, features, targets, START_STRENGTH)
            return time.monotonic() - began
        held_out, score = chosen_by
        asked = head.inputs(held_out)
        held = torch.from_numpy(features_of(head, model, asked)).to(model.device)

    def scored() -> float:
        with torch.no_grad():
            said = head.predictions(held_out, asked, head.probabilities(last_layer(model)(held)))
        return score(held_out, [one.output for one in said])["score"]

    best_strength(head, model, features, targets, scored)
    return time.monotonic() - began


def _measured(config: TaskConfig, head: Head, model: Any, held_out: Sequence[Example], score: Score) -> dict[str, float]:
    """The metrics of a model as it is, its threshold chosen first where it has one."""
    model.eval()
    with torch.no_grad(), torch.autocast(model.device.type, dtype=dtype_of(config.precision, model.device)):
        if isinstance(head, Classify) and not head.several:
            _calibrate(head, model, held_out, config.out_of_scope)
        found = _scored(head, model, held_out, score)
    return {name: value for name, value in found.items() if name != "loss"} | {"num_parameters": sum(p.numel() for p in model.parameters())}


def _run(
    config: TaskConfig,
    head: Head,
    learning: Any,
    train: Sequence[Example],
    held_out: Sequence[Example],
    score: Score,
    folder: Path,
    say: Say,
    watch: Watch,
) -> Run:
    inputs = head.inputs(train)
    steps = InputSteps(head, inputs, config.batch, config.micro_batch_tokens, config.seed)
    run = _begun(config, learning, steps, folder)
    if run.num_steps is None:
        epochs = config.epochs or min(MOST_EPOCHS, max(FEWEST_EPOCHS, STEPS_WANTED / steps.per_epoch))
        run.num_steps = _planned(run, max(1, round(epochs * steps.per_epoch)), config)
    run.config = replace(
        run.config,
        validate=lambda: _watched(run, watch, _scored(head, learning, held_out, score)),
        validate_every=max(1, math.ceil(run.num_steps / config.num_validations)),
    )
    epochs = run.num_steps / steps.per_epoch
    say(f"{len(train):,} rows to learn from, {len(held_out):,} to choose by: {run.num_steps:,} steps of {config.batch}, {epochs:.3g} epochs.")
    return run


def _watched(run: Run, watch: Watch, found: dict[str, float]) -> dict[str, float]:
    watch(math.ceil(run.step / run.config.validate_every), found["score"])
    return found


def _begun(config: TaskConfig, learning: Any, steps: Steps, folder: Path) -> Run:
    """A run over these steps, as far as it had come."""
    optimizer = torch.optim.AdamW(learning_parameters(learning, config), fused=True)
    settings = RunConfig(
        rate=partial(_rate, config=config),
        max_grad_norm=config.max_grad_norm,
        precision=dtype_of(config.precision, learning.device),
        seed=config.seed,
        seconds=None if config.minutes is None else config.minutes * 60 * SHARE_FOR_STEPS,
        average=config.average,
        patience=config.patience,
    )
    run = Run(learning, learning, steps, [optimizer], settings, folder)
    run.resume()
    return run


def _planned(run: Run, wanted: int, config: TaskConfig) -> int:
    """The steps wanted, or as many as the time allows at the speed of a few."""
    if config.minutes is None:
        return wanted
    number, _, seconds = run.measure(MAX_MEASURED, 0.03 * 60 * config.minutes)
    return max(1, min(wanted, int(config.minutes * 60 * SHARE_FOR_STEPS / (seconds / number))))


def _rate(step: int, num_steps: int, config: TaskConfig) -> float:
    """Share of the peak rate: up in the first share of the steps, then down in a line to a twentieth."""
    warmup = max(1, math.ceil(config.warmup * num_steps))
    if step < warmup:
        return (step + 1) / warmup
    return max(0.05, 1 - (step + 1 - warmup) / max(1, num_steps - warmup))


def _scored(head: Head, model: Any, rows: Sequence[Example], score: Score) -> dict[str, float]:
    """The metrics on the held-out rows, and their mean loss."""
    inputs = head.inputs(rows)
    predictions = head.predictions(rows, inputs, outputs_of(head, model, inputs))
    found = dict(score(rows, [one.output for one in predictions]))
    return found | {"loss": -found["score"]}


def _finished(run: Run) -> dict[str, Any]:
    """Take the best weights, and tell of the run."""
    best = checkpoint.load_best(run.folder)
    if best is not None:
        checkpoint.restore(run.parameters, best["weights"])
    return {
        "best_step": best["step"] if best else run.step,
        "num_steps": run.step,
        "train_seconds": round(run.seconds, 1),
        "tokens_per_second": round(run.tokens / max(run.seconds, 1e-9), 1),
        "first_loss": run.first_loss,
        "last_loss": run.last_loss,
    }


def _calibrate(head: Classify, model: Any, held_out: Sequence[Example], wanted: bool | None) -> None:
    """Choose when the head says that no label fits, where it is to say so."""
    outside = [isinstance(row, ClassifyExample) and row.label == OUT_OF_SCOPE for row in held_out]
    if (any(outside) and OUT_OF_SCOPE not in head.labels) if wanted is None else wanted:
        inputs = head.inputs(held_out)
        found = head.predictions(held_out, inputs, outputs_of(head, model, inputs))
        head.threshold = threshold_of([max(one.scores) for one in found], outside)


def _told(report: Report, progress: Progress) -> None:
    found = f", held out {progress.validation['score']:.3f}" if progress.validation else ""
    report(f"tuning (loss {progress.loss:.3f}{found})", progress.step, progress.num_steps)


def _write(
    out: Path, model: Any, transitions: torch.nn.Module | None, head: Head, base: BaseModel, request: Mapping[str, Any], metrics: Mapping[str, Any]
) -> None:
    """Write the model, then what was done, then drop what was needed to go on. Raises StoreError."""
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise ModelError("The tuned weights hold values that are not finite. Lower `learning_rate` and tune again.")
    try:
        model.save_pretrained(str(out))
        if transitions is not None:
            save_file(transitions.state_dict(), str(out / TRANSITIONS))
        head.tokenizer.save(out)
        HeadFile.of(head).write(out)
        if (out / SCRATCH / "curve.jsonl").is_file():
            shutil.copyfile(out / SCRATCH / "curve.jsonl", out / "curve.jsonl")
            draw(out / "curve.jsonl", out)
        told = {"request": request, "base": base.name, "metrics": metrics, "versions": versions(), "hardware": hardware()}
        write_file(out / DONE, [json.dumps(told, indent=2, ensure_ascii=False) + "\n"])
        shutil.rmtree(out / SCRATCH)
    except OSError as error:
        raise StoreError(f"The model could not be written to '{out}': {error}. Free some disk space and run the same command again.") from error
