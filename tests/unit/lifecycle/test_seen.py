"""Conversations that a tuned folder knows are counted and told, of both files; of what was not tuned, or has changed since, nothing is known."""

import json
from pathlib import Path
from typing import Any

import pytest

from noria.data.task_checks import read_file
from noria.lifecycle.seen import seen_by
from noria.store import sizes


def chats(path: Path, *questions: str) -> Path:
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "Yes."}]} for q in questions]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = chats(tmp_path / "train.jsonl", "one?", "two?", "three?"), chats(tmp_path / "dev.jsonl", "three?", "four?")
    tuned(tmp_path / "model", files)
    return tmp_path / "model"


def tuned(folder: Path, files: tuple[Path, ...], **settings: Any) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "tuned.json").write_text(json.dumps({"request": {"settings": settings, "files": sizes(files)}}))


def test_conversations_of_both_files_are_told(tmp_path: Path, folder: Path) -> None:
    data, said = read_file(chats(tmp_path / "test.jsonl", "new?", "two?", "three?", "four?"), "chat"), list[str]()
    found = seen_by(str(folder), "http://127.0.0.1:9/v1#none", data, "chat", said.append)
    assert found == {"in_training_file": 2, "in_evaluation_file": 2, "in_training_file_against": None, "in_evaluation_file_against": None}
    assert ["from which" in said[0], "by which" in said[1], "(line 2 first)" in said[0]] == [True] * 3
    tuned(folder, (tmp_path / "train.jsonl", tmp_path / "dev.jsonl"), **{"--drop-duplicates": True})
    assert seen_by(str(folder), None, data, "chat", said.append) == {"in_training_file": 1, "in_evaluation_file": 2}


def test_of_a_file_of_the_same_size_with_other_rows_nothing_is_known(tmp_path: Path, folder: Path) -> None:
    data = read_file(chats(tmp_path / "test.jsonl", "two?"), "chat")
    chats(tmp_path / "train.jsonl", "one?", "six?", "three?")
    assert seen_by(str(folder), None, data, "chat", lambda _: None) == {"in_training_file": None, "in_evaluation_file": 0}
