"""Chat completions as the official client meets them, sync and async, streamed and not."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from noria.errors import ModelError
from noria.schema import Delta, Generation, GenerationRequest, Message
from noria.testing import ScriptedGenerator

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
BOOKING = ["2026-03-04", "19:00"]
LOOK: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"where": {"type": "string"}}}}}


def booking_script() -> list[Any]:
    return [
        {"book_table": {"day": "2026-03-04", "at": "19:00", "guests": 2, "name": "Wang"}},
        "Booked for Wednesday.",
    ]


def official(desk: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{desk.url}/v1", api_key="none", max_retries=0)


class Gated(ScriptedGenerator):
    """Waits before each piece until it is let go."""

    def __init__(self, script: Any) -> None:
        super().__init__(script)
        self.go = threading.Event()
        self.started = threading.Event()

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        for number, item in enumerate(super().stream(request)):
            if number == 1:
                self.started.set()
                assert self.go.wait(20)
            yield item


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def cancelled_chats(served: Any) -> float:
    """How many clients the server has seen go away."""
    line = next(line for line in served.client.get("/metrics").text.splitlines() if line.startswith("noria_cancelled_chats_total "))
    return float(line.split()[1])


def test_the_agent_answers_with_a_receipt(desk: Any) -> None:
    served = desk(booking_script())
    with official(served) as client:
        raw = client.chat.completions.with_raw_response.create(model="desk", messages=[{"role": "user", "content": "A table for two"}])
    answer = raw.parse()
    assert answer.choices[0].message.content == "Booked for Wednesday."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert raw.headers["x-noria-receipt"] == answer.id
    turn = served.runtime.traces.turn(answer.id)
    assert turn.conversation_id == raw.headers["x-noria-conversation"]
    assert [step.kind for step in served.runtime.traces.steps(turn.id)] == ["model", "tool", "model"]


def test_a_streamed_answer_joins_to_the_whole_and_shows_its_steps(desk: Any) -> None:
    served = desk(booking_script())
    with official(served) as client:
        stream = client.chat.completions.create(model="desk", messages=HELLO, stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Booked for Wednesday."
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) > 2
    steps = [c.model_extra["noria"]["step"] for c in chunks if c.model_extra and "step" in c.model_extra.get("noria", {})]
    assert [step["kind"] for step in steps] == ["model", "tool", "model"]
    assert steps[1]["name"] == "book_table"
    assert steps[1]["arguments"]["guests"] == 2
    assert (steps[1]["decision"], steps[2]["decision"]) == (0, 1)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens


def test_the_async_client_gets_many_answers_at_once(desk: Any) -> None:
    served = desk(lambda request: f"You said {request.messages[-1].content}")

    async def ask(client: openai.AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(model="desk", messages=[{"role": "user", "content": f"number {number}"}], stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def main() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(16)))

    assert asyncio.run(main()) == [f"You said number {number}" for number in range(16)]


def test_tools_of_the_client_are_called_by_the_client(desk: Any) -> None:
    served = desk([{"look": {"where": "Wien"}}, "It rains."])
    with official(served) as client:
        first = client.chat.completions.create(model="desk", messages=HELLO, tools=[LOOK])
        assert first.choices[0].finish_reason == "tool_calls"
        calls = first.choices[0].message.tool_calls or []
        assert json.loads(calls[0].function.arguments) == {"where": "Wien"}  # type: ignore[union-attr]
        messages = [*HELLO, first.choices[0].message, {"role": "tool", "tool_call_id": calls[0].id, "content": "rain"}]
        second = client.chat.completions.create(model="desk", messages=messages, tools=[LOOK])
    assert second.choices[0].message.content == "It rains."
    turns = [served.runtime.traces.turn(answer.id) for answer in (first, second)]
    assert turns[0].conversation_id == turns[1].conversation_id
    assert [m.role for m in served.generator.requests[1].messages] == ["user", "assistant", "tool"]
    assert [tool.name for tool in served.generator.requests[0].tools] == ["look"]


def test_a_streamed_tool_call_is_never_shown_as_text(desk: Any) -> None:
    served = desk([{"look": {"where": "Wien"}}, "{sic} is a reply"])
    with official(served) as client:
        chunks = list(client.chat.completions.create(model="desk", messages=HELLO, tools=[LOOK], stream=True))
        assert not any(c.choices[0].delta.content for c in chunks)
        pieces = [c.choices[0].delta.tool_calls[0].function for c in chunks if c.choices[0].delta.tool_calls]
        assert "".join(piece.arguments or "" for piece in pieces if piece) == '{"where": "Wien"}'
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
        reply = list(client.chat.completions.create(model="desk", messages=HELLO, tools=[LOOK], stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in reply) == "{sic} is a reply"


def test_the_model_alone_gets_every_setting(desk: Any) -> None:
    served = desk(['{"a": 1}'])
    schema: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    with official(served) as client:
        answer = client.chat.completions.create(
            model="desk:raw", messages=HELLO, response_format=schema, temperature=0.5, top_p=0.9, seed=7, stop=["\n"], max_tokens=9, logprobs=True
        )
    assert answer.choices[0].message.content == '{"a": 1}'
    asked = served.generator.requests[0]
    assert (asked.temperature, asked.top_p, asked.seed, asked.stop, asked.max_tokens) == (0.5, 0.9, 7, ("\n",), 9)
    assert asked.response_schema == schema["json_schema"]["schema"]
    assert [m.content for m in asked.messages] == ["Hello"]
    assert answer.choices[0].logprobs is not None
    assert "".join(entry.token for entry in answer.choices[0].logprobs.content or []) == '{"a": 1}'


def test_the_agent_samples_as_asked(desk: Any) -> None:
    served = desk(["Hi.", "Hi."])
    served.chat("Hello", temperature=0.8, seed=5, max_tokens=40)
    served.chat("Hello")
    first, second = served.generator.requests
    assert (first.temperature, first.seed, first.max_tokens) == (0.8, 5, 40)
    assert (second.temperature, second.max_tokens) == (0.0, 256)


def test_log_probabilities_of_an_agents_reply(desk: Any) -> None:
    served = desk(booking_script())
    content = served.chat("A table", logprobs=True).json()["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == "Booked for Wednesday."


WRONG: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"model": "gpt-5"}, 404, "model_not_found", "model"),
    ({"model": "desk:cooked"}, 404, "model_not_found", "model"),
    ({"model": "desk@r9"}, 404, "release_not_found", None),
    ({"temperature": 9}, 400, "invalid_value", "temperature"),
    ({"stop": ["x"]}, 400, "invalid_value", "stop"),
    ({"messages": [{"role": "user"}]}, 400, "invalid_value", "messages[0]"),
    ({"metadata": {"today": "tomorrow"}}, 400, "invalid_value", "metadata.today"),
    ({"metadata": {"conversation_id": "conv_gone"}}, 404, "conversation_not_found", "conversation"),
    ({"max_tokens": 9_000}, 400, "context_length_exceeded", "messages"),
    ({"model": "desk:raw", "max_tokens": 9_000}, 400, "context_length_exceeded", "messages"),
]


@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_openais_body(desk: Any, stream: bool) -> None:
    served = desk(lambda _: "Hi.", settings="[agent]\nmax_turn_tokens = 100000\n")
    for body, status, code, param in WRONG:
        response = served.chat("Hello", stream=stream, **({"model": "desk"} | body))
        assert response.status_code == status, body
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error")
    assert served.runtime.traces.open_turns() == []


def test_the_official_client_raises_its_own_errors(desk: Any) -> None:
    served = desk(lambda _: ModelError("The engine stopped. Restart it."))
    with official(served) as client:
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="gpt-5", messages=HELLO)
        with pytest.raises(openai.InternalServerError, match="The engine stopped") as caught:
            client.chat.completions.create(model="desk:raw", messages=HELLO)
    assert caught.value.status_code == 503
    assert caught.value.code == "engine_unavailable"


def test_an_error_amid_a_stream_reaches_the_client(desk: Any) -> None:
    served = desk([{"find_table": {"day": "2026-03-04", "guests": 2}}, ModelError("The engine stopped.")])
    with official(served) as client:
        stream = client.chat.completions.create(model="desk", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="The engine stopped"):
            list(stream)


def test_a_body_that_is_no_json(desk: Any) -> None:
    served = desk([])
    response = served.client.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    response = served.client.post("/v1/chat/completions", json=[1])
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


def test_too_many_chats_at_once_are_sent_away(desk: Any) -> None:
    generator = Gated(lambda _: "A long answer indeed")
    served = desk(generator, overrides={"max_concurrent": 1})
    with served.client.stream("POST", "/v1/chat/completions", json={"model": "desk", "messages": HELLO, "stream": True}) as first:
        assert generator.started.wait(10)
        refused = served.chat("Me too")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["type"] == "rate_limit_error"
        generator.go.set()
        first.read()
    until(lambda: served.chat("Now?").status_code == 200)


def test_a_conversation_gets_one_answer_at_a_time(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noria.serve.chat.STOPPING_SECONDS", 0.1)
    generator = Gated(lambda _: "A long answer indeed")
    served = desk(generator)
    with served.client.stream("POST", "/v1/chat/completions", json={"model": "desk", "messages": HELLO, "stream": True}) as first:
        refused = served.chat("And?", headers={"x-noria-conversation": first.headers["x-noria-conversation"]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conversation_busy")
        generator.go.set()
        first.read()


@pytest.mark.parametrize("model", ["desk", "desk:raw"])
def test_who_speaks_on_while_the_stopped_answer_ends_is_heard(desk: Any, model: str) -> None:
    answers = iter(["A long answer, " * 50, "Short."])
    generator = Gated(lambda _: next(answers))
    served = desk(generator)
    with served.client.stream("POST", "/v1/chat/completions", json={"model": model, "messages": HELLO, "stream": True}) as first:
        assert generator.started.wait(10)
        named = {"x-noria-conversation": first.headers["x-noria-conversation"]}
    until(lambda: cancelled_chats(served) == 1)
    threading.Timer(0.2, generator.go.set).start()  # the model takes this long to notice
    second = served.chat("In short?", model=model, headers=named)
    assert second.json()["choices"][0]["message"]["content"] == "Short."
    turns = [served.runtime.traces.turn(receipt) for receipt in (first.headers["x-noria-receipt"], second.headers["x-noria-receipt"])]
    assert [turn.state for turn in turns if turn is not None] == ["cancelled", "done"]


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_while_waiting_is_not_answered(desk: Any, stream: bool) -> None:
    generator = Gated(lambda _: "A long answer indeed")
    served = desk(generator)
    with served.client.stream("POST", "/v1/chat/completions", json={"model": "desk", "messages": HELLO, "stream": True}) as first:
        named = {"x-noria-conversation": first.headers["x-noria-conversation"]}
        with httpx.Client(base_url=served.url, timeout=0.3, trust_env=False) as impatient, pytest.raises(httpx.ReadTimeout):
            impatient.post("/v1/chat/completions", headers=named, json={"model": "desk", "messages": HELLO, "stream": stream})
        until(lambda: cancelled_chats(served) == 1)
        generator.go.set()
        first.read()
    until(lambda: b"noria_active_chats 0.0" in served.client.get("/metrics").content)
    told = [message.content for message in served.runtime.traces.history(named["x-noria-conversation"])]
    assert told == ["Hello", "A long answer indeed"]


def test_of_two_that_tell_the_same_history_one_goes_on(desk: Any) -> None:
    generator = Gated(lambda request: f"Answer {len(request.messages)}")
    generator.go.set()
    served = desk(generator)
    begun = served.chat("Hello").json()["choices"][0]["message"]
    told = [*HELLO, {"role": "assistant", "content": begun["content"]}, {"role": "user", "content": "And?"}]
    generator.go.clear()
    generator.started.clear()
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(served.client.post, "/v1/chat/completions", json={"model": "desk", "messages": told})
        assert generator.started.wait(10)
        second = clients.submit(served.client.post, "/v1/chat/completions", json={"model": "desk", "messages": told})
        until(lambda: any(served.runtime._busy._waiting.values()))
        generator.go.set()
        answers = [first.result(), second.result()]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[1].json()["error"]["code"] == "conversation_mismatch"
    again = served.client.post("/v1/chat/completions", json={"model": "desk", "messages": told})
    assert again.status_code == 200
    assert again.headers["x-noria-conversation"] != answers[0].headers["x-noria-conversation"]


@pytest.mark.parametrize("model", ["desk", "desk:raw"])
def test_a_client_that_leaves_a_stream_cancels_the_generation(desk: Any, model: str) -> None:
    generator = Gated(lambda _: "A long answer indeed, too long for anybody")
    served = desk(generator)
    with served.client.stream("POST", "/v1/chat/completions", json={"model": model, "messages": HELLO, "stream": True}) as response:
        receipt = response.headers["x-noria-receipt"]
    until(lambda: cancelled_chats(served) == 1)  # the server has heard of it
    generator.go.set()
    until(lambda: generator.num_cancelled == 1)
    until(lambda: served.runtime.traces.turn(receipt).state == "cancelled")


def test_a_client_that_leaves_while_waiting_cancels_the_generation(desk: Any) -> None:
    generator = Gated(lambda _: "A long answer indeed, too long for anybody")
    served = desk(generator)
    with httpx.Client(base_url=served.url, timeout=0.3, trust_env=False) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.post("/v1/chat/completions", json={"model": "desk", "messages": HELLO})
    until(lambda: cancelled_chats(served) == 1)
    generator.go.set()
    until(lambda: generator.num_cancelled == 1)
    until(lambda: b"noria_active_chats 0.0" in served.client.get("/metrics").content)


def test_what_is_said_never_reaches_the_log(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    served = desk(lambda _: ModelError("The engine stopped."))
    with caplog.at_level("DEBUG"):
        served.chat("my secret is 4711")
        served.chat("my secret is 4711", temperature="my secret is 4711")
        served.client.post("/v1/chat/completions", content=b"my secret is 4711")
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "sqlalchemy"))]
    assert ours
    assert not any("4711" in message for message in ours)


def test_a_turn_that_a_kill_left_open_is_finished_before_the_next_one(desk: Any) -> None:
    served = desk(lambda request: f"You said {[m.content for m in request.messages if m.role == 'user'][-1]}.")
    first = served.chat("One").headers["x-noria-conversation"]
    served.runtime.traces.start_turn(first, [Message(role="user", content="Two")])
    assert served.chat("Three", conversation=first).status_code == 200
    told = [message.content for message in served.runtime.traces.history(first)]
    assert told == ["One", "You said One.", "Two", "You said Two.", "Three", "You said Three."]
    assert served.runtime.traces.open_turns() == []
