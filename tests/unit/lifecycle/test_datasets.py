"""Datasets from files: split as feedback is, near-duplicates out of the held-out side, the same file only once."""

import json
from pathlib import Path

import pytest

from noria.config import Project
from noria.data import read_chat, read_thumbs
from noria.errors import DataError
from noria.lifecycle.datasets import dataset_from_file
from noria.lifecycle.releases import Records

SETTINGS = '[project]\nname = "p"\n[feedback]\nevaluation_share = 0.3\n'
DISHES = ("soup", "curry", "pizza", "noodles", "salad", "dumplings", "stew", "risotto", "paella", "tofu")


@pytest.fixture
def records(tmp_path: Path) -> Records:
    (tmp_path / "noria.toml").write_text(SETTINGS)
    return Records.open(Project.load(tmp_path))


def row(number: int, text: str) -> str:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": f"One {text}, coming."}]
    return json.dumps({"id": f"row-{number}", "messages": messages}) + "\n"


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(row(number, text) for number, text in enumerate(texts)))
    return path


def texts(path: Path) -> set[str]:
    return {example.messages[0].content for example in read_chat(path)}


def test_a_file_is_split_and_its_rows_counted(records: Records, tmp_path: Path) -> None:
    orders = [f"{dish} without {other}" for dish in DISHES for other in DISHES if other != dish]
    dataset = dataset_from_file(records, write(tmp_path / "orders.jsonl", orders))
    train = texts(dataset.train_files["chat"])
    suite = dataset.heldout(10)
    assert suite is not None
    held = {item.messages[0].content for item in suite.items}
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
    assert (thumb.prompt[0].content, thumb.completion[0].content) == ("<EMAIL_1> or <EMAIL_2>?", "<EMAIL_2>")


def test_the_project_says_what_is_personal(tmp_path: Path) -> None:
    (tmp_path / "noria.toml").write_text('[project]\nname = "p"\n[feedback]\nredact = []\nevaluation_share = 0.01\n')
    given = write(tmp_path / "rows.jsonl", ["write to ana@example.org"])
    dataset = dataset_from_file(Records.open(Project.load(tmp_path)), given)
    assert texts(dataset.train_files["chat"]) == {"write to ana@example.org"}
