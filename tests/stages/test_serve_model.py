"""The embedded 135 M model behind the real server, asked by the official client."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from noria.serve import Runtime
from noria.testing.project import write_small_project
from noria.testing.server import served

QUESTION: list[Any] = [{"role": "user", "content": "Tell a long story about a river."}]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    project = write_small_project(tmp_path_factory.mktemp("desk"))
    with served(Runtime.open(project)) as url:
        yield f"{url}/v1"


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_streamed_is_not_streamed_and_the_same_request_gives_the_same_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="desk:raw", messages=QUESTION, max_tokens=16, logprobs=True)
    stream = client.chat.completions.create(model="desk:raw", messages=QUESTION, max_tokens=16, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces) == whole.choices[0].message.content
    assert sum(bool(piece) for piece in pieces) > 3
    assert whole.choices[0].finish_reason == "length"
    assert whole.choices[0].logprobs is not None
    entries = whole.choices[0].logprobs.content or []
    assert whole.usage is not None
    assert len(entries) == whole.usage.completion_tokens == 16
    assert all(entry.logprob <= 0 for entry in entries)
    assert "".join(entry.token for entry in entries) == whole.choices[0].message.content


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="desk:raw", messages=QUESTION, max_tokens=24)
    text = whole.choices[0].message.content or ""
    word = text.split()[2]
    cut = client.chat.completions.create(model="desk:raw", messages=QUESTION, max_tokens=24, stop=[word])
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].message.content == text.split(word)[0]


def test_an_answer_keeps_to_a_json_schema(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}, "n": {"type": "integer"}}, "required": ["colour", "n"]}
    format_: Any = {"type": "json_schema", "json_schema": {"name": "colour", "schema": schema}}
    answer = client.chat.completions.create(model="desk:raw", messages=QUESTION, max_tokens=40, response_format=format_)
    read = json.loads(answer.choices[0].message.content or "")
    assert read["colour"] in ("red", "blue")
    assert isinstance(read["n"], int)


def test_a_required_call_is_one_of_the_clients_tools(client: openai.OpenAI) -> None:
    parameters = {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}, "required": ["day"]}
    tools: Any = [{"type": "function", "function": {"name": "open_hours", "description": "Opening hours", "parameters": parameters}}]
    asked: list[Any] = [{"role": "user", "content": "When are you open on 2026-03-04?"}]
    stream = client.chat.completions.create(model="desk", messages=asked, tools=tools, tool_choice="required", max_tokens=60, stream=True)
    chunks = [chunk.choices[0] for chunk in stream]
    calls = [chunk.delta.tool_calls[0].function for chunk in chunks if chunk.delta.tool_calls]
    assert calls[0] is not None
    assert calls[0].name == "open_hours"
    assert set(json.loads("".join(call.arguments or "" for call in calls if call))) == {"day"}
    assert chunks[-1].finish_reason == "tool_calls"


def test_the_agent_answers_many_async_clients_at_once(address: str) -> None:
    async def main() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=address, api_key="none", max_retries=0, timeout=60) as client:
            asked = [[{"role": "user", "content": f"Say the number {number}."}] for number in range(4)]
            return await asyncio.gather(*(client.chat.completions.create(model="desk", messages=m, max_tokens=24) for m in asked))  # type: ignore[call-overload]

    answers = asyncio.run(main())
    assert len({answer.id for answer in answers}) == 4
    assert all(answer.choices[0].message.content for answer in answers)


def test_a_prompt_that_does_not_fit_is_refused(client: openai.OpenAI) -> None:
    long: list[Any] = [{"role": "user", "content": "word " * 20_000}]
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="desk", messages=long, stream=True)
    assert caught.value.code == "context_length_exceeded"
