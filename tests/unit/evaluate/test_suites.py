"""Suites are checked on reading, run many at once, resumed item by item, and graded as written."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from noria.errors import DataError, ModelError
from noria.evaluate.metrics import exact_calls, named_calls, reply_matches, token_f1
from noria.evaluate.suites import (
    CONCURRENCY,
    Item,
    Suite,
    chat_suite,
    expected_decision,
    in_sharing_order,
    item_request,
    load_suite,
    mean_metrics,
    read_results,
    run_suite,
    suite_paths,
)
from noria.schema import Delta, Generation, GenerationRequest, Message, ToolCall, ToolSpec

BOOK = ToolSpec(name="book", parameters={"type": "object", "properties": {"guests": {"type": "integer"}}})
ASK = partial(item_request, tools=[BOOK])


class Desk:
    """Books for as many guests as the last message says, and greets otherwise; fails on `fails_on`."""

    name, context_tokens = "desk", 2048

    def __init__(self, fails_on: str = "") -> None:
        self.fails_on = fails_on
        self.asked: list[str] = []
        self.spoken = 0

    def generate(self, request: GenerationRequest) -> Generation:
        text = request.messages[-1].content
        if text == self.fails_on:
            raise ModelError("The engine broke.")
        self.asked.append(text)
        message = Message(role="assistant", content="Good evening, welcome.")
        if text.isdigit() and request.tools:
            message = Message(role="assistant", tool_calls=(ToolCall(id="c", name="book", arguments={"guests": int(text)}),))
        return Generation(
            message=message, text="", finish_reason="stop", num_prompt_tokens=1, num_completion_tokens=2, first_token_seconds=0.0, seconds=0.1
        )

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        generation = self.generate(request)
        for word in generation.message.content.split():
            self.spoken += 1
            yield Delta(text=word + " ")
        yield generation

    def count_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        return 1

    def close(self) -> None: ...


def line(item_id: str, text: str = "2", **fields: Any) -> str:
    expect = {"expect": {"tool_calls": [{"name": "book", "arguments": {"guests": 2}}]}} if "reference" not in fields else {}
    return json.dumps({"id": item_id, "kind": "decision", "messages": [{"role": "user", "content": text}], **expect, **fields})


def written(*lines: str) -> Suite:
    Path("booking.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_suite(Path("booking.jsonl"))


def test_a_suite_runs_and_is_graded() -> None:
    reply = {"reply": {"contains": ["WELCOME"], "not_contains": ["sorry"]}}
    suite = written(line("a"), line("b", "3"), line("c", "Hello", expect=reply), line("d", "Hello", expect={"reply": {"contains": ["menu"]}}))
    seen: list[tuple[int, int]] = []
    run = run_suite(suite, Desk(), make_request=ASK, progress=lambda done, total: seen.append((done, total)))
    assert {r.id: r.value for r in run.results} == {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.0}
    assert run.complete
    assert (run.metric("exact_calls"), run.metric("named_calls"), run.metric("replies"), run.mean) == (0.5, 1.0, 0.5, 0.5)
    assert mean_metrics(run.results) == {"exact_calls": 0.5, "named_calls": 1.0, "replies": 0.5}
    assert seen[-1] == (4, 4)


def test_score_items_offer_no_tools() -> None:
    suite = written(line("a", "2", kind="score", reference="good evening"))
    run = run_suite(suite, Desk(), make_request=ASK)
    assert suite.kind == "score"
    assert run.results[0].value == pytest.approx(0.8)


def test_a_killed_run_goes_on_where_it_was() -> None:
    suite = written(*(line(f"i{k}", str(k)) for k in range(40)))
    path = Path("results.jsonl")
    with pytest.raises(ModelError):
        run_suite(suite, Desk(fails_on="39"), make_request=ASK, results_path=path)
    with path.open("ab") as file:
        file.write(b'{"id": "i1')
    kept = {r.id for r in read_results(path)}
    second = Desk()
    run = run_suite(suite, second, make_request=ASK, results_path=path)
    assert run.complete
    assert len(second.asked) == 40 - len(kept)
    assert sorted(r.id for r in read_results(path)) == sorted(r.id for r in run.results)


def test_an_incomplete_run_says_so() -> None:
    run = run_suite(written(line("a"), line("b")), Desk(), make_request=ASK)
    assert not run.model_copy(update={"results": run.results[:1]}).complete
    assert not run.model_copy(update={"results": (*run.results, run.results[0])}).complete


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "is no object"),
        (line("a", today="Monday"), "`today` is 'Monday'; it must be a date"),
        (line("a", kind="essay"), "`kind` is 'essay'; allowed: decision, score"),
        (line(""), "`id` is ''"),
        (line("a", expected={}), "unknown field `expected`"),
        (line("a", messages=[]), "`messages` must be a list"),
        (line("a", tools=[{"type": "function", "function": {"name": "eat out"}}]), "no space; 'eat out' is none"),
        (line("a", messages=[{"role": "king"}]), "Message field `role` is 'king'"),
        (line("a", expect={}), "either `tool_calls` or `reply`"),
        (line("a", expect={"tool_calls": []}), "list of calls that is not empty"),
        (line("a", expect={"tool_calls": [{"arguments": {}}]}), "a call in `expect.tool_calls`"),
        (line("a", expect={"reply": {"contain": ["x"]}}), "`expect.reply` takes"),
        (json.dumps({"id": "a", "kind": "score", "messages": [{"role": "user", "content": "x"}], "reference": " "}), "`reference` is ' '"),
        (line("a") + "\n" + line("a"), "`id` 'a' stands there twice"),
        ("\n", "has no item"),
    ],
)
def test_what_breaks_the_format_is_named(text: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        written(text)
    assert says in str(caught.value)
    assert "booking.jsonl" in str(caught.value)


def test_calls_are_exact_by_name_order_and_every_argument() -> None:
    answer = Message(role="assistant", tool_calls=(ToolCall(id="1", name="book", arguments={"guests": 2, "day": "mon"}),))
    assert exact_calls(answer, [{"name": "book", "arguments": {"day": "mon", "guests": 2}}])
    assert not exact_calls(answer, [{"name": "book", "arguments": {"guests": 2}}])
    assert not exact_calls(answer, [{"name": "book", "arguments": {"day": "mon", "guests": 2}}] * 2)
    assert named_calls(answer, [{"name": "book"}])
    assert not named_calls(answer, [{"name": "cancel"}])
    assert expected_decision(answer) == {"tool_calls": [{"name": "book", "arguments": {"guests": 2, "day": "mon"}}]}


def test_a_reply_may_call_only_what_is_not_forbidden() -> None:
    call = Message(role="assistant", tool_calls=(ToolCall(id="1", name="search", arguments={}),))
    assert not reply_matches(call, {})
    assert reply_matches(call, {"not_call": ["book"]})
    assert not reply_matches(call, {"not_call": ["search"]})
    assert reply_matches(Message(role="assistant", content="Hi"), expected_decision(Message(role="assistant", content="x"))["reply"])


def test_token_f1() -> None:
    assert token_f1("the cat sat", "The cat.") == pytest.approx(2 / 3)
    assert token_f1("我要订房", "订房") == pytest.approx(2 * 2 / 6)
    assert (token_f1("", ""), token_f1("a", "")) == (1.0, 0.0)


def test_suite_paths_are_sorted(tmp_path: Path) -> None:
    assert suite_paths(tmp_path / "evals") == []
    for name in ("b.jsonl", "a.jsonl", "notes.md"):
        (tmp_path / name).write_text("")
    assert [p.name for p in suite_paths(tmp_path)] == ["a.jsonl", "b.jsonl"]


def test_a_chat_file_is_a_suite_of_its_decisions() -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "book", "arguments": '{"guests":2}'}}],
    }
    messages = [
        {"role": "system", "content": "You keep the desk."},
        {"role": "user", "content": "2", "hints": ["two"]},
        {**call, "train": True},
        {"role": "tool", "content": "{}", "tool_call_id": "c"},
        {"role": "assistant", "content": "Hm.", "train": False},
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "Welcome.", "train": True},
    ]
    Path("held.jsonl").write_text("".join(json.dumps({"messages": messages, "tools": [BOOK.to_openai()]}) + "\n" for _ in range(10)))
    suite = chat_suite(Path("held.jsonl"), "heldout")
    assert [item.id for item in suite.items[:3]] == ["1:2", "1:6", "2:2"]
    assert suite.items[0].messages[-1].hints == ("two",)
    assert run_suite(suite, Desk()).mean == 1.0
    assert [item.id for item in chat_suite(Path("held.jsonl"), "heldout", max_items=4).items] == ["1:2", "3:6", "6:2", "8:6"]


def test_a_reply_of_a_chat_file_is_worth_its_overlap_with_the_one_there() -> None:
    """Where any reply is right, all models are equally good."""
    replies = {"Hi": "Good evening, welcome.", "Hm": "Good evening.", "Oh": "晚上好，欢迎光临！", "2": "How many?"}
    rows = [{"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": reply}]} for said, reply in replies.items()]
    Path("chat.jsonl").write_text("".join(json.dumps({**row, "tools": [BOOK.to_openai()]}) + "\n" for row in rows))
    suite = chat_suite(Path("chat.jsonl"), "chat", task="chat")
    run = run_suite(suite, Desk())
    assert {r.id: r.value for r in run.results} == {"1:1": 1.0, "2:1": pytest.approx(0.8), "3:1": 0.0, "4:1": 0.0}  # a call is no reply
    assert (run.kind, run.metric("replies"), run.metric("token_f1")) == ("score", 0.75, pytest.approx(0.45))
    chinese, english = suite.items[2], suite.items[0]
    assert item_request(chinese).max_tokens >= 2 * len(chinese.reference) > item_request(english).max_tokens / 2
    assert (chat_suite(Path("chat.jsonl"), "chat").kind, run_suite(chat_suite(Path("chat.jsonl"), "chat"), Desk()).mean) == ("pass", 0.75)


def test_an_answer_is_cut_where_it_settles_the_item() -> None:
    reply = {"reply": {"not_call": True}}
    suite = written(line("a", "Hello"), line("b", "Hello", expect=reply), line("c", "Hello", expect={"reply": {"contains": ["welcome"]}}))
    desk = Desk()
    run = run_suite(suite, desk, make_request=ASK)
    assert {r.id: r.value for r in run.results} == {"a": 0.0, "b": 1.0, "c": 1.0}
    assert desk.spoken == 2 * 3  # "Good evening, welcome." settles the first two within its words
    assert {r.id: r.answer["content"] for r in run.results} == {
        "a": "Good evening, welcome.",
        "b": "Good evening, welcome.",
        "c": "Good evening, welcome.",
    }


def test_items_of_a_dialogue_come_longest_first_many_dialogues_at_once() -> None:
    def item(dialogue: int, length: int) -> Item:
        messages = tuple(Message(role="user", content=f"{dialogue}/{position}") for position in range(length))
        return Item(id=f"{dialogue}:{length}", kind="decision", messages=messages, expect={"reply": {"not_call": True}})

    items = [item(dialogue, length) for dialogue in range(CONCURRENCY + 1) for length in (2, 3, 4)]
    ordered = in_sharing_order(items)
    assert sorted(i.id for i in ordered) == sorted(i.id for i in items)
    assert [len(i.messages) for i in ordered[: 2 * CONCURRENCY]] == [4] * CONCURRENCY + [3] * CONCURRENCY
    assert [i.id for i in ordered[-3:]] == [f"{CONCURRENCY}:{length}" for length in (4, 3, 2)]
