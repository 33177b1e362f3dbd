"""Datasets from files: split as feedback is, near-duplicates out of the held-out side, the same file only once."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from noria.config import Project
from noria.data import ChatExample, read_chat, read_thumbs
from noria.errors import DataError
from noria.lifecycle.datasets import dataset_from_file
from noria.lifecycle.framing import Frame
from noria.lifecycle.releases import Records
from noria.schema import Message

SETTINGS = '[project]\nname = "p"\n[feedback]\nevaluation_share = 0.3\n'
DISHES = ("soup", "curry", "pizza", "noodles", "salad", "dumplings", "stew", "risotto", "paella", "tofu")


def project(folder: Path, settings: str) -> Records:
    (folder / "noria.toml").write_text(settings)
    (folder / "prompts").mkdir()
    (folder / "prompts" / "system.md").write_text("Be kind.")
    return Records.open(Project.load(folder))


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return project(tmp_path, SETTINGS)


def row(number: int, text: str) -> str:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": f"One {text}, coming."}]
    return json.dumps({"id": f"row-{number}", "messages": messages}) + "\n"


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(row(number, text) for number, text in enumerate(texts)))
    return path


def texts(path: Path) -> set[str]:
    """What users say first."""
    return {first_words(example.messages) for example in read_chat(path)}


def first_words(messages: Sequence[Message]) -> str:
    return next(message.content for message in messages if message.role == "user")


def test_a_file_is_split_and_its_rows_counted(records: Records, tmp_path: Path) -> None:
    orders = [f"{dish} without {other}" for dish in DISHES for other in DISHES if other != dish]
    dataset = dataset_from_file(records, write(tmp_path / "orders.jsonl", orders))
    train = texts(dataset.train_files["chat"])
    suite = dataset.heldout(10)
    assert suite is not None
    held = {first_words(item.messages) for item in suite.items}
    assert not train & held
    assert 40 <= len(train) <= 80
    assert len(suite.items) == 10
    assert dataset.feedback_used == len(train) + len(texts(dataset.artifact.path / "evaluation" / "chat.jsonl"))
    assert dataset_from_file(records, tmp_path / "orders.jsonl").artifact.hash == dataset.artifact.hash


def test_what_training_has_nearly_seen_is_not_held_out(records: Records, tmp_path: Path) -> None:
    orders = [
        f"please bring me a bowl of warm {dish}" for dish in ("soup", "Soup", "soup ", " soup", "SOUP", "soup.", "soup!", "soup?") for _ in "ab"
    ]
    dataset = dataset_from_file(records, write(tmp_path / "orders.jsonl", orders))
    assert dataset.heldout(10) is None


def test_an_exported_folder_is_taken_as_it_is(records: Records, tmp_path: Path) -> None:
    for side in ("train", "evaluation"):
        (tmp_path / "out" / side).mkdir(parents=True)
        write(tmp_path / "out" / side / "chat.jsonl", [f"{side} {dish}" for dish in DISHES])
    dataset = dataset_from_file(records, tmp_path / "out")
    assert texts(dataset.train_files["chat"]) == {f"train {dish}" for dish in DISHES}
    assert dataset.feedback_used == 20


def test_what_is_not_there_or_broken_is_named(records: Records, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl' does not exist"):
        dataset_from_file(records, tmp_path / "nowhere.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no `train/chat\.jsonl`"):
        dataset_from_file(records, tmp_path / "empty")
    (tmp_path / "broken.jsonl").write_text(row(0, "soup") + "{\n")
    with pytest.raises(DataError, match="line 2: not JSON"):
        dataset_from_file(records, tmp_path / "broken.jsonl")
    assert records.artifacts.list("dataset") == []


def test_personal_data_of_given_rows_are_redacted_on_both_sides(records: Records, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    for side in ("train", "evaluation"):
        (folder / side).mkdir(parents=True)
        write(folder / side / "chat.jsonl", [f"write to ana.{side}@example.org"])
    answers = {"chosen": "I wrote to ana@example.org.", "rejected": "No."}
    (folder / "train" / "preference.jsonl").write_text(json.dumps({"prompt": "Write to ana@example.org", **answers}) + "\n")
    (folder / "train" / "thumbs.jsonl").write_text(
        json.dumps({"prompt": "a@example.org or b@example.org?", "completion": "b@example.org", "label": True}) + "\n"
    )
    path = dataset_from_file(records, folder).artifact.path
    assert texts(path / "train" / "chat.jsonl") == texts(path / "evaluation" / "chat.jsonl") == {"write to <EMAIL_1>"}
    assert not any("@" in file.read_text() for file in path.rglob("*.jsonl"))
    (thumb,) = read_thumbs(path / "train" / "thumbs.jsonl")
    assert (first_words(thumb.prompt), thumb.completion[0].content) == ("<EMAIL_1> or <EMAIL_2>?", "<EMAIL_2>")


def test_the_project_says_what_is_personal(tmp_path: Path) -> None:
    records = project(tmp_path, '[project]\nname = "p"\n[feedback]\nredact = []\nevaluation_share = 0.01\n')
    dataset = dataset_from_file(records, write(tmp_path / "rows.jsonl", ["write to ana@example.org"]))
    assert texts(dataset.train_files["chat"]) == {"write to ana@example.org"}


def test_rows_are_framed_as_the_agent_would_ask(records: Records, tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(
        'from noria.agent import tool\n\n\n@tool\ndef order(dish: str) -> str:\n    """Order a dish."""\n    return dish\n'
    )
    rows = [
        {"messages": [{"role": "user", "content": "Soup tomorrow, please."}, {"role": "assistant", "content": "Gladly."}]},
        {"messages": [{"role": "system", "content": "Mine."}, {"role": "user", "content": "Tomorrow?"}, {"role": "assistant", "content": "Yes."}]},
    ]
    folder = tmp_path / "given"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain, own = read_chat(dataset_from_file(records, folder).artifact.path / "train" / "chat.jsonl")
    assert [message.role for message in plain.messages] == ["system", "user", "assistant"]
    assert plain.messages[0].content.startswith("Be kind.")
    assert plain.messages[1].hints
    assert plain.train == (False, False, True)
    assert [tool.name for tool in plain.tools] == ["order"]
    assert own.messages[0].content == "Mine."
    assert not own.messages[1].hints


def test_framing_twice_is_framing_once() -> None:
    frame = Frame(system_prompt="Be kind.", specs=(), hints=True)
    once = frame.messages([Message(role="user", content="Today at 5 pm")], date(2026, 3, 2))
    assert frame.messages(once, date(2026, 9, 9)) == once


def test_held_out_rows_stay_plain_for_each_release_to_frame(records: Records, tmp_path: Path) -> None:
    wishes = [f"{dish} without {other}, tomorrow" for dish in DISHES for other in DISHES if other != dish]
    dataset = dataset_from_file(records, write(tmp_path / "rows.jsonl", wishes))
    suite = dataset.heldout(10)
    assert suite is not None
    assert {item.messages[0].role for item in suite.items} == {"user"}
    assert {example.messages[0].role for example in read_chat(dataset.train_files["chat"])} == {"system"}


def test_a_row_names_its_day() -> None:
    messages = (Message(role="user", content="A table tomorrow"), Message(role="assistant", content="Gladly."))
    example = ChatExample(messages=messages, train=(False, True), metadata={"today": "2025-06-10"})
    frame = Frame(system_prompt="It is {today}.", specs=(), hints=True)
    framed = frame.example(example)
    assert framed.messages[0].content == "It is 2025-06-10."
    assert any("2025-06-11" in hint for hint in framed.messages[1].hints)
    with pytest.raises(DataError, match="it must be a date"):
        frame.example(example.model_copy(update={"metadata": {"today": "soon"}}))
