"""What a pre-training run will do: derived once from the dial, written down, kept by every restart."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from noria.data import ShardSplit
from noria.errors import ArtifactError, ConfigError, DataError
from noria.model import Shape, num_parameters
from noria.schema import Record
from noria.train.dial import (
    MIN_BATCH_TOKENS,
    USUAL_BATCH_TOKENS,
    batch_for,
    body_for,
    body_of,
    choose_shape,
    flops_per_token,
    matmul_peak,
    nearest_shape,
    power_of_two,
    shape_of,
    vocab_size_for,
)
from noria.train.plan import write_json
from noria.train.pretrain_config import PretrainConfig
from noria.train.processes import Processes, training_device

NAME = "plan.json"
CONTEXT, CONTEXT_OF_MASKS, MIN_CONTEXT = 512, 128, 32
"""Masks are learnt faster in short rows (Devlin et al. 2019 train so for nine steps of ten), and on a processor computed faster, too."""
DEFAULT_MINUTES = 60.0
FIRST_VOCAB, LEAST_VOCAB, MAX_VOCAB = 512, 1024, 32_768
"""Tokens of the smallest derived vocabulary, of the smallest where the text supports more, and of the largest."""
BYTES_PER_VOCAB_TOKEN = 600
"""Bytes of text for each token of a derived vocabulary: 8,192 tokens from 5 MB on."""
COMMON = 0.99
"""Share of a text that its common characters make up."""
SHARE_FOR_STEPS = 0.93
"""The rest is for validations, checkpoints and writing the model."""
SHARE_FOR_VALIDATIONS = 0.05
"""Of the time: half of it for the validations on the way, half for the last one."""
READS_FASTER, LEAST_READ = 3.0, 4096
"""Tokens that a validation reads in the time in which a step learns from one, and the fewest that say anything."""
RATE_AT_WIDTH = 256
BASE_RATE = 4e-3
"""Muon's and AdamW's peak rate at that width; it falls with the square root of the width."""
ADAMW_SHARE_OF_MASKS = 0.25
"""Of that rate, for AdamW in an encoder that fills masks."""


class Speed(NamedTuple):
    """Of steps that were timed."""

    tokens_per_second: float
    tokens_per_step: float
    """That are really read: passages need not fill their rows."""


class PretrainPlan(Record):
    """The resolved settings of a run, and why they are what they are."""

    width: int
    layers: int
    heads: int
    context: int
    batch_tokens: int
    num_steps: int
    learning_rate: float
    muon_rate: float
    num_parameters: int
    seconds: float | None = None
    """Time for the steps, where the time was what was given."""
    tokens_per_second: float | None = None
    peak_share: float | None = None
    """Share of the machine's matrix-product peak that a step used when it was timed."""
    peak_tokens_per_second: float | None = None
    """Tokens a second at which all of that peak would be used; None of an encoder-decoder, each half of which reads a part of them."""
    validation_tokens: int | None = None
    """Held-out tokens that a validation on the way reads; None: as the configuration says."""
    scored_tokens: int | None = None
    """Held-out tokens that the finished model is scored on; None: all."""
    reasons: tuple[str, ...] = ()

    def shape(self) -> Shape:
        return Shape(width=self.width, num_layers=self.layers, num_heads=self.heads, context=self.context)


def plan_run(
    folder: Path,
    config: PretrainConfig,
    split: ShardSplit,
    seconds: float | None,
    made: Callable[[Shape], Any],
    speed: Callable[[PretrainPlan, bool], Speed],
    precision: torch.dtype,
    processes: Processes,
) -> PretrainPlan:
    """The plan in `folder`, or a new one; several processes time it together and take the first one's.

    Args:
        split: what is trained on. seconds: left for training; None: `steps` says how long.
        made: the model's configuration of a shape.
        speed: that a plan is trained with, measured; compiled or, where shapes are only compared, not.
    """
    path = folder / NAME
    if path.is_file():
        try:
            return PretrainPlan.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"'{path}' is not a plan: {error}. Delete the folder to start over.") from error
    if seconds is not None and seconds < 5:
        raise ConfigError(f"Of the {config.minutes:g} minutes nothing is left for training after the corpus was read. Give more with `--minutes`.")
    seconds = None if seconds is None else processes.agreed(seconds)
    peak = processes.agreed(matmul_peak(precision, training_device())) * processes.count
    plan = _new_plan(config, split, seconds, made, speed, peak, processes.count)
    if processes.first:
        write_json(path, plan.model_dump(mode="json"))
    processes.wait()
    return PretrainPlan.model_validate_json(path.read_text(encoding="utf-8"))


