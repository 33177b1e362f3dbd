"""Predictions stand on disk as they are made, each with its row."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from noria.data import ClassifyExample
from noria.lifecycle.predictions import keep_predictions


class Killed(BaseException):
    pass


def kept(out: Path, texts: str, until: int | None = None, model: str = "model") -> list[int]:
    """Predict a row a letter; returns the rows that were asked."""
    asked: list[int] = []

    def predict(start: int) -> Generator[dict[str, Any]]:
        for index in range(start, len(texts)):
            if index == until:
                raise Killed
            asked.append(index)
            yield {"label": texts[index].upper()}

    keep_predictions(model, "classify", [ClassifyExample(text=text) for text in texts], predict, out, lambda *_: None)
    return asked


def killed(out: Path, texts: str, until: int) -> Path:
    with pytest.raises(Killed):
        kept(out, texts, until)
    assert not out.exists()
    return out.with_name(f".{out.name}.partial")


def labels(out: Path) -> str:
    return "".join(json.loads(line)["label"] for line in out.read_text().splitlines())


def test_a_killed_call_goes_on_behind_the_last_whole_line(tmp_path: Path) -> None:
    out = tmp_path / "said.jsonl"
    partial = killed(out, "abcdef", 4)
    partial.write_bytes(partial.read_bytes()[:-5])
    assert kept(out, "abcdef") == [3, 4, 5]
    assert labels(out) == "ABCDEF"
    assert not partial.exists()
    assert kept(out, "abc") == [0, 1, 2]


def test_a_row_that_was_corrected_is_asked_and_those_before_it_are_not(tmp_path: Path) -> None:
    out = tmp_path / "said.jsonl"
    killed(out, "abcdef", 5)
    assert kept(out, "abxdef") == [2, 3, 4, 5]
    assert labels(out) == "ABXDEF"


def test_another_model_or_a_damaged_file_begins_anew(tmp_path: Path) -> None:
    out = tmp_path / "said.jsonl"
    killed(out, "abc", 2)
    assert kept(out, "abc", model="another") == [0, 1, 2]
    for damaged in ("", "{", "[]\n", "\n\n"):
        killed(out := tmp_path / "again.jsonl", "abc", 2).write_text(damaged)
        assert kept(out, "abc") == [0, 1, 2]
        out.unlink()


def test_a_folder_that_was_tuned_again_is_another_model(tmp_path: Path) -> None:
    out, model = tmp_path / "said.jsonl", tmp_path / "model"
    model.mkdir()
    (model / "tuned.json").write_text("1")
    with pytest.raises(Killed):
        kept(out, "abc", 2, str(model))
    (model / "tuned.json").write_text("2")
    assert kept(out, "abc", model=str(model)) == [0, 1, 2]
