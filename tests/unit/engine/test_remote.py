"""The remote engine against a real server that misbehaves on order."""

import time

import pytest

from noria.engine import RemoteGenerator
from noria.errors import ContextOverflowError, ModelError
from noria.schema import Delta, Generation, GenerationRequest, Message, ToolSpec
from noria.testing import ScriptedGenerator
from noria.testing.openai_server import Fault, openai_server

REQUEST = GenerationRequest(messages=(Message(role="user", content="When?", hints=("2026-03-04",)),), max_tokens=20)
TOOL = ToolSpec(name="book", parameters={"type": "object", "properties": {"guests": {"type": "integer"}}})


def remote(url: str, **settings) -> RemoteGenerator:
    return RemoteGenerator(url, "some-model", "secret", **{"timeout_seconds": 5.0, "backoff_seconds": 0.01, **settings})


def test_an_answer_is_streamed() -> None:
    with openai_server(ScriptedGenerator(["Hello, 世界\u2028!"])) as server, remote(server.url) as generator:
        *deltas, generation = generator.stream(REQUEST)
        assert isinstance(generation, Generation)
        assert "".join(d.text for d in deltas if isinstance(d, Delta)) == generation.text == "Hello, 世界\u2028!"
        assert len(deltas) > 1
        assert generation.finish_reason == "stop"
        assert generation.num_completion_tokens == 11  # as the server counted
        assert server.headers[0]["authorization"] == "Bearer secret"
        assert server.requests[0]["messages"] == [{"role": "user", "content": "When? [2026-03-04]"}]


def test_calls_arrive_as_calls() -> None:
    with openai_server(ScriptedGenerator([{"book": {"guests": 2}}])) as server, remote(server.url) as generator:
        *deltas, generation = generator.stream(REQUEST.model_copy(update={"tools": (TOOL,), "tool_choice": "required"}))
        assert isinstance(generation, Generation)
        assert deltas == []
        (call,) = generation.message.tool_calls
        assert (call.id, call.name, call.arguments) == ("call_0", "book", {"guests": 2})
        assert generation.finish_reason == "tool_calls"
        assert server.requests[0]["tools"] == [TOOL.to_openai()]
        assert server.requests[0]["tool_choice"] == "required"


def test_settings_are_passed_on() -> None:
    request = REQUEST.model_copy(update={"temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ("x",), "response_schema": {"type": "integer"}})
    with openai_server(ScriptedGenerator(["1"])) as server, remote(server.url) as generator:
        generator.generate(request)
        sent = server.requests[0]
        assert {k: sent[k] for k in ("model", "max_tokens", "temperature", "top_p", "seed", "stop")} == {
            "model": "some-model",
            "max_tokens": 20,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 3,
            "stop": ["x"],
        }
        assert sent["response_format"]["json_schema"]["schema"] == {"type": "integer"}


@pytest.mark.parametrize("faults", [[Fault(status=429)], [Fault(status=500), Fault(status=503), Fault(status=429, headers={"retry-after": "0.01"})]])
def test_it_is_tried_again_before_the_first_token(faults: list[Fault]) -> None:
    with openai_server(ScriptedGenerator(["Good"]), faults) as server, remote(server.url) as generator:
        assert generator.generate(REQUEST).text == "Good"
        assert len(server.requests) == len(faults) + 1


def test_a_stream_cut_before_its_first_token_is_tried_again() -> None:
    with openai_server(ScriptedGenerator(["Lost", "Good"]), [Fault(cut_after=0)]) as server, remote(server.url) as generator:
        assert generator.generate(REQUEST).text == "Good"


def test_a_stream_cut_later_is_not_said_twice() -> None:
    with openai_server(ScriptedGenerator(["Long answer that is cut"]), [Fault(cut_after=2)]) as server, remote(server.url) as generator:
        heard: list[str] = []
        with pytest.raises(ModelError, match="failed"):
            heard.extend(item.text for item in generator.stream(REQUEST))
        assert "".join(heard) == "Long ans"
        assert len(server.requests) == 1


def test_retries_end() -> None:
    with openai_server(ScriptedGenerator([]), [Fault(status=503)] * 3) as server, remote(server.url, max_retries=2) as generator:
        with pytest.raises(ModelError, match=r"status 503, fault on order. Check `\[engine\] url`"):
            generator.generate(REQUEST)
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault(status=401), ModelError, "api_key_env"),
        (Fault(status=404), ModelError, "knows no model 'some-model'"),
        (Fault(status=400), ModelError, "status 400, fault on order"),
        (Fault(status=400, body={"error": {"message": "too long", "code": "context_length_exceeded"}}), ContextOverflowError, "Send fewer messages"),
    ],
)
def test_refusals_are_not_tried_again(fault: Fault, error: type[Exception], message: str) -> None:
    with openai_server(ScriptedGenerator([]), [fault]) as server, remote(server.url) as generator:
        with pytest.raises(error, match=message):
            generator.generate(REQUEST)
        assert len(server.requests) == 1


def test_silence_ends() -> None:
    with (
        openai_server(ScriptedGenerator([]), [Fault(delay_seconds=2.0)]) as server,
        remote(server.url, timeout_seconds=0.2, max_retries=0) as generator,
    ):
        began = time.monotonic()
        with pytest.raises(ModelError, match="ReadTimeout"):
            generator.generate(REQUEST)
        assert time.monotonic() - began < 1.5


def test_nobody_there() -> None:
    with remote("http://127.0.0.1:9/v1", max_retries=1) as generator, pytest.raises(ModelError, match="ConnectError"):
        generator.generate(REQUEST)


def test_closing_the_iterator_closes_the_connection() -> None:
    scripted = ScriptedGenerator(["word " * 20_000], context_tokens=100_000)
    with openai_server(scripted) as server, remote(server.url) as generator:
        stream = generator.stream(REQUEST)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        deadline = time.monotonic() + 10
        while server.open_streams and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.open_streams == 0


def test_overflow_is_refused_before_any_work() -> None:
    with remote("http://127.0.0.1:9/v1", context_tokens=100) as generator, pytest.raises(ContextOverflowError):
        generator.stream(REQUEST.model_copy(update={"max_tokens": 90}))


def test_the_count_is_an_upper_estimate() -> None:
    from noria.model import Renderer, load_tokenizer, resolve

    renderer = Renderer(load_tokenizer(resolve("smollm2-135m").path))
    with remote("http://127.0.0.1:9/v1") as generator:
        messages = [Message(role="user", content="A table for two people tomorrow evening, please, at half past six.")]
        assert generator.count_tokens(messages, [TOOL]) >= len(renderer.prompt(messages, [TOOL]))
