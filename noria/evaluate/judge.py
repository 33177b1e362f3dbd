"""A model as judge of two answers, and how far it can be trusted.

In: a question, two answers, and a generator. Out: which answer is better. Each pair is asked in both orders, and only a preference that both orders
share counts (position bias; Zheng et al. 2023, "Judging LLM-as-a-judge"). People judge the same pairs blind on sheets (`sheets`); agreement is
Cohen's kappa.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from noria.data.language import is_chinese
from noria.evaluate.counted import Counted
from noria.evaluate.lengths import brief
from noria.evaluate.paired import compare
from noria.schema import GenerationRequest, Generator, Message, Record

Side = Literal["model", "against", "tie"]
MAX_VERDICT_TOKENS = 48
"""For all but the reason."""
_ENGLISH = (
    "You compare two answers to the same request. Go by whether they are correct, do what was asked, leave out what was not, and read well; "
    "not by their length or their order. Say briefly what decides, then which one is better: A, B, or tie."
)
_CHINESE = (
    "请比较对同一请求的两个回答。看它们是否正确、是否做了所要求的事、有没有多余的内容、是否通顺；"
    "不看长短，也不看先后。先简短说明决定性的差别，再说哪个更好：A、B 或 tie（不相上下）。"
)
INSTRUCTIONS = (_ENGLISH, _CHINESE)
PARTS = (("Request", "Answer A", "Answer B"), ("请求", "回答 A", "回答 B"))


class Pair(Record):
    """Two answers to a request: of the model that is measured, and of the one it is measured against."""

    id: str
    group: str
    """The conversation it comes from."""
    request: str
    model: str
    against: str
    num_cut: int = 0
    """How many of the two answers were ended by their length."""


class Judged(Record):
    """What the judge said of a pair: with the model's answer first, and with it second; None where it did not come to an end."""

    id: str
    orders: tuple[Side | None, Side | None]
    asked: bool = True
    """False of equal answers, which are a tie unasked."""

    @property
    def better(self) -> Side:
        first, second = self.orders
        return first if first is not None and first == second else "tie"


def judged(judge: Generator, pair: Pair) -> Judged:
    """Ask in both orders; equal answers are a tie unasked. Raises ModelError, DataError."""
    if pair.model == pair.against:
        return Judged(id=pair.id, orders=("tie", "tie"), asked=False)
    ahead = _asked(judge, pair.request, pair.model, pair.against, {"A": "model", "B": "against", "tie": "tie"})
    behind = _asked(judge, pair.request, pair.against, pair.model, {"A": "against", "B": "model", "tie": "tie"})
    return Judged(id=pair.id, orders=(ahead, behind))


def _asked(judge: Generator, request: str, a: str, b: str, sides: Mapping[str, Side]) -> Side | None:
    chinese = is_chinese(request)
    text = "\n\n".join(f"[{name}]\n{value}" for name, value in zip(PARTS[chinese], (request, a, b), strict=True))
    messages = Message(role="system", content=INSTRUCTIONS[chinese]), Message(role="user", content=text)
    most, tokens = brief(chinese)
    room = tokens + MAX_VERDICT_TOKENS
    said = judge.generate(GenerationRequest(messages=messages, response_schema=_schema(most), max_tokens=room, temperature=0.0)).message.content
    try:
        return sides[json.loads(said)["better"]]
    except (ValueError, KeyError, TypeError):
        return None


def _schema(max_reason_characters: int) -> dict[str, Any]:
    fields = {"reason": {"type": "string", "maxLength": max_reason_characters}, "better": {"type": "string", "enum": ["A", "B", "tie"]}}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def verdict(pairs: Sequence[Pair], better: Mapping[str, Side]) -> dict[str, Any]:
    """Wins, losses and ties of the model, and the paired test of them. The pairs must stand in two groups or more."""
    known = [pair for pair in pairs if pair.id in better]
    counts = Counter(better[pair.id] for pair in known)
    wins, losses = (Counted.passed("preferred", [better[pair.id] == side for pair in known]) for side in ("model", "against"))
    told = {"n": len(known), "wins": counts["model"], "losses": counts["against"], "ties": counts["tie"]}
    return told | compare(losses, wins, [pair.group for pair in known], "preferred")


def consistency(found: Sequence[Judged]) -> float:
    """Share of pairs that were asked about on which both orders say the same; 1 where there were none."""
    asked = [one.orders for one in found if one.asked]
    return sum(first is not None and first == second for first, second in asked) / len(asked) if asked else 1.0


def agreement(one: Mapping[str, Side], other: Mapping[str, Side]) -> dict[str, float]:
    """Share of the same verdicts on what both judged, and Cohen's kappa (1 where nothing differs, 0 where it is chance)."""
    from sklearn.metrics import cohen_kappa_score

    both = sorted(one.keys() & other.keys())
    if not both:
        return {"n": 0, "same": float("nan"), "kappa": float("nan")}
    x, y = [one[i] for i in both], [other[i] for i in both]
    kappa = 1.0 if x == y else float(np.nan_to_num(cohen_kappa_score(x, y)))
    return {"n": len(both), "same": sum(a == b for a, b in zip(x, y, strict=True)) / len(both), "kappa": kappa}


def majority(sheets: Sequence[Mapping[str, Side]]) -> dict[str, Side]:
    """What most people say of each pair; a tie where no side has most."""
    found: dict[str, Side] = {}
    for pair_id in dict.fromkeys(pair_id for sheet in sheets for pair_id in sheet):
        said: list[Side] = [sheet[pair_id] for sheet in sheets if pair_id in sheet]
        ranked = Counter(said).most_common(2)
        found[pair_id] = "tie" if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]
    return found
