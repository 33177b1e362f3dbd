"""What a suite's run tells beside its metrics: by right tool, tools taken for one another, and answers that changed, also as a page."""

from pathlib import Path
from typing import Any

from noria.evaluate.report import write_page
from noria.evaluate.suite_report import suite_details
from noria.evaluate.suites import Item, ItemResult, Suite, SuiteRun
from noria.schema import Message, ToolCall


def item(name: str, question: str, expect: dict[str, Any], reference: str = "") -> Item:
    return Item(id=name, kind="decision", messages=(Message(role="user", content=question),), expect=expect, reference=reference)


SUITE = Suite(
    name="desk",
    items=(
        item("a", "Towels, please", {"tool_calls": [{"name": "bring", "arguments": {"item": "towels"}}]}),
        item("b", "Take them away", {"tool_calls": [{"name": "fetch", "arguments": {}}]}),
        item("c", "你好", {"reply": {"not_call": True}}, "您好"),
        item("d", "Price?", {"reply": {"contains": ["20"], "not_contains": ["30"]}}),
    ),
)


def call(name: str, **arguments: Any) -> Message:
    return Message(role="assistant", content="", tool_calls=(ToolCall(id="1", name=name, arguments=arguments),))


def says(text: str) -> Message:
    return Message(role="assistant", content=text)


def run(*answers: tuple[Message, float]) -> SuiteRun:
    results = [ItemResult(id=item.id, value=value, answer=answer.to_openai()) for item, (answer, value) in zip(SUITE.items, answers, strict=True)]
    return SuiteRun.of(SUITE, results[::-1])  # as they came in


def test_items_are_told_by_their_right_tool_and_what_was_said_instead(tmp_path: Path) -> None:
    after = run((call("bring", item="towels"), 1.0), (call("bring", item="all"), 0.0), (says("您好"), 1.0), (says("It is 20"), 1.0))
    before = run((call("bring", item="soap"), 0.0), (call("fetch"), 1.0), (says("您好"), 1.0), (says("No idea"), 0.0))
    told = suite_details(SUITE, after, before)
    assert told["confusions"] == [{"right": "fetch", "said": "bring", "n": 1}]
    by_tool = {row["name"]: (row["n"], row["mean"], row["mean_against"]) for row in told["slices"] if row["slice"] == "label"}
    assert by_tool == {"bring": (1, 1.0, 0.0), "fetch": (1, 0.0, 1.0), "(reply)": (2, 1.0, 0.5)}
    assert {row["name"] for row in told["slices"] if row["slice"] == "language"} == {"Chinese", "other"}
    changed = [(row["text"], row["right"], row["said"], row["said_against"]) for row in told["examples"]]
    assert changed == [
        ("user: Take them away", "fetch({})", 'bring({"item": "all"})', "fetch({})"),
        ("user: Towels, please", 'bring({"item": "towels"})', 'bring({"item": "towels"})', 'bring({"item": "soap"})'),
        ("user: Price?", "(reply); contains: 20; not contains: 30", "It is 20", "No idea"),
    ]
    page = {"task": "tools", "model": "new", "data": "d", "n": 4, "metrics": {}, "intervals": {}, **told}
    write_page(page, tmp_path / "r.html", {})
    assert "Taken for one another" in (tmp_path / "r.html").read_text()


def test_the_beginning_of_a_call_is_no_reply_and_a_call_that_may_be_made_is_no_mistake() -> None:
    suite = Suite(name="s", items=(SUITE.items[2], item("e", "Look it up", {"reply": {"not_call": ["pay"]}})))
    results = [
        ItemResult(id="c", value=0.0, answer=says('{"bring":').to_openai(), metrics={"replies": 0.0}),
        ItemResult(id="e", value=1.0, answer=call("lookup").to_openai(), metrics={"replies": 1.0}),
    ]
    told = suite_details(suite, SuiteRun.of(suite, results), None)
    assert told["confusions"] == [{"right": "(reply)", "said": "(a call)", "n": 1}]


def test_the_language_is_the_users() -> None:
    messages = (
        Message(role="user", content="查房"),
        call("search", date="2026-03-03"),
        Message(role="tool", content='{"rooms": ["standard"]}', tool_call_id="1"),
    )
    items = tuple(Item(id=str(n), kind="decision", messages=of, expect={"reply": {}}) for n, of in enumerate((messages, SUITE.items[0].messages)))
    suite = Suite(name="s", items=items)
    results = [ItemResult(id=str(n), value=1.0, answer=says("ok").to_openai()) for n in range(2)]
    told = suite_details(suite, SuiteRun.of(suite, results), None)
    assert {row["name"]: row["n"] for row in told["slices"] if row["slice"] == "language"} == {"Chinese": 1, "other": 1}


def test_of_one_model_the_wrong_answers_are_told() -> None:
    told = suite_details(SUITE, run((call("bring"), 0.0), (call("fetch"), 1.0), (says("嗯"), 0.5), (says("20"), 1.0)), None)
    assert [(row["right"], row["said"]) for row in told["examples"]] == [('bring({"item": "towels"})', "bring({})"), ("您好", "嗯")]
    assert all("mean_against" not in row for row in told["slices"])
