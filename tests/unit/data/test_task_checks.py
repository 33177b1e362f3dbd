"""Files that would mislead are refused with their line; rows that ask the same are found whatever their answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from noria.data import ClassifyExample, Example, TagExample, Task
from noria.data.task_checks import check_pair, in_both, question_of, read_file
from noria.errors import DataError


def file(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def check(folder: Path, task: Task, train: list[dict[str, Any]], dev: list[dict[str, Any]], out_of_scope: bool | None = None) -> list[Example]:
    read, held_out = read_file(file(folder / "train.jsonl", train), task), read_file(file(folder / "dev.jsonl", dev), task)
    check_pair(read, held_out, out_of_scope)
    return [*read.rows.values(), *held_out.rows.values()]


ONE = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
MANY = [{"text": "a", "label": ["x"]}, {"text": "b", "label": ["x", "y"]}]
OUTSIDE = {"text": "c", "label": "out_of_scope"}


@pytest.mark.parametrize(
    ("train", "dev", "setting", "told"),
    [
        (ONE, [ONE[0], MANY[0]], None, r"dev.jsonl' line 2: `label` is a list, but '.*train.jsonl' has one label a row"),
        (MANY, ONE, None, r"dev.jsonl' line 1: `label` is a text, but '.*train.jsonl' has lists"),
        (MANY, [{"text": "c", "label": ["out_of_scope"]}], None, "line 1: the label 'out_of_scope' is in no row of .*Give an empty list"),
        (ONE, [OUTSIDE], False, "line 1: the label 'out_of_scope' is in no row of .*Leave `out_of_scope=false` out"),
        ([*ONE, OUTSIDE], ONE, True, "train.jsonl' line 3: the label 'out_of_scope' is learnt here"),
        (MANY, MANY, True, "train.jsonl' line 1: `out_of_scope=true` is for rows with one label"),
    ],
)
def test_labels_that_could_never_be_said_are_refused(tmp_path: Path, train: Any, dev: Any, setting: bool | None, told: str) -> None:
    with pytest.raises(DataError, match=told):
        check(tmp_path, "classify", train, dev, setting)


@pytest.mark.parametrize(
    ("train", "dev", "setting"),
    [(ONE, [*ONE, OUTSIDE], None), ([*ONE, OUTSIDE], [*ONE, OUTSIDE], None), (ONE, [OUTSIDE], True), ([*ONE, MANY[0]], [ONE[0], MANY[1]], None)],
)
def test_labels_that_can_be_said_are_not(tmp_path: Path, train: Any, dev: Any, setting: bool | None) -> None:
    read = check(tmp_path, "classify", train, dev, setting)
    assert [row.model_dump(exclude_defaults=True, mode="json") for row in read] == [*train, *dev]


NONE, X = {"tokens": ["a"], "tags": ["O"]}, {"tokens": ["a"], "tags": ["B-X"]}


@pytest.mark.parametrize(
    ("task", "train", "dev", "told"),
    [
        ("classify", [ONE[0]], [ONE[0]], "train.jsonl' has one label only, 'x'"),
        ("classify", [{"text": "a", "label": []}], [{"text": "a", "label": []}], "train.jsonl' has no label"),
        ("tag", [NONE], [NONE], "train.jsonl' has no tag but 'O'"),
        ("tag", [NONE, X], [NONE], "dev.jsonl' has no tag but 'O'"),
    ],
)
def test_where_there_is_nothing_to_tell_apart_no_method_is_asked(tmp_path: Path, task: Task, train: Any, dev: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        check(tmp_path, task, train, dev)


def test_the_evaluation_file_is_held_to_the_scheme_of_the_training_file(tmp_path: Path) -> None:
    train = [{"tokens": ["a", "b", "c", "d"], "tags": ["B-X", "I-X", "E-X", "S-X"]}]
    with pytest.raises(DataError, match=r"dev.jsonl' line 1: `tags\[2\]` is 'O' after 'I-X', which IOBES does not allow"):
        check(tmp_path, "tag", train, [{"tokens": ["a", "b", "c"], "tags": ["B-X", "I-X", "O"]}])


@pytest.mark.parametrize(
    ("task", "row", "field"),
    [
        ("classify", {"text": "a", "label": ""}, "label"),
        ("classify", {"text": "a", "label": ["x", " "]}, r"label\[1\]"),
        ("classify", {"text": "a", "text_pair": "", "label": "x"}, "text_pair"),
        ("tag", {"tokens": ["a", ""], "tags": ["O", "O"]}, r"tokens\[1\]"),
        ("summarize", {"text": "a", "target": " "}, "target"),
        ("chat", {"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "x"}]}, r"messages\[0\].content"),
        ("tools", {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}, r"messages\[1\].content"),
    ],
)
def test_empty_fields_are_refused(tmp_path: Path, task: Task, row: dict[str, Any], field: str) -> None:
    with pytest.raises(DataError, match=rf"line 1: field `{field}` is empty"):
        read_file(file(tmp_path / "rows.jsonl", [row]), task)


def test_a_call_says_nothing_and_an_answer_that_is_not_learnt_may_be_empty(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "b"}]
    row = {"messages": [*said, {"role": "assistant", "content": None, "tool_calls": [call], "train": True}]}
    assert len(read_file(file(tmp_path / "rows.jsonl", [row]), "tools").rows) == 1


def test_white_space_may_be_a_token_and_a_row_may_have_no_label(tmp_path: Path) -> None:
    row = read_file(file(tmp_path / "rows.jsonl", [{"tokens": ["北", " ", "京"], "tags": ["O", "O", "O"]}]), "tag").rows[1]
    assert isinstance(row, TagExample)
    assert list(row.tokens) == ["北", " ", "京"]
    row = read_file(file(tmp_path / "rows.jsonl", [{"text": "a", "label": []}]), "classify").rows[1]
    assert isinstance(row, ClassifyExample)
    assert row.label == ()


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_the_same_question_is_found_whatever_was_answered(tmp_path: Path) -> None:
    train = read_file(file(tmp_path / "train.jsonl", [chat("Where is it?", "Here."), chat("When?", "Now.")]), "chat")
    dev = read_file(file(tmp_path / "dev.jsonl", [chat("where is IT?", "Over there.")]), "chat")
    assert in_both(train, dev) == [1]
    assert "Over" not in question_of(dev.rows[1])


@pytest.mark.parametrize(
    ("task", "one", "other"),
    [
        ("tag", {"tokens": ["The", "cat"], "tags": ["O", "O"]}, {"tokens": ["the", "cat"], "tags": ["O", "B-X"]}),
        ("rewrite", {"text": "The cat", "target": "a"}, {"text": "the cat", "target": "b"}),
        ("embed", {"text": "The cat", "positive": "a"}, {"text": "the cat", "positive": "b"}),
    ],
)
def test_capitals_make_no_other_question(tmp_path: Path, task: Task, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert in_both(read_file(file(tmp_path / "a.jsonl", [one]), task), read_file(file(tmp_path / "b.jsonl", [other]), task)) == [1]
