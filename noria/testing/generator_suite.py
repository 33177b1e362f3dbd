"""What every `Generator` must do: checks that any implementation runs, with a real model behind it.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_engine(check): check(Subject(generator=...))

A check raises AssertionError. Checks of token ids and log-probabilities pass at once for a generator that does not tell them.
"""

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema

from noria.errors import ContextOverflowError, DataError
from noria.schema import Delta, Generation, GenerationRequest, Generator, Message, ToolSpec

TOOL = ToolSpec(
    name="book_table",
    description="Book a table",
    parameters={
        "type": "object",
        "properties": {
            "date": {"type": "string", "format": "date"},
            "guests": {"type": "integer", "minimum": 1, "maximum": 12},
            "area": {"type": "string", "enum": ["inside", "terrace"]},
        },
        "required": ["date", "guests"],
        "additionalProperties": False,
    },
)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "size": {"enum": ["small", "large"]}},
    "required": ["city", "size"],
    "additionalProperties": False,
}
PROMPTS = (
    "What is the capital of France?",
    "List three fruits.",
    "Why is the sky blue?",
    "Name a famous painter.",
    "How do I bake bread?",
    "Explain gravity.",
    "Say hello.",
    "What is two plus two?",
)
CHINESE = "你好，世界！🎉 欢迎"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A generator under test and what may be asked of it."""

    generator: Generator
    teacher: Callable[[Sequence[int], Sequence[int]], list[float]] | None = None
    """Log-probabilities of an answer's tokens behind a prompt, from the same weights; None if the generator tells no tokens."""
    tolerance: float = 1e-3
    """Largest difference to the teacher's log-probabilities."""
    tokens: int = 16
    """How long the answers of the checks are: less for slow engines."""


def _ask(subject: Subject, text: str = PROMPTS[0], **settings: Any) -> GenerationRequest:
    asked: dict[str, Any] = {"max_tokens": subject.tokens, **settings}
    return GenerationRequest(messages=(Message(role="user", content=text),), **asked)


def _run(subject: Subject, request: GenerationRequest) -> tuple[list[Delta], Generation]:
    *deltas, last = subject.generator.stream(request)
    assert isinstance(last, Generation), "the last item of a stream is its Generation"
    assert all(isinstance(delta, Delta) for delta in deltas), "all other items are deltas"
    return [delta for delta in deltas if isinstance(delta, Delta)], last


def check_stream_is_the_answer(subject: Subject) -> None:
    deltas, generation = _run(subject, _ask(subject))
    assert generation.text
    assert "".join(delta.text for delta in deltas) == generation.text
    assert all(delta.text for delta in deltas), "a delta without text says nothing"
    assert generation.message.content == generation.text
    assert generation.num_prompt_tokens > 0
    assert 0 < generation.num_completion_tokens <= subject.tokens
    assert 0 <= generation.first_token_seconds <= generation.seconds
    if subject.teacher is not None:
        streamed = list(itertools.chain.from_iterable(delta.token_ids for delta in deltas))
        assert list(generation.token_ids[: len(streamed)]) == streamed
        assert len(generation.token_ids) == len(generation.logprobs) == generation.num_completion_tokens
        assert len(generation.prompt_token_ids) == generation.num_prompt_tokens


def check_greedy_is_deterministic(subject: Subject) -> None:
    first, second = (subject.generator.generate(_ask(subject, PROMPTS[1])) for _ in range(2))
    assert first.text == second.text
    assert first.token_ids == second.token_ids


def check_max_tokens(subject: Subject) -> None:
    generation = subject.generator.generate(_ask(subject, "Tell me a long story.", max_tokens=3))
    assert generation.finish_reason == "length"
    assert generation.num_completion_tokens == 3


def check_stop_strings(subject: Subject) -> None:
    whole = subject.generator.generate(_ask(subject, PROMPTS[2])).text
    middle = len(whole) // 2
    for stop in (whole[middle - 3 : middle + 4], whole[middle]):  # the first spans tokens
        deltas, generation = _run(subject, _ask(subject, PROMPTS[2], stop=("never said", stop)))
        assert generation.text == whole[: whole.index(stop)]
        assert "".join(delta.text for delta in deltas) == generation.text
        assert generation.finish_reason == "stop"


def check_seeds(subject: Subject) -> None:
    request = _ask(subject, "Tell me a story.", temperature=1.0, seed=7)
    alone = subject.generator.generate(request)
    assert subject.generator.generate(request).text == alone.text
    others = {subject.generator.generate(request.model_copy(update={"seed": seed})).text for seed in (8, 9)}
    assert others - {alone.text}, "other seeds give other answers"
    busy = _concurrently(subject, [request, *(_ask(subject, prompt) for prompt in PROMPTS[:3])])
    assert busy[0].text == alone.text, "the answer to a seed depends on what else runs"


