"""Conversations as examples: what is learnt, and how much it weighs."""

from noria.model import Renderer, load_tokenizer, resolve
from noria.schema import Message, ToolCall, ToolSpec
from noria.train import encode_chat

TOOL = ToolSpec(name="book", description="Book", parameters={"type": "object", "properties": {"guests": {"type": "integer"}}})
MESSAGES = (
    Message(role="user", content="A table, please"),
    Message(role="assistant", content="For how many of you?"),
    Message(role="user", content="Two"),
    Message(role="assistant", tool_calls=(ToolCall(id="c", name="book", arguments={"guests": 2}),)),
)


def weights_by_text(call_weight: float) -> dict[str, float]:
    """Runs of equal weight, as the text they are."""
    tokenizer = load_tokenizer(resolve("smollm2-135m").path)
    example = encode_chat(Renderer(tokenizer), MESSAGES, [TOOL], call_weight=call_weight)
    runs: list[tuple[list[int], float]] = []
    for token, weight in zip(example.sequences[0], example.weights[0], strict=True):
        if not runs or runs[-1][1] != weight:
            runs.append(([], weight))
        runs[-1][0].append(token)
    return {tokenizer.decode(tokens): weight for tokens, weight in runs if weight}


def test_every_word_of_the_assistant_weighs_the_same_by_default() -> None:
    assert set(weights_by_text(1.0).values()) == {1.0}
    assert "".join(weights_by_text(1.0)).replace("<|im_end|>", "") == 'For how many of you?{"book":{"guests":2}}'


def test_a_call_and_the_decision_against_one_weigh_more() -> None:
    found = {text.replace("<|im_end|>", ""): weight for text, weight in weights_by_text(4.0).items()}
    assert found == {"For": 4.0, " how many of you?": 1.0, '{"book":{"guests":2}}': 4.0}
