"""Task adaptation: a task's rows and a base model in, a tuned model folder out, in the time given.

The folder loads with transformers' own class for the task; `head.json` says what else a prediction needs (labels, tag scheme, thresholds). A killed
run is gone on with by the same command.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from noria.data import Example
from noria.engine.heads import DONE, Input, cut_of
from noria.engine.heads.opening import TRANSITIONS
from noria.engine.heads.runners import write_graph
from noria.errors import ModelError
from noria.model import BaseModel
from noria.model.precision import dtype_of, products_in
from noria.store import claim, finished, hardware, versions, write_file
from noria.train import checkpoint
from noria.train.curve import draw
from noria.train.dropout import draw_faster
from noria.train.heads import Head, InputSteps
from noria.train.heads.answer import Answer
from noria.train.heads.classify import Classify, named
from noria.train.heads.contrast import ContrastSteps
from noria.train.heads.embed import Embed, RowSteps, write_modules
from noria.train.heads.opening import head_file, head_of, new_model
from noria.train.heads.probe import START_STRENGTH, Features, best_strength, features_of, fit, last_layer, some_of_each
from noria.train.heads.states import resting
from noria.train.heads.tag import TRANSITIONS_NAME
from noria.train.held_out import HeldOut, Score, num_in_time, shared_out
from noria.train.memory import give_back_freed_memory, keep_freed_memory
from noria.train.methods import FITTED, check_method, chosen, learning_parameters, merged, peak_rate, unheeded, with_method
from noria.train.optimizers import up_and_down
from noria.train.run import Progress, Run, RunConfig, Steps
from noria.train.task_config import TaskConfig

Report = Callable[[str, float, float], None]
Say = Callable[[str], None]
Watch = Callable[[int, float], None]
"""Told the number (from 1) and the score of each validation; what it raises ends the run."""
SCRATCH = ".tuning"
STEPS_WANTED, FEWEST_EPOCHS, MOST_EPOCHS = 2000, 3.0, 40.0
CONTRAST_STEPS = 150
MAX_MEASURED = 10
"""Steps by which the speed is judged, if there is time."""
SHARE_FOR_MEASURING, SHARE_FOR_FITTING = 0.03, 0.15
STATES = "states-are-kept"
"""Whether they are, as a file: before the first checkpoint it is decided anew."""
SHARE_FOR_STATES = 0.5
"""Of the time, for computing what a head learns from once; where that takes longer, little would come again."""
SHARE_OF_MINUTES = 0.95
"""Share of the minutes that is planned with; the rest is for writing the model, and for what takes longer than it was judged to."""


def nothing(_number: int, _score: float) -> None:
    """Watches nothing."""


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
    request: Mapping[str, Any],
    score: Score,
    report: Report,
    say: Say,
    watch: Watch = nothing,
) -> Tuned:
    """Tune `base` for a task; a finished `out` is returned as it is, a begun one is gone on with.

    Args:
        train, held_out: the files, and their rows, which were checked.
        request: what `out` is made for, as `noria.store.claim` takes it.
        score: metrics by which the best weights are chosen.
        say: told, in a sentence each, what was chosen and why.
        watch: told the score of each validation.

    Raises:
        ConfigError: an `out` that was begun otherwise, or settings that do not fit the task or the base; nothing is written then.
        ModelError: the base cannot serve the task, or the loss is not a number.
        StoreError: the disk refuses.
    """
    until = None if config.minutes is None else time.monotonic() + SHARE_OF_MINUTES * 60 * config.minutes
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    scratch = out / SCRATCH
    if told := finished(out, DONE, scratch, request, "metrics"):
        return Tuned(folder=out, metrics=told["metrics"])
    keep_freed_memory()
    head = head_of(config, task, base, train)
    model = new_model(config, head, base)
    draw_faster(model)
    check_method(config, head, model)
    claim(out, scratch, request, "noria tune")
    with checkpoint.given_up_on_failure(out, scratch):
        chosen_by = HeldOut.of(head, held_out[1], score)
        if isinstance(head, Answer) and not chosen_by.has_rows_without_answer:
            head.none_margin = None
        inputs = head.inputs(train[1])
        for file, of in ((train, inputs), (held_out, chosen_by.inputs)):
            tell_of_rows(head, *file, of, say)
        work = _Work(config=config, base=base.name, chosen_by=chosen_by, folder=scratch, until=until, report=report, say=say, watch=watch)
        if isinstance(head, Classify) and config.method in FITTED:
            plain, metrics = model, work.fitted(head, model, train[1], inputs)
        else:
            plain, metrics = work.trained(head, model, inputs)
    transitions = plain._modules.pop(TRANSITIONS_NAME, None)
    give_back_freed_memory()
    _write(out, plain, transitions, head, base, request, metrics)
    return Tuned(folder=out, metrics=metrics)


def tell_of_rows(head: Head, path: Path, rows: Sequence[Example], inputs: Sequence[Input], say: Say) -> None:
    """Say of a file what of its rows is not read, and which answers are never given."""
    for told in (cut_of(head, inputs), head.too_long(rows) if isinstance(head, Answer) else None):
        if told:
            say(f"'{path}': {told}")


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What the parts of one run share."""

    config: TaskConfig
    base: str
    """Its name."""
    chosen_by: HeldOut
    folder: Path
    until: float | None
    """On the monotonic clock; None: it takes the time it takes."""
    report: Report
    say: Say
    watch: Watch

    def trained(self, head: Head, model: Any, inputs: Sequence[Input]) -> tuple[Any, dict[str, Any]]:
        """Take the steps; returns the model as plain weights, and the metrics."""
        if isinstance(head, Classify) and self.config.fit_first and not checkpoint.exists(self.folder):
            read = self._in_time(head, model, inputs, SHARE_FOR_FITTING)
            fit(head, model, self._features(head, model, read), [one.target for one in read], START_STRENGTH)
        learning = with_method(model, self.config)
        taught = [one for one in inputs if head.weight([one])]
        with self._resting(head, learning, taught) if self.config.method == "head" else nullcontext(0.0) as seconds:
            run = self._run(head, learning, taught)
            run.run(run.kept.get("wanted", run.num_steps), partial(_told, self.report))
            metrics = _finished(run) | self._measured(head, learning)
        return merged(learning), {**metrics, "train_seconds": round(metrics["train_seconds"] + seconds, 1)}

    @contextmanager
    def _resting(self, head: Head, model: Any, inputs: Sequence[Input]) -> Generator[float]:
        """Within it the base's states are kept, if there is time to compute all of them and to make use of it; gives the seconds that took."""
        every = [*inputs, *self.chosen_by.inputs]
        with resting(head, model, inputs) as base:
            began, mark = time.monotonic(), self.folder / STATES
            if base is not None and not checkpoint.exists(self.folder):
                each = 0.0 if self.until is None else self.chosen_by.seconds(head, model) / len(self.chosen_by.inputs)
                left = self._left()
                if left is None or each * len(every) < SHARE_FOR_STATES * left:
                    mark.touch()  # a run that is gone on with does the same, however fast the machine is then
            if base is not None and mark.exists():
                base.keep(head, every)
            yield time.monotonic() - began

    def fitted(self, head: Classify, model: Any, rows: Sequence[Example], inputs: Sequence[Input]) -> dict[str, Any]:
        """Tune by contrasts where the method says so, then fit the last layer, its penalty chosen on the held-out rows; returns the metrics."""
        names = named(head.labels) if self.config.label_names and not head.several else []
        inputs = [*inputs, *head.inputs(names)]
        told: dict[str, Any] = {"num_steps": 0, "best_step": 0, "train_seconds": 0.0}
        if self.config.method == "contrast":
            told = self._contrasted(head, model, inputs, len(rows))
        began = time.monotonic()
        if self.config.method == "head":
            self.say(self._chosen(head, model))
            inputs = self._in_time(head, model, inputs, 1.0, num_scorings=2)  # to choose the penalty, and in the end
        features = self._features(head, model, inputs)
        held = torch.from_numpy(self._features(head, model, self.chosen_by.inputs)).to(model.device)

        def scored() -> float:
            with torch.no_grad(), products_in(head.precision, model.device):
                logits = last_layer(model)(held).float().cpu().numpy()
            outputs = list(head.probabilities(logits))
            return self.chosen_by.metrics(head, outputs)["score"]

        best_strength(head, model, features, [one.target for one in inputs], scored, math.inf if self.until is None else self.until)
        seconds = round(told["train_seconds"] + time.monotonic() - began, 1)
        return told | {"train_seconds": seconds} | self._measured(head, model)

    def _contrasted(self, head: Classify, model: Any, inputs: Sequence[Input], num_rows: int) -> dict[str, Any]:
        for module in model.children():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # what is left out of features makes unlike what is alike
        steps = ContrastSteps(head, inputs, 2 * self.config.batch, self.config.seed)
        learning = with_method(model, self.config)
        self.say(self._chosen(head, learning))
        run = self._begun(learning, steps)
        if run.num_steps is None:
            left = self._left()
            if left is not None:
                each = self.chosen_by.seconds(head, model)
                _, left = shared_out(left, each * (1 + len(inputs) / len(self.chosen_by.inputs)), 1)
            wanted = max(1, round(self.config.epochs * steps.per_epoch)) if self.config.epochs else CONTRAST_STEPS
            run.num_steps = _planned(run, wanted, left)
        self.say(f"{num_rows:,} rows to learn from: {run.num_steps:,} steps of contrasts, then the last layer.")
        run.run(run.kept.get("wanted", run.num_steps), partial(_told, self.report))
        return _finished(run)

    def _in_time(self, head: Classify, model: Any, inputs: Sequence[Input], share: float, num_scorings: int = 0) -> Sequence[Input]:
        """As many of the inputs as go through the model in a share of the time left, beside those scorings: all, or some of each label."""
        each = 0.0 if self.until is None else self.chosen_by.seconds(head, model)
        left = self._left()
        if left is None:
            return inputs
        room = num_in_time(share * left, each, len(self.chosen_by.inputs), num_scorings)
        if room >= len(inputs):
            return inputs
        kept = some_of_each(inputs, room, self.config.seed)
        self.say(f"The last layer is fitted on {len(kept):,} of {len(inputs):,} texts: more do not go through the model in the time.")
        return kept

    def _features(self, head: Classify, model: Any, inputs: Sequence[Input]) -> Features:
        model.eval()
        with products_in(head.precision, model.device):
            return features_of(head, model, inputs)

    def _measured(self, head: Head, model: Any) -> dict[str, float]:
        """The metrics of a model as it is, calibrated first where it can be."""
        return self.chosen_by.calibrated(head, model, self.config.out_of_scope) | {"num_parameters": sum(p.numel() for p in model.parameters())}

    def _run(self, head: Head, learning: Any, inputs: Sequence[Input]) -> Run:
        config = self.config
        steps = (
            RowSteps(head, inputs, config.batch, config.seed)
            if isinstance(head, Embed)
            else InputSteps(head, inputs, config.batch, config.micro_batch_tokens, config.seed)
        )
        self.say(self._chosen(head, learning))
        run = self._begun(learning, steps)
        num_validations: int = run.kept.get("num_validations", config.num_validations)
        if run.num_steps is None:
            left = self._left()
            if left is not None:
                each = self.chosen_by.seconds(head, learning)
                num_validations, left = shared_out(left, each, config.num_validations)
                if num_validations < config.num_validations:
                    self.say(f"Scoring the evaluation file takes {each:.1f} s: it is done {num_validations} times, not {config.num_validations}.")
            epochs = config.epochs or min(MOST_EPOCHS, max(FEWEST_EPOCHS, STEPS_WANTED / steps.per_epoch))
            run.num_steps = _planned(run, max(1, round(epochs * steps.per_epoch)), left)
            run.kept["num_validations"] = num_validations
        run.config = replace(
            run.config,
            validate=lambda: _watched(run, self.watch, self.chosen_by.scored(head, learning)),
            num_validations=num_validations,
        )
        epochs = run.num_steps / steps.per_epoch
        self.say(
            f"{len({one.row for one in inputs}):,} rows to learn from, {len(self.chosen_by.rows):,} to choose by: "
            f"{run.num_steps:,} steps of {config.batch}, {epochs:.3g} epochs."
        )
        return run

    def _chosen(self, head: Head, learning: Any) -> str:
        config = self.config
        precision = str(dtype_of(config.precision, learning.device)).removeprefix("torch.")
        told = {"learning_rate": peak_rate(learning, config), "batch": config.batch, "max_tokens": head.wrap.num_positions, "precision": precision}
        return chosen(self.base, config.method, {name: value for name, value in told.items() if name not in unheeded(head.task, config.method)})

    def _begun(self, learning: Any, steps: Steps) -> Run:
        """A run over these steps, as far as it had come."""
        config = self.config
        optimizer = torch.optim.AdamW(learning_parameters(learning, config), fused=True)
        settings = RunConfig(
            rate=partial(up_and_down, warmup=config.warmup),
            max_grad_norm=config.max_grad_norm,
            precision=dtype_of(config.precision, learning.device),
            seed=config.seed,
            cost=lambda found: -found["score"],
            average=config.average,
            patience=config.patience,
            num_best=config.num_best,
        )
        run = Run(learning, learning, steps, [optimizer], settings, self.folder)
        run.resume()
        run.config = replace(run.config, seconds=run.kept.get("seconds"))
        return run

    def _left(self) -> float | None:
        """Seconds that are left."""
        return None if self.until is None else max(0.0, self.until - time.monotonic())


