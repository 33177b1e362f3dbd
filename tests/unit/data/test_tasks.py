"""Task files: what is right comes back as it was, what is wrong is named by file, line, field and value, before any work."""

import json
from pathlib import Path
from typing import Any

import pytest

from noria.data import (
    EXAMPLES,
    ChatExample,
    Example,
    TagExample,
    check_task,
    example_key,
    read_chat,
    read_preferences,
    read_task,
    read_thumbs,
    write_task,
)
from noria.errors import DataError

BOOK = {"type": "function", "function": {"name": "book", "description": "Books.", "parameters": {"type": "object", "properties": {}}}}
USER = {"role": "user", "content": "Book it. 订吧"}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "book", "arguments": '{"n": 2}'}}]}
RESULT = {"role": "tool", "content": "done", "tool_call_id": "c1"}
ANSWER = {"role": "assistant", "content": "Booked."}

GOOD: dict[str, list[dict[str, Any]]] = {
    "chat": [
        {"messages": [USER, ANSWER]},
        {"messages": [{**USER, "hints": ["2026-03-05"]}, {**CALL, "train": True}, RESULT, {**ANSWER, "train": False}], "tools": [BOOK], "id": "7"},
    ],
    "tools": [{"messages": [USER, CALL, RESULT, ANSWER], "tools": [BOOK]}],
    "classify": [{"text": "fine", "label": "good"}, {"text": "a", "text_pair": "b", "label": ["x", "y"]}],
    "score": [{"text": "fine", "score": 4.5}, {"text": "a", "text_pair": "b", "score": -1}],
    "embed": [{"text": "谁?", "positive": "她"}, {"text": "q", "positive": "a", "negatives": ["b", "c"]}],
    "tag": [{"tokens": ["Ada", "says"], "tags": ["B-PER", "O"]}, {"tokens": ["北", "京"], "tags": ["B-LOC", "E-LOC"]}],
    "answer": [
        {"question": "Where?", "context": "In 北京 today", "answers": {"text": ["北京"], "answer_start": [3]}},
        {"question": "?", "context": "c", "answers": {"text": [], "answer_start": []}},
    ],
    "summarize": [{"text": "long", "target": "short"}],
    "rewrite": [{"text": "a", "target": "b", "source": "me", "license": "CC0", "metadata": {"k": 1}}],
    "preference": [
        {"prompt": "hi", "chosen": "hello", "rejected": "no"},
        {"prompt": [USER], "chosen": [CALL], "rejected": [ANSWER], "tools": [BOOK]},
    ],
    "thumbs": [{"prompt": "hi", "completion": "hello", "label": True}, {"prompt": [USER], "completion": ANSWER, "label": False}],
    "corpus": [{"text": "once", "id": "1", "source": "s", "url": "https://a.b", "license": "CC0"}],
}


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("task", EXAMPLES)
def test_rows_survive_reading_and_writing(tmp_path: Path, task: Any) -> None:
    rows = list(read_task(write_rows(tmp_path / "a.jsonl", GOOD[task]), task))
    assert len(rows) == check_task(tmp_path / "a.jsonl", task) == len(GOOD[task])
    assert write_task(tmp_path / "b.jsonl", rows) == len(rows)
    assert list(read_task(tmp_path / "b.jsonl", task)) == rows
    assert all(isinstance(row, EXAMPLES[task]) for row in rows)


def test_texts_become_messages_and_train_marks_are_read(tmp_path: Path) -> None:
    first, second = read_chat(write_rows(tmp_path / "chat.jsonl", GOOD["chat"]))
    assert first.train == (False, True)
    assert second.train == (False, True, False, False)
    assert second.messages[0].hints == ("2026-03-05",)
    assert second.messages[1].tool_calls[0].arguments == {"n": 2}
    assert second.tools[0].name == "book"
    thumb, _ = read_thumbs(write_rows(tmp_path / "thumbs.jsonl", GOOD["thumbs"]))
    assert [(m.role, m.content) for m in (*thumb.prompt, *thumb.completion)] == [("user", "hi"), ("assistant", "hello")]
    pair, _ = read_preferences(write_rows(tmp_path / "preference.jsonl", GOOD["preference"]))
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("hello", "no")


def test_what_makes_rows_equal() -> None:
    one, other = ({"tokens": ["a"], "tags": ["O"], "id": name, "metadata": {"from": name}} for name in "xy")
    assert example_key(TagExample.model_validate(one)) == example_key(TagExample.model_validate(other))


def chat(*messages: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"messages": list(messages), **rest}


