"""What one answer is worth against what was expected: exact tool calls, calls by name, checks of a reply, and text overlap from 0 to 1.

In: messages. Out: booleans and scores of one item; `suites` runs the items and `paired` compares two runs.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from noria.model.tool_text import CALL_BEGINS
from noria.schema import Message

TextMetric = Literal["token_f1"]
_ALONE = "㐀-鿿豈-﫿぀-ヿ가-힣"
"""Chinese, Japanese and Korean: a character is a word."""
_TOKENS = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+")
_SQUAD_TOKENS = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]+")
_IS_ALONE = re.compile(f"[{_ALONE}]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


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
    """Overlap of normalized words (see `squad_words`) as harmonic mean of precision and recall, as SQuAD defines it."""
    got, want = Counter(squad_words(answer)), Counter(squad_words(reference))
    if not got or not want:
        return exact_match(answer, reference)
    common = (got & want).total()
    return 2 * common / (got.total() + want.total())


def exact_match(answer: str, reference: str) -> float:
    """1 where the normalized words are the same; of texts that have none, such as "+", the texts themselves."""
    got, want = squad_words(answer), squad_words(reference)
    return float(got == want) if got or want else float(answer.strip() == reference.strip())


def squad_words(text: str) -> list[str]:
    """Words as SQuAD 1.1 counts them (Rajpurkar et al. 2016): small letters, no punctuation, no English articles, parted by white space.

    Chinese, Japanese and Korean characters are words each, and their punctuation goes too (CMRC 2018, Cui et al. 2019).
    """
    plain = text.lower().translate(_NO_PUNCTUATION)
    if _IS_ALONE.search(plain):
        plain = "".join(char for char in plain if unicodedata.category(char)[0] != "P")
    return _SQUAD_TOKENS.findall(_ARTICLES.sub(" ", plain))


def text_score(metric: TextMetric, answer: str, reference: str) -> float:
    """`metric` of one answer, from 0 to 1."""
    return {"token_f1": token_f1}[metric](answer, reference)


def words(text: str) -> list[str]:
    """Words in small letters, single characters of Chinese, Japanese and Korean."""
    return _TOKENS.findall(text.casefold())