def _watched(run: Run, watch: Watch, found: dict[str, float]) -> dict[str, float]:
    watch(run.num_validated, found["score"])
    return found


def _planned(run: Run, wanted: int, seconds: float | None) -> int:
    """The steps wanted, or as many as the seconds allow at the speed of a few. The run keeps what it may take, and what it takes if there is time."""
    run.kept["wanted"] = wanted
    if seconds is None:
        return wanted
    began = time.monotonic()
    number, _, taken = run.measure(MAX_MEASURED, SHARE_FOR_MEASURING * seconds)
    left = max(0.0, seconds - (time.monotonic() - began))
    run.config = replace(run.config, seconds=left)
    run.kept["seconds"] = left
    return max(1, min(wanted, int(left / (taken / number))))


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


def _told(report: Report, progress: Progress) -> None:
    found = f", held out {progress.validation['score']:.3f}" if progress.validation else ""
    report(f"tuning (loss {progress.loss:.3f}{found})", progress.step, progress.num_steps)


def _write(
    out: Path, model: Any, transitions: torch.nn.Module | None, head: Head, base: BaseModel, request: Mapping[str, Any], metrics: Mapping[str, Any]
) -> None:
    """Write the model, then what was done, then drop what was needed to go on. Raises StoreError."""
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise ModelError("The tuned weights hold values that are not finite. Lower `learning_rate` and tune again.")
    with checkpoint.model_errors(out):
        model.save_pretrained(str(out))
        if transitions is not None:
            save_file(transitions.state_dict(), str(out / TRANSITIONS))
        head.tokenizer.save(out)
        head_file(head).write(out)
        if isinstance(head, Embed):
            write_modules(head, model.config.hidden_size, out)
        write_graph(model, head, out)
        if (out / SCRATCH / "curve.jsonl").is_file():
            shutil.copyfile(out / SCRATCH / "curve.jsonl", out / "curve.jsonl")
            draw(out / "curve.jsonl", out)
        told = {"request": request, "base": base.name, "metrics": metrics, "versions": versions(), "hardware": hardware()}
        write_file(out / DONE, [json.dumps(told, indent=2) + "\n"])
        shutil.rmtree(out / SCRATCH)