def derived_vocab_size(
    config: PretrainConfig, num_bytes: float, sample: Callable[[], Sequence[str]], precision: torch.dtype, num_processes: int
) -> int:
    """Tokens of a new vocabulary: as many as the text supports, and no more than the model to come, as given or as the time allows, makes use of.

    Args:
        num_bytes: size of the corpus.
        sample: gives pieces of it: where many characters are common, as in Chinese, more tokens are of use.
    """
    by_text = min(MAX_VOCAB, max(FIRST_VOCAB, power_of_two(num_bytes / BYTES_PER_VOCAB_TOKEN)))
    if by_text <= LEAST_VOCAB:
        return by_text  # whatever the model: neither machine nor text need be looked at
    if config.width is not None or config.layers is not None:
        shape = _given_shape(config, 1)
    elif config.size is not None:
        shape = nearest_shape(config.size, 1, body_of)
    else:
        peak = matmul_peak(precision, training_device()) * num_processes
        shape = nearest_shape(round(body_for((config.minutes or DEFAULT_MINUTES) * 60, peak)), 1, body_of)
    by_model = vocab_size_for(shape, _predicted_share(config))
    by_characters = power_of_two(2 * _num_common_characters(sample()))
    return min(by_text, max(LEAST_VOCAB, by_characters, by_model))


def _predicted_share(config: PretrainConfig) -> float:
    """Share of the tokens that are read that are predicted, too."""
    return config.mask_rate if config.objective == "mlm-nsp" else 1.0


def _num_common_characters(sample: Sequence[str]) -> int:
    """The fewest characters that make up nearly all of the text."""
    counts = np.array([count for _, count in Counter(chain.from_iterable(sample)).most_common()])
    return int(np.searchsorted(counts.cumsum(), COMMON * counts.sum())) + 1


