"""The one dial: from the time, the corpus and the machine to a model's shape, its batch and its number of steps.

The loss of N parameters after D tokens follows L = E + A / N^a + B / D^b (Hoffmann et al. 2022, with their constants); tokens seen again and
again are worth less (Muennighoff et al. 2023). A handful of shapes around the best guess are timed on this machine, for a small model gets less
of the processor's peak than a large one; the shape with the lowest loss that the time allows is taken.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from noria.model import Shape

E, A, B, ALPHA, BETA = 1.69, 406.4, 410.7, 0.34, 0.28
"""Hoffmann et al. 2022, approach 3."""
REPEATS = 15.39
"""Muennighoff et al. 2023: how many repetitions a token has left to give, in e-foldings."""
BODY, VOCABULARY, VOCABULARY_POWER = 0.0834, 0.2041, 0.4164
"""Tao et al. 2024, approach 1: of C operations 0.083 C^0.5 weights are best within the layers, and 0.204 C^0.416 in the vocabulary."""
READ_POWER = 0.6
"""By their approach 3 the best vocabulary grows with this power of how much cheaper it becomes where fewer tokens read it."""
WIDTHS = (48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 576, 640, 768, 896, 1024, 1280, 1536, 2048)
EXPECTED_SHARE = 0.3
"""Share of the peak that training is expected to reach before it has been timed."""
STEPS, LEAST_STEPS = 5000, 500
"""Optimizer steps that a long run is planned to have, and the fewest that a short one has before its batch becomes smaller than usual."""
MIN_BATCH_TOKENS, USUAL_BATCH_TOKENS, MAX_BATCH_TOKENS = 512, 4096, 1 << 18
"""Muon's own work is that of learning from some four tokens for each unit of the width, however many a step has: a small batch is dear."""


def shape_of(width: int, context: int) -> Shape:
    """The usual proportions: a layer for every 64 of the width, heads of 64 (32 below a width of 256)."""
    head = 64 if width >= 256 else 32 if width >= 64 else 16
    heads = max(1, width // head)
    return Shape(width=width, num_layers=max(2, round(width / 64)), num_heads=heads, context=context)


def nearest_shape(size: int, context: int, count: Callable[[Shape], int]) -> Shape:
    """The shape whose number of parameters is nearest to `size`, by ratio."""
    return min((shape_of(width, context) for width in WIDTHS), key=lambda shape: abs(math.log(count(shape) / size)))


def power_of_two(number: float) -> int:
    """The one that is nearest to a number, by ratio; at least 1."""
    return 2 ** round(math.log2(max(number, 1)))


def body_of(shape: Shape) -> int:
    """Weights within the layers, about."""
    return 12 * shape.num_layers * shape.width**2


def body_for(seconds: float, peak: float) -> float:
    """Weights within the layers that are best for the time, at a peak of so many operations a second."""
    return BODY * math.sqrt(seconds * EXPECTED_SHARE * peak)


def vocab_size_for(shape: Shape, read: float = 1.0) -> int:
    """Tokens of the vocabulary that is best beside such layers, as a power of two.

    Args:
        read: share of the tokens that go through the output layer.
    """
    operations = (body_of(shape) / BODY) ** 2
    return power_of_two(VOCABULARY * operations**VOCABULARY_POWER / read**READ_POWER / shape.width)


def predicted_loss(num_parameters: float, num_tokens: float, unique_tokens: float) -> float:
    """Nats a token after learning from `num_tokens`, of which `unique_tokens` are different."""
    repeats = max(num_tokens / unique_tokens - 1, 0.0)
    worth = unique_tokens * (1 + REPEATS * (1 - math.exp(-repeats / REPEATS))) if repeats else num_tokens
    return E + A / num_parameters**ALPHA + B / max(worth, 1.0) ** BETA


def batch_for(num_tokens: float, context: int) -> int:
    """Tokens of a step: a power of two, and whole blocks."""
    wanted = max(num_tokens / STEPS, min(num_tokens / LEAST_STEPS, USUAL_BATCH_TOKENS))
    return max(context, min(max(power_of_two(wanted), MIN_BATCH_TOKENS), MAX_BATCH_TOKENS) // context * context)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A shape that was timed."""

    shape: Shape
    num_parameters: int
    tokens_per_second: float
    num_tokens: float
    loss: float


def choose_shape(
    seconds: float,
    unique_tokens: float,
    context: int,
    count: Callable[[Shape], int],
    speed: Callable[[Shape], float],
    peak: float,
    predicted: float = 1.0,
) -> tuple[Candidate, list[Candidate]]:
    """The best shape for the time, and all that were timed.

    Args:
        count: parameters of a shape. speed: tokens a second that it is trained with, measured.
        peak: floating-point operations a second of a large matrix product.
        predicted: share of the tokens that are predicted, from which a model learns.
    """
    shapes = [shape_of(width, context) for width in WIDTHS]

    def guess(shape: Shape) -> float:
        num_parameters = count(shape)
        num_tokens = seconds * EXPECTED_SHARE * peak / flops_per_token(num_parameters, shape, context)
        return predicted_loss(num_parameters, predicted * num_tokens, unique_tokens)

    at = min(range(len(shapes)), key=lambda i: guess(shapes[i]))
    timed: dict[int, Candidate] = {}

    def look(index: int) -> float:
        if not 0 <= index < len(shapes):
            return math.inf
        if index not in timed:
            shape = shapes[index]
            num_parameters, tokens_per_second = count(shape), speed(shape)
            loss = predicted_loss(num_parameters, predicted * tokens_per_second * seconds, unique_tokens)
            timed[index] = Candidate(
                shape=shape, num_parameters=num_parameters, tokens_per_second=tokens_per_second, num_tokens=tokens_per_second * seconds, loss=loss
            )
        return timed[index].loss

    look(at)
    for direction in (-1, 1):
        while look(at + direction) < timed[at].loss:
            at += direction
    return timed[at], [timed[i] for i in sorted(timed)]


def flops_per_token(num_parameters: int, shape: Shape, context: int) -> float:
    """Operations to learn from a token: 6 N, and 6 times layers, width and half the context for attention (Kaplan et al. 2020; causal)."""
    return 6 * num_parameters + 6 * shape.num_layers * shape.width * context


def matmul_peak(dtype: torch.dtype, device: torch.device, seconds: float = 1.0, size: int = 2048) -> float:
    """Floating-point operations a second of a large square matrix product, the best of several."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def product() -> float:
        return (a @ b)[0, 0].item()  # asking for a value waits until a graphics card is done

    best = math.inf
    for took in _timed(product, seconds):
        best = min(best, took)
    return 2 * size**3 / best


def _timed(work: Callable[[], object], seconds: float) -> Iterator[float]:
    work()
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        started = time.perf_counter()
        work()
        yield time.perf_counter() - started
