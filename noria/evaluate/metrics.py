"""What one answer is worth against what was expected: exact tool calls, calls by name, checks of a reply, and text overlap from 0 to 1.

In: messages. Out: booleans and scores of one item; `suites` runs the items and `paired` compares two runs.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from noria.model.tool_text import CALL_BEGINS
from noria.schema import Message

TextMetric = Literal["token_f1"]
_TOKENS = re.compile(r"[㐀-鿿豈-﫿]|\w+")


def exact_calls(answer: Message, expected: Sequence[Mapping[str, Any]]) -> bool:
    """Same tools in the same order with equal arguments: no argument missing, none invented."""
    calls = [(call.name, call.arguments) for call in answer.tool_calls]
    return calls == [(call["name"], call.get("arguments", {})) for call in expected]


def named_calls(answer: Message, expected: Sequence[Mapping[str, Any]]) -> bool:
    """Same tools in the same order, whatever the arguments."""
    return [call.name for call in answer.tool_calls] == [call["name"] for call in expected]


def reply_matches(answer: Message, expected: Mapping[str, Any]) -> bool:
    """A reply that contains all of `contains`, none of `not_contains` (case ignored); with `not_call` it calls none of those tools.

    `not_call` is a list of tool names, or true for any tool. Without it an answer that calls a tool is no reply and fails.
    """
    forbidden = expected.get("not_call", True)
    called = {call.name for call in answer.tool_calls}
    if called and (forbidden is True or called & set(forbidden)):
        return False
    if forbidden is True and answer.content.lstrip().startswith(CALL_BEGINS):  # a call that was cut off; under the grammar no reply begins so
        return False
    text = answer.content.casefold()
    wanted = all(piece.casefold() in text for piece in expected.get("contains", ()))
    return wanted and not any(piece.casefold() in text for piece in expected.get("not_contains", ()))


def token_f1(answer: str, reference: str) -> float:
    """Overlap of words (single characters for Chinese) as harmonic mean of precision and recall, as SQuAD defines it."""
    got, want = Counter(words(answer)), Counter(words(reference))
    if not got or not want:
        return float(got == want)
    common = (got & want).total()
    return 2 * common / (got.total() + want.total())


def text_score(metric: TextMetric, answer: str, reference: str) -> float:
    """`metric` of one answer, from 0 to 1."""
    return {"token_f1": token_f1}[metric](answer, reference)


def words(text: str) -> list[str]:
    """Words in small letters, single characters of Chinese."""
    return _TOKENS.findall(text.casefold())
