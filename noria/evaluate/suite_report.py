"""What a run of a suite says beside its metrics: slices by length, language and right tool, tools taken for one another, and telling items.

In: a suite and what one model, or two, answered. Out: the parts of a report that `noria.evaluate.report` writes as a page.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from noria.evaluate.report import Shown, most_confused, slices, telling
from noria.evaluate.suites import Item, Suite, SuiteRun
from noria.model.tool_text import CALL_BEGINS
from noria.schema import Message

REPLY, CALL = "(reply)", "(a call)"
"""Stand for any answer that calls nothing, and for the beginning of a call where no more of it was waited for."""
LAST_MESSAGES, MOST_OF_EACH = 3, 190
"""Messages of a conversation by which an item is shown, and characters of each."""


def suite_details(suite: Suite, run: SuiteRun, before: SuiteRun | None) -> dict[str, Any]:
    """Slices, confusions, no curve of sureness (answers have none), and telling items, as `noria.evaluate.report.details`."""
    shown = [_shown(item) for item in suite.items]
    said, values = _answers(suite, run)
    earlier = None if before is None else _answers(suite, before)
    right = {result.id for result in run.results if result.metrics.get("replies") == 1}  # whatever may be called beside
    pairs = Counter((_right_name(item), _name(answer)) for item, answer in zip(suite.items, said, strict=True) if item.id not in right)
    texts = list(map(_text, said))
    return {
        "slices": slices(shown, values, earlier and earlier[1]),
        "confusions": most_confused(pairs),
        "reliability": [],
        "examples": telling(shown, texts, values, earlier and (list(map(_text, earlier[0])), earlier[1])),
    }


def _answers(suite: Suite, run: SuiteRun) -> tuple[list[Message], list[float]]:
    """Each item's answer and what it is worth, in the order of the suite."""
    found = {result.id: result for result in run.results}
    results = [found[item.id] for item in suite.items]
    return [Message.from_openai(result.answer) for result in results], [result.value for result in results]


def _shown(item: Item) -> Shown:
    said = [message for message in item.messages if message.role in ("user", "assistant", "tool")][-LAST_MESSAGES:]
    text = "\n".join(f"{message.role}: {_text(message)[:MOST_OF_EACH]}" for message in said)
    length, asked = sum(len(message.content) for message in item.messages), [message.content for message in said if message.role == "user"]
    return Shown(text=text, right=_right(item), label=_right_name(item), length=length, question="\n".join(asked))


def _right(item: Item) -> str:
    if "tool_calls" in item.expect:
        return _calls(item.expect["tool_calls"])
    if item.reference:
        return item.reference
    wanted: Mapping[str, Any] = item.expect.get("reply", {})
    told = [f"{name.replace('_', ' ')}: {', '.join(wanted[name])}" for name in ("contains", "not_contains") if wanted.get(name)]
    return "; ".join([REPLY, *told])


def _right_name(item: Item) -> str:
    return str(item.expect["tool_calls"][0]["name"]) if "tool_calls" in item.expect else REPLY


def _name(answer: Message) -> str:
    if answer.tool_calls:
        return answer.tool_calls[0].name
    return CALL if answer.content.lstrip().startswith(CALL_BEGINS) else REPLY


def _text(answer: Message) -> str:
    return _calls([{"name": call.name, "arguments": call.arguments} for call in answer.tool_calls]) if answer.tool_calls else answer.content


def _calls(calls: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{call['name']}({json.dumps(call.get('arguments', {}), ensure_ascii=False)})" for call in calls)