def _new_plan(
    config: PretrainConfig,
    split: ShardSplit,
    seconds: float | None,
    made: Any,
    speed: Callable[[PretrainPlan, bool], Speed],
    peak: float,
    num_processes: int,
) -> PretrainPlan:
    began = time.monotonic()
    num_tokens = len(split.tokens)
    context = _context(config, split)
    count: Callable[[Shape], int] = lambda shape: num_parameters(made(shape))  # noqa: E731
    reasons: list[str] = []

    def trial(shape: Shape) -> float:
        plan = _plan(config, shape, count(shape), config.batch_tokens or max(context, USUAL_BATCH_TOKENS // context * context), 1)
        return speed(plan, False).tokens_per_second

    tokens_per_second: float | None = None
    if config.width is not None or config.layers is not None:
        shape = _given_shape(config, context)
        reasons.append(f"Shape as given: {_told(shape)}.")
    elif config.size is not None:
        shape = nearest_shape(config.size, context, count)
        reasons.append(f"Shape nearest to {config.size:,} parameters: {_told(shape)}.")
    else:
        assert seconds is not None or config.steps is not None
        time_for_steps = (seconds or DEFAULT_MINUTES * 60) * SHARE_FOR_STEPS
        best, timed = choose_shape(time_for_steps, num_tokens, context, count, trial, peak, _predicted_share(config))
        shape, tokens_per_second = best.shape, best.tokens_per_second
        tried = "; ".join(f"{c.num_parameters / 1e6:.2f} M at {c.tokens_per_second:,.0f} tokens/s would reach {c.loss:.3f}" for c in timed)
        reasons.append(f"Of the shapes timed on this machine {_told(shape)} has the lowest loss predicted (Hoffmann et al. 2022): {tried}.")
    num_parameters_ = count(shape)
    if seconds is not None and config.batch_tokens is None:
        tokens_per_second = tokens_per_second or trial(shape)
    fitting = None if seconds is None or tokens_per_second is None else tokens_per_second * seconds * SHARE_FOR_STEPS
    batch = config.batch_tokens or batch_for(fitting if fitting is not None else (config.steps or 1) * MIN_BATCH_TOKENS, context)
    batch = tokens_per_step = max(context, batch // context * context)
    if seconds is not None and config.steps is None:
        # As it will be trained: with its batch, compiled if that is wanted.
        tokens_per_second, tokens_per_step = speed(_plan(config, shape, num_parameters_, batch, 1), True)
        seconds = max(1.0, seconds - (time.monotonic() - began))  # timing takes its share
    steps = config.steps or max(1, int((tokens_per_second or 0) * (seconds or 0) * SHARE_FOR_STEPS / tokens_per_step))
    plan = _plan(config, shape, num_parameters_, batch, steps)
    operations = _operations_per_token(config, num_parameters_, shape, made(shape).vocab_size)
    at_peak = None if operations is None else peak / operations
    share = None if tokens_per_second is None or at_peak is None else tokens_per_second / at_peak
    total = steps * tokens_per_step
    reasons.append(
        f"{steps:,} steps of {tokens_per_step:,.0f} tokens: {total / 1e6:.1f} M tokens, {total / num_tokens:.1f} times the corpus, "
        f"{total / num_parameters_:.0f} for each of {num_parameters_ / 1e6:.2f} M parameters."
    )
    if share is not None:
        reasons.append(f"A step uses {share:.0%} of this machine's {peak / 1e9:,.0f} GFLOP/s.")
    reasons.append(f"Peak rate {plan.learning_rate:.2g}" + (f", Muon's {plan.muon_rate:.2g}" if config.optimizer == "muon" else "") + ".")
    allowed = None if seconds is None or config.steps is not None else seconds * SHARE_FOR_STEPS
    found: dict[str, Any] = {"tokens_per_second": tokens_per_second, "peak_share": share, "peak_tokens_per_second": at_peak}
    if allowed is not None and tokens_per_second is not None:
        alone = tokens_per_second / num_processes  # each of them reads all of a validation
        found |= _validated(config, READS_FASTER * alone * allowed * SHARE_FOR_VALIDATIONS / 2)
    return plan.model_copy(update={"reasons": tuple(reasons), "seconds": allowed, **found})


def _validated(config: PretrainConfig, room: float) -> dict[str, int]:
    """Tokens of each validation and of the last one, by the tokens that all on the way, and the last, have time to read; what was set stays."""
    scored = max(LEAST_READ, int(room))
    if "validation_tokens" in config.model_fields_set:
        return {"scored_tokens": scored}
    each = max(LEAST_READ, int(room / config.num_validations))
    return {"scored_tokens": scored, "validation_tokens": min(config.validation_tokens, each)}


def _operations_per_token(config: PretrainConfig, num_parameters: int, shape: Shape, vocab_size: int) -> float | None:
    """Operations to learn from a token; None where each token goes through one half of the weights or the other."""
    if config.objective == "denoise":
        return None
    operations = flops_per_token(num_parameters, shape, shape.context)
    if config.objective == "clm":
        return operations
    # An encoder's tokens attend to what follows, too, and its output layer reads what is masked alone.
    unread = (1 - config.mask_rate) * vocab_size * shape.width
    return operations + 6 * shape.num_layers * shape.width * shape.context - 6 * unread


def _plan(config: PretrainConfig, shape: Shape, count: int, batch_tokens: int, steps: int) -> PretrainPlan:
    share = ADAMW_SHARE_OF_MASKS if config.objective == "mlm-nsp" else 1.0
    rate = config.learning_rate or BASE_RATE * math.sqrt(RATE_AT_WIDTH / shape.width) * share
    return PretrainPlan(
        width=shape.width,
        layers=shape.num_layers,
        heads=shape.num_heads,
        context=shape.context,
        batch_tokens=batch_tokens,
        num_steps=steps,
        learning_rate=rate,
        muon_rate=config.muon_rate or rate / share,
        num_parameters=count,
    )


def _given_shape(config: PretrainConfig, context: int) -> Shape:
    width = config.width or (64 * config.layers if config.layers else 256)
    usual = shape_of(width, context)
    return Shape(width=width, num_layers=config.layers or usual.num_layers, num_heads=config.heads or usual.num_heads, context=context)


def _context(config: PretrainConfig, split: ShardSplit) -> int:
    """As set; else 512, 128 of masks, or less where the corpus has not a hundred blocks of it, or no document so long. Raises DataError."""
    begins = np.append(split.documents, np.uint64(len(split.tokens)))
    longest = int(np.diff(begins).max()) if len(begins) > 1 else len(split.tokens)
    most = max(MIN_CONTEXT, 2 ** math.ceil(math.log2(longest)))
    if config.context is not None:
        if config.context > most:
            raise DataError(f"The longest document has {longest} tokens, and `context` is {config.context}. Set it to {most} or less.")
        return config.context
    usual = CONTEXT_OF_MASKS if config.objective == "mlm-nsp" else CONTEXT
    return max(MIN_CONTEXT, min(usual, 2 ** int(math.log2(max(len(split.tokens) / 100, 32))), most))


def _told(shape: Shape) -> str:
    return f"{shape.num_layers} layers of width {shape.width} with {shape.num_heads} heads, context {shape.context}"