@pytest.mark.parametrize(
    ("task", "row", "says"),
    [
        ("chat", {}, "field `messages` is missing"),
        ("chat", chat(), r"field `messages` is \[\]"),
        ("chat", chat(USER), "no message to train on"),
        ("chat", chat({"role": "boss", "content": "x"}, ANSWER), r"field `messages\[0\]` is .*Message field `role` is 'boss'"),
        ("chat", chat(USER, {"role": "assistant", "text": "x"}), "unknown field `text`; allowed: role, content"),
        ("chat", chat({**USER, "train": True}, ANSWER), r"`messages\[0\].train` is true, but its role is 'user'"),
        ("chat", chat(USER, {**ANSWER, "train": "yes"}), r"`messages\[1\].train` is 'yes'; allowed: true, false"),
        ("chat", chat(USER, CALL, tools=[]) | {"tols": 1}, "unknown field `tols`; allowed: id, source, license, metadata, messages, tools, train"),
        ("tools", chat(USER, CALL, tools=[{**BOOK, "function": {"name": "eat"}}]), "name` is 'book'; the row's tools are: eat"),
        ("tools", chat(USER, ANSWER, tools=[{**BOOK, "function": {"name": "eat out"}}]), "1 to 128 characters and no space; 'eat out' is none"),
        ("tools", chat(USER, RESULT, ANSWER), r"`messages\[1\].tool_call_id` is 'c1', which no call before it has"),
        ("tools", chat(USER, {**CALL, "tool_calls": [{"function": {"name": "book", "arguments": "{"}}]}), "arguments` is not JSON"),
        ("thumbs", {"prompt": "a", "completion": "b", "label": 1}, "field `label` is 1: Input should be a valid boolean"),
        ("score", {"text": "a", "score": 1e200}, r"field `score` is 1e\+200: must be a number from -1e\+100 to 1e\+100"),
        ("thumbs", {"prompt": "a", "completion": [USER], "label": True}, "must have the role 'assistant'"),
        ("thumbs", {"prompt": [], "completion": "b", "label": True}, r"field `prompt` is \[\]"),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": "b"}, "`chosen` and `rejected` are the same"),
        ("classify", {"text": "a", "label": 3.5}, "field `label.* is 3.5"),
        ("tag", {"tokens": ["a", "b"], "tags": ["O"]}, "`tags` has 1 values for 2 `tokens`"),
        ("tag", {"tokens": ["a"], "tags": ["PER"]}, r"field `tags\[0\]` is 'PER'"),
        ("answer", {"question": "q", "context": "abc", "answers": {"text": ["b"], "answer_start": [2]}}, "is 2, but 'b' does not stand there"),
        ("summarize", {"target": "a"}, "field `text` is missing"),
        ("corpus", {"text": None}, "field `text` is None"),
        ("corpus", [1], "is no object"),
    ],
)
def test_the_first_fault_is_named_before_any_work(tmp_path: Path, task: Any, row: Any, says: str) -> None:
    path = write_rows(tmp_path / "bad.jsonl", [GOOD[task][0], row])
    with pytest.raises(DataError, match=f"bad.jsonl' line 2: .*{says}"):
        read_task(path, task)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"text": "a"}\n{"text": "\xff"}\n', "line 2: byte 11 is not UTF-8. Save the file as UTF-8"),
        (b'{"text": "a"\n', "line 1: not JSON .Expecting ',' delimiter, column 13.; each line"),
        (b'{"text": NaN}\n', "line 1: not JSON .NaN is not allowed"),
        (b"[" * 100_000 + b"\n", "line 1: not JSON"),
        (b"\n  \n", "has no rows"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_that_are_no_jsonl(tmp_path: Path, data: bytes | None, says: str) -> None:
    path = tmp_path / "bad.jsonl"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DataError, match=says):
        read_task(path, "corpus")


def test_a_byte_order_mark_and_empty_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}')
    assert [row.to_row() for row in read_task(path, "corpus")] == [{"text": "a"}, {"text": "b"}]


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No task is called 'sing'; allowed: chat, tools"):
        read_task(tmp_path / "a.jsonl", "sing")  # type: ignore[arg-type]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", GOOD["chat"])
    before = path.read_bytes()

    def rows() -> Any:
        yield ChatExample.model_validate(GOOD["chat"][0])
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_task(path, rows())
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_reading_is_one_row_at_a_time(tmp_path: Path) -> None:
    rows = read_task(write_rows(tmp_path / "a.jsonl", GOOD["corpus"] * 3), "corpus")
    assert isinstance(next(rows), Example)
    assert len(list(rows)) == 2


def test_a_whole_number_is_a_label_as_it_is_written(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 0}, {"text": "b", "label": [1, "x"]}]
    read = [row.to_row()["label"] for row in read_task(write_rows(tmp_path / "a.jsonl", rows), "classify")]
    assert read == ["0", ("1", "x")]


@pytest.mark.parametrize(("label", "told"), [(True, 'write "true"'), ([1.5], 'write "1.5"'), ({"a": 1}, "valid string")])
def test_what_is_no_label_is_told_what_to_write(tmp_path: Path, label: Any, told: str) -> None:
    with pytest.raises(DataError, match=f"line 1: field `label.*{told}"):
        check_task(write_rows(tmp_path / "a.jsonl", [{"text": "a", "label": label}]), "classify")
