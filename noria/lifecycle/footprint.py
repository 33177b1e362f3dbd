"""What serving a release costs on this machine: tokens a second of one chat alone, and memory. Measured for several releases side by side.

In: releases. Out: a `Footprint` each. All engines are loaded at once and the requests alternate between them, so that whatever
else the machine does hits all alike. Memory is what this process and its children grew by while an engine was loaded and answered for the first time.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import psutil

from noria.schema import GenerationRequest, Generator, Message, Record
from noria.serve import Serving

NUM_REQUESTS = 20
MAX_TOKENS = 24
QUESTIONS = (
    "Hello, who are you?",
    "What can you do for me?",
    "Please tell me about yourself.",
    "What did we talk about?",
    "Can you help me with something?",
)


class Footprint(Record):
    """One release on this machine."""

    tokens_per_second: tuple[float, ...]
    """One value a request, the same requests for all releases."""
    memory_megabytes: float


def measure_footprints(loads: Sequence[Callable[[], Serving]], progress: Callable[[int, int], None]) -> list[Footprint]:
    """Measure releases side by side; each function loads one. Raises what loading raises, and ModelError."""
    total = len(loads) * (NUM_REQUESTS + 1)
    with ExitStack() as stack:
        engines: list[Generator] = []
        memory: list[float] = []
        for load in loads:
            before = resident_megabytes()
            serving = load()
            stack.callback(serving.close)
            _speed(serving.generator, 0)  # the first request warms caches up
            memory.append(round(max(0.0, resident_megabytes() - before), 1))
            engines.append(serving.generator)
            progress(len(engines), total)
        speeds: list[list[float]] = [[] for _ in engines]
        for number in range(1, NUM_REQUESTS + 1):
            for index, engine in enumerate(engines):
                speeds[index].append(_speed(engine, number))
                progress(len(engines) * number + index + 1, total)
    return [Footprint(tokens_per_second=tuple(s), memory_megabytes=m) for s, m in zip(speeds, memory, strict=True)]


def resident_megabytes() -> float:
    """Memory of this process and of its children (an engine may run in one)."""
    process = psutil.Process()
    found = 0
    for each in (process, *process.children(recursive=True)):
        try:
            found += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found / 2**20


def _speed(engine: Generator, number: int) -> float:
    """Tokens a second after the first token, of one short answer."""
    message = Message(role="user", content=f"{QUESTIONS[number % len(QUESTIONS)]} ({number})")
    done = engine.generate(GenerationRequest(messages=(message,), max_tokens=MAX_TOKENS))
    tokens, seconds = done.num_completion_tokens - 1, done.seconds - done.first_token_seconds
    if tokens < 1 or seconds <= 0:  # a single token: its whole time counts
        tokens, seconds = max(done.num_completion_tokens, 1), max(done.seconds, 1e-6)
    return tokens / seconds