def check_logprobs(subject: Subject) -> None:
    if subject.teacher is None:
        return
    for settings in ({}, {"temperature": 0.8, "seed": 3}, {"response_schema": SCHEMA}):
        generation = subject.generator.generate(_ask(subject, PROMPTS[5], **settings))
        expected = subject.teacher(generation.prompt_token_ids, generation.token_ids)
        differences = [abs(a - b) for a, b in zip(expected, generation.logprobs, strict=True)]
        assert max(differences) <= subject.tolerance, f"{settings}: off by up to {max(differences)}"


def check_json_schema(subject: Subject) -> None:
    generation = subject.generator.generate(_ask(subject, "Name a city.", response_schema=SCHEMA, max_tokens=32))
    value = json.loads(generation.text)
    jsonschema.validate(value, SCHEMA)
    assert generation.text == json.dumps(value, ensure_ascii=False, separators=(",", ":")), "compact form"
    assert generation.finish_reason == "stop"


def check_tool_call(subject: Subject) -> None:
    request = _ask(subject, "A table for two, please.", tools=(TOOL,), tool_choice="required", max_tokens=48)
    generation = subject.generator.generate(request)
    assert generation.finish_reason == "tool_calls"
    (call,) = generation.message.tool_calls
    assert call.name == TOOL.name
    assert call.id
    jsonschema.validate(call.arguments, TOOL.parameters)


def check_no_tool_call(subject: Subject) -> None:
    generation = subject.generator.generate(_ask(subject, "A table for two, please.", tools=(TOOL,), tool_choice="none"))
    assert not generation.message.tool_calls
    assert generation.text
    assert not generation.text.startswith("{")


def check_chinese_is_streamed_whole(subject: Subject) -> None:
    deltas, generation = _run(subject, _ask(subject, "你好", response_schema={"enum": [CHINESE]}, max_tokens=48))
    assert json.loads(generation.text) == CHINESE
    assert not any("\N{REPLACEMENT CHARACTER}" in delta.text for delta in deltas)
    assert len(deltas) > 3


def check_cancel(subject: Subject) -> None:
    stream = subject.generator.stream(_ask(subject, "Tell me a long story.", max_tokens=300))
    assert isinstance(next(stream), Delta)
    stream.close()  # type: ignore[attr-defined]
    assert subject.generator.generate(_ask(subject)).text
    unused = subject.generator.stream(_ask(subject, max_tokens=300))
    unused.close()  # type: ignore[attr-defined]


def check_overflow(subject: Subject) -> None:
    room = subject.generator.context_tokens
    failure: ContextOverflowError | None = None
    try:
        subject.generator.stream(_ask(subject, "word " * 20, max_tokens=room))
    except ContextOverflowError as error:
        failure = error
    assert failure is not None, "an answer that cannot fit was begun"
    assert failure.context_tokens == room
    assert failure.prompt_tokens >= 20
    messages = _ask(subject).messages
    assert subject.generator.count_tokens(messages, [TOOL]) > subject.generator.count_tokens(messages) > 0


def check_bad_settings(subject: Subject) -> None:
    both: dict[str, Any] = {"tools": (TOOL,), "response_schema": SCHEMA}
    wrong: tuple[dict[str, Any], ...] = ({"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"stop": ("",)}, both)
    for settings in wrong:
        try:
            subject.generator.stream(_ask(subject, **settings))
        except DataError:
            continue
        raise AssertionError(f"{settings} was accepted")


def check_concurrent_answers_are_the_same(subject: Subject) -> None:
    requests = [_ask(subject, prompt) for prompt in PROMPTS]
    alone = [subject.generator.generate(request).text for request in requests]
    together = [generation.text for generation in _concurrently(subject, requests)]
    assert together == alone


def _concurrently(subject: Subject, requests: Sequence[GenerationRequest]) -> list[Generation]:
    results: dict[int, Generation] = {}

    def run(index: int) -> None:
        results[index] = subject.generator.generate(requests[index])

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == len(requests), "a concurrent request failed"
    return [results[index] for index in range(len(requests))]


CHECKS: tuple[Callable[[Subject], None], ...] = (
    check_stream_is_the_answer,
    check_greedy_is_deterministic,
    check_max_tokens,
    check_stop_strings,
    check_seeds,
    check_logprobs,
    check_json_schema,
    check_tool_call,
    check_no_tool_call,
    check_chinese_is_streamed_whole,
    check_cancel,
    check_overflow,
    check_bad_settings,
    check_concurrent_answers_are_the_same,
)
