"""Answers in OpenAI's form, checked with the official client's own types."""

import json

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from noria.schema import Message, ToolCall
from noria.serve.format import Chunks, Heading, Usage, completion, token_logprobs

HEAD = Heading(receipt="turn_1", model="desk", created=1_700_000_000, conversation_id="conv_1", release="r1")
USAGE = Usage(prompt_tokens=3, completion_tokens=2)
CALL = Message(role="assistant", tool_calls=(ToolCall(id="call_0", name="look", arguments={"where": "Zürich"}),))


def chunks_of(data: bytes) -> list[ChatCompletionChunk]:
    events = [event.removeprefix("data: ") for event in data.decode().strip().split("\n\n")]
    return [ChatCompletionChunk.model_validate(json.loads(event), strict=True) for event in events if event != "[DONE]"]


def test_a_completion_is_openais() -> None:
    body = completion(HEAD, CALL, "tool_calls", USAGE, None)
    parsed = ChatCompletion.model_validate(body)
    assert parsed.choices[0].message.tool_calls is not None
    assert json.loads(parsed.choices[0].message.tool_calls[0].function.arguments) == {"where": "Zürich"}  # type: ignore[union-attr]
    assert parsed.choices[0].message.content is None
    assert parsed.usage is not None
    assert parsed.usage.total_tokens == 5


def test_streamed_chunks_are_openais_and_carry_usage_only_when_asked() -> None:
    for include_usage in (False, True):
        chunks = Chunks(HEAD, include_usage)
        made = chunks_of(chunks.first() + chunks.text('a "quoted"\nline') + chunks.note({"kind": "tool"}) + chunks.last("stop", USAGE, None))
        assert made[0].choices[0].delta.role == "assistant"
        assert made[1].choices[0].delta.content == 'a "quoted"\nline'
        assert made[2].model_extra == {"noria": {"step": {"kind": "tool"}}}
        assert made[3].choices[0].finish_reason == "stop"
        assert {chunk.id for chunk in made} == {"turn_1"}
        assert len(made) == (5 if include_usage else 4)
        assert ("usage" in made[0].model_fields_set) is include_usage
        assert (made[-1].usage is not None) is include_usage


def test_the_last_bytes_say_done() -> None:
    assert Chunks(HEAD, False).last("stop", USAGE, None).endswith(b"data: [DONE]\n\n")


def test_a_streamed_tool_call_joins_to_the_call() -> None:
    first, second = chunks_of(b"".join(Chunks(HEAD, False).tool_calls(CALL.tool_calls)))
    [name], [arguments] = first.choices[0].delta.tool_calls or [], second.choices[0].delta.tool_calls or []
    assert (name.id, name.index, arguments.index) == ("call_0", 0, 0)
    assert name.function is not None
    assert arguments.function is not None
    assert json.loads((name.function.arguments or "") + (arguments.function.arguments or "")) == {"where": "Zürich"}


def test_each_sampled_token_has_its_entry() -> None:
    entries = token_logprobs([("He", (5,)), ("llo", (6, 7))], [5, 6, 7, 8], [-0.1, -0.2, -0.3, -0.4])
    assert [(e["token"], e["logprob"]) for e in entries] == [("He", -0.1), ("llo", -0.2), ("", -0.3), ("", -0.4)]
    assert entries[0]["bytes"] == [72, 101]
