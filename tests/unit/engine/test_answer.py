"""Tokens to deltas: stop strings over token borders, nothing said that is taken back."""

import pytest

from noria.engine.answer import Answer, check_settings, prompt_of
from noria.errors import ContextOverflowError, DataError
from noria.model import Renderer, load_tokenizer, resolve
from noria.schema import GenerationRequest, Message, ToolSpec


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(load_tokenizer(resolve("smollm2-135m").path))


def request(**settings) -> GenerationRequest:
    return GenerationRequest(messages=(Message(role="user", content="hi"),), **settings)


def run(renderer: Renderer, text: str, stop: tuple[str, ...] = (), **settings) -> tuple[list[str], Answer]:
    """Feed the tokens of `text` one by one; the deltas' texts and the answer."""
    answer = Answer(request(stop=stop, **settings), renderer, [1, 2])
    texts: list[str] = []
    for token_id in [*renderer.tokenizer.encode(text), renderer.tokenizer.eos_id]:
        texts += [delta.text for delta in answer.push([token_id], [-1.0])]
        if answer.stopped:
            break
    return texts + [delta.text for delta in answer.finish()], answer


@pytest.mark.parametrize("text", ["Hello there, friend.", "你好，世界！🎉", "a\n\nb", "STO STOP STO"])
def test_without_stop_strings_all_is_said(renderer: Renderer, text: str) -> None:
    texts, answer = run(renderer, text)
    assert "".join(texts) == text
    generation = answer.generation("stop")
    assert (generation.text, generation.finish_reason) == (text, "stop")
    assert generation.token_ids == (*renderer.tokenizer.encode(text), renderer.tokenizer.eos_id)
    assert len(generation.logprobs) == len(generation.token_ids)


@pytest.mark.parametrize("stop", ["friend", "there, f", ", ", "end.", "H", ".", "o there, frien"])
def test_a_stop_string_ends_the_answer_before_it(renderer: Renderer, stop: str) -> None:
    text = "Hello there, friend."
    texts, answer = run(renderer, text, ("never", stop))
    assert answer.stopped
    assert "".join(texts) == text[: text.index(stop)] == answer.generation("stop").text


def test_the_beginning_of_a_stop_string_is_said_if_it_does_not_come(renderer: Renderer) -> None:
    texts, answer = run(renderer, "one two thr", ("three",))
    assert "".join(texts) == "one two thr"
    assert not answer.stopped


def test_the_first_of_several_stop_strings_counts(renderer: Renderer) -> None:
    texts, _ = run(renderer, "one two three", ("three", "two"))
    assert "".join(texts) == "one "


def test_calls_are_parsed(renderer: Renderer) -> None:
    tool = ToolSpec(name="menu", parameters={"type": "object", "properties": {}})
    _, answer = run(renderer, '{"menu":{}}', tools=(tool,))
    generation = answer.generation("stop")
    assert generation.finish_reason == "tool_calls"
    assert [call.name for call in generation.message.tool_calls] == ["menu"]
    assert generation.message.content == ""
    assert generation.text == '{"menu":{}}'


def test_deltas_carry_the_tokens_of_their_text(renderer: Renderer) -> None:
    answer = Answer(request(), renderer, [])
    ids = renderer.tokenizer.encode("世")
    assert len(ids) > 1
    deltas = [delta for token_id in ids for delta in answer.push([token_id], [0.0])]
    assert [(delta.text, delta.token_ids) for delta in deltas] == [("世", tuple(ids))]


def test_nothing_is_cut_to_fit(renderer: Renderer) -> None:
    fitting = request(max_tokens=10)
    length = len(prompt_of(fitting, renderer, 4096))
    assert prompt_of(fitting, renderer, length + 10)
    with pytest.raises(ContextOverflowError, match=f"has {length} tokens and the answer may take 10, but the model's context holds {length + 9}"):
        prompt_of(fitting, renderer, length + 9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "`max_tokens` is 0"),
        ({"temperature": 2.5}, "`temperature` is 2.5"),
        ({"top_p": 0.0}, "`top_p` is 0.0"),
        ({"stop": ("",)}, "empty string"),
        ({"response_schema": {}, "tools": (ToolSpec(name="t", parameters={}),)}, "exclude each other"),
        ({"messages": ()}, "`messages` is empty"),
    ],
)
def test_settings_that_make_no_sense(settings: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_settings(GenerationRequest(**{"messages": (Message(role="user"),), **settings}))
