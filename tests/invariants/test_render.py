"""What is served is what is trained on: every prompt is the beginning of the example, whatever is said."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.errors import ModelError
from noria.model import Renderer, load_tokenizer, resolve
from noria.schema import Message, ToolCall, ToolSpec

TOOLS = (
    ToolSpec(
        name="book_table",
        description="Book a table",
        parameters={
            "type": "object",
            "properties": {
                "date": {"type": "string", "format": "date"},
                "guests": {"type": "integer"},
                "wishes": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["date", "guests"],
        },
    ),
    ToolSpec(name="cancel", description="Cancel a booking", parameters={"type": "object", "properties": {"code": {"type": "string"}}}),
)

nasty = st.sampled_from(
    ["<|im_end|>", "<|im_start|>system\n", "<|endoftext|>", "\n", " ", "{", "你好", "👩‍👩‍👧", "\N{REPLACEMENT CHARACTER}", "  \t"]
)
texts = st.lists(st.one_of(nasty, st.text(max_size=12)), max_size=4).map("".join)
values = st.one_of(texts, st.integers(), st.booleans(), st.lists(texts, max_size=2))
calls = st.builds(
    ToolCall,
    id=st.just("call_1"),
    name=st.sampled_from([tool.name for tool in TOOLS]),
    arguments=st.dictionaries(st.sampled_from(["date", "guests", "wishes", "code", "other"]), values, max_size=4),
)
system = st.builds(Message, role=st.just("system"), content=texts)
user = st.builds(Message, role=st.just("user"), content=texts, hints=st.lists(st.sampled_from(["2026-03-04", "18:30"]), max_size=2).map(tuple))
reply = st.builds(Message, role=st.just("assistant"), content=texts)
calling = st.builds(Message, role=st.just("assistant"), tool_calls=st.lists(calls, min_size=1, max_size=2).map(tuple))
result = st.builds(Message, role=st.just("tool"), content=texts, tool_call_id=st.just("call_1"))
conversations = st.tuples(st.lists(system, max_size=1), st.lists(st.one_of(user, reply, calling, result), max_size=8)).map(
    lambda parts: [*parts[0], *parts[1]]
)
toolboxes = st.sampled_from([(), TOOLS[:1], TOOLS])


@cache
def renderer() -> Renderer:
    return Renderer(load_tokenizer(resolve("smollm2-135m").path))


@settings(max_examples=50, deadline=None)
@given(conversations, toolboxes)
def test_a_prompt_is_the_beginning_of_the_example(messages: list[Message], tools: tuple[ToolSpec, ...]) -> None:
    whole = renderer().example(messages, tools)
    assert len(whole.token_ids) == len(whole.loss_mask)
    for index, message in enumerate(messages):
        if message.role == "assistant":
            prompt = renderer().prompt(messages[:index], tools)
            answer = [*renderer().tokenizer.encode(renderer().completion_text(message, tools)), renderer().tokenizer.eos_id]
            end = len(prompt) + len(answer)
            assert whole.token_ids[:end] == prompt + answer
            assert whole.loss_mask[len(prompt) : end] == [True] * len(answer)
            assert not whole.loss_mask[len(prompt) - 1]
            assert not any(whole.loss_mask[end : end + 1])


@settings(max_examples=50, deadline=None)
@given(conversations, toolboxes, st.data())
def test_only_chosen_answers_are_learnt(messages: list[Message], tools: tuple[ToolSpec, ...], data: st.DataObject) -> None:
    flags = data.draw(st.lists(st.booleans(), min_size=len(messages), max_size=len(messages)))
    whole, chosen = renderer().example(messages, tools), renderer().example(messages, tools, flags)
    assert chosen.token_ids == whole.token_ids
    learnt = [i for i, flag in zip(chosen.token_ids, chosen.loss_mask, strict=True) if flag]
    expected: list[int] = []
    for message, flag in zip(messages, flags, strict=True):
        if flag and message.role == "assistant":
            expected += [*renderer().tokenizer.encode(renderer().completion_text(message, tools)), renderer().tokenizer.eos_id]
    assert learnt == expected


@settings(max_examples=50, deadline=None)
@given(conversations, toolboxes)
def test_only_the_renderer_puts_special_tokens(messages: list[Message], tools: tuple[ToolSpec, ...]) -> None:
    rendered = renderer().prompt(messages, tools)
    has_system = bool(messages) and messages[0].role == "system"
    num_turns = len(messages) + (bool(tools) and not has_system)
    specials = [i for i in rendered if i in renderer().tokenizer.special_ids]
    start, end = renderer().tokenizer.special_id("<|im_start|>"), renderer().tokenizer.special_id("<|im_end|>")
    assert specials == [start, end] * num_turns + [start]


@settings(max_examples=50, deadline=None)
@given(calling)
def test_calls_survive_rendering_and_parsing(message: Message) -> None:
    parsed = renderer().parse(renderer().completion_text(message, TOOLS), TOOLS)
    assert [(c.name, c.arguments) for c in parsed.tool_calls] == [(c.name, c.arguments) for c in message.tool_calls]


def test_the_decided_format() -> None:
    messages = [
        Message(role="system", content="You are the desk."),
        Message(role="user", content="A table tomorrow at half past six", hints=("2026-03-04", "18:30")),
        Message(role="assistant", tool_calls=(ToolCall(id="c", name="book_table", arguments={"guests": 2, "date": "2026-03-04"}),)),
        Message(role="tool", content='{"code":"A1"}', tool_call_id="c"),
    ]
    tokenizer = renderer().tokenizer
    assert tokenizer._full.decode(renderer().prompt(messages, TOOLS), skip_special_tokens=False) == (
        "<|im_start|>system\nYou are the desk.\nTools:\n"
        "book_table(date:date, guests:int, wishes?:[str]) Book a table\n"
        "cancel(code?:str) Cancel a booking<|im_end|>\n"
        "<|im_start|>user\nA table tomorrow at half past six [2026-03-04; 18:30]<|im_end|>\n"
        '<|im_start|>assistant\n{"book_table":{"date":"2026-03-04","guests":2,"wishes":null}}<|im_end|>\n'
        '<|im_start|>tool\n{"code":"A1"}<|im_end|>\n<|im_start|>assistant\n'
    )


def test_flags_must_fit() -> None:
    with pytest.raises(ModelError, match="2 flags for 1 messages"):
        renderer().example([Message(role="user", content="x")], (), [True, False])
