"""Methods without training, and the race of all methods, from files to predictions on the models that come with Noria."""

import json
import random
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from noria.errors import ConfigError, DataError
from noria.lifecycle.adapt import adapt, predict_file
from noria.lifecycle.measure import measure

WORDS = {"pay": ["send money", "transfer funds", "pay my bill"], "card": ["my card is lost", "new card please", "block the card"]}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def intents(seed: int, count: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    labels = [rng.choice(sorted(WORDS)) for _ in range(count)]
    return [{"text": f"{rng.choice(WORDS[label])} {rng.randrange(999)}", "label": label} for label in labels]


TOOL = {
    "type": "function",
    "function": {
        "name": "bring",
        "description": "Bring something",
        "parameters": {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]},
    },
}


def orders(seed: int, count: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        item = rng.choice(["towels", "coffee", "soup"])
        call = {"id": f"c{number}", "type": "function", "function": {"name": "bring", "arguments": json.dumps({"item": item})}}
        said = [{"role": "user", "content": f"{item} to room {rng.randrange(99)}"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
        rows.append({"messages": said, "tools": [TOOL]})
    return rows


def made(tmp_path: Path, task: str, train: Any, held_out: Any, **settings: Any) -> Any:
    files = write(tmp_path / "train.jsonl", train), write(tmp_path / "dev.jsonl", held_out)
    said: list[str] = []
    return adapt(settings, task, *files, tmp_path / "out", None, lambda *_: None, said.append), said


def said(tmp_path: Path, task: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    data, out = write(tmp_path / "ask.jsonl", rows), tmp_path / "said.jsonl"
    assert predict_file(str(tmp_path / "out"), task, data, out, lambda *_: None) == len(rows)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_labels_of_the_nearest_cases(tmp_path: Path) -> None:
    done, _ = made(tmp_path, "classify", intents(1, 24), intents(2, 12), method="retrieval")
    assert done.metrics["accuracy"] == 1
    assert [one["label"] for one in said(tmp_path, "classify", [{"text": "I lost the card"}, {"text": "send them money"}])] == ["card", "pay"]
    again, _ = made(tmp_path, "classify", intents(1, 24), intents(2, 12), method="retrieval")
    assert again.metrics == done.metrics
    report = measure(None, str(tmp_path / "out"), "classify", tmp_path / "dev.jsonl", against=None, out=None, progress=lambda *_: None)
    assert report["metrics"]["accuracy"] == 1


def test_long_cases_are_told_and_what_fails_frees_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*intents(1, 24), {"text": "send money " * 300, "label": "pay"}]
    with monkeypatch.context() as patched, pytest.raises(DataError, match="line 3"):
        patched.setattr("noria.lifecycle.adapt_untrained._with_best_number", Mock(side_effect=DataError("line 3 is too long")))
        made(tmp_path, "classify", rows, intents(2, 12), method="retrieval")
    assert not (tmp_path / "out").exists()
    _, said = made(tmp_path, "classify", rows, intents(2, 12), method="retrieval")
    assert "1 of 25 cases have a text of more than 254 tokens; the rest of it is not compared." in said


def test_what_was_made_for_labels_cannot_be_talked_to(tmp_path: Path) -> None:
    made(tmp_path, "classify", intents(1, 24), intents(2, 12), method="retrieval")
    out, chat = str(tmp_path / "out"), write(tmp_path / "chat.jsonl", orders(1, 3))
    with pytest.raises(ConfigError, match="tuned for the task 'classify' and does not write"):
        measure(None, out, "tools", chat, against=None, out=None, progress=lambda *_: None)
    with pytest.raises(ConfigError, match="does not write"):
        predict_file(out, "tools", chat, tmp_path / "said.jsonl", lambda *_: None)


def test_one_row_with_a_list_makes_all_of_them_lists(tmp_path: Path) -> None:
    several = [{**row, "label": [row["label"], "all"]} for row in intents(2, 12)]
    done, _ = made(tmp_path, "classify", [{"text": "a word", "label": "all"}, *several], several, method="retrieval")
    assert done.metrics["score"] > 0.9


def test_calls_of_the_nearest_cases(tmp_path: Path) -> None:
    done, _ = made(tmp_path, "tools", orders(1, 24), orders(2, 9), method="retrieval")
    assert done.metrics["score"] == 1
    report = measure(None, str(tmp_path / "out"), "tools", tmp_path / "dev.jsonl", against=None, out=None, progress=lambda *_: None)
    assert report["metrics"]["pass"] == 1
    [one] = said(tmp_path, "tools", [{"messages": [{"role": "user", "content": "soup for room 3"}], "tools": [TOOL]}])
    assert json.loads(one["message"]["tool_calls"][0]["function"]["arguments"]) == {"item": "soup"}


def test_a_folder_that_is_taken_is_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("All my work.")
    reported: list[str] = []
    files = write(tmp_path / "train.jsonl", intents(1, 6)), write(tmp_path / "dev.jsonl", intents(2, 6))
    with pytest.raises(ConfigError, match="not empty and was not begun by `noria tune`"):
        adapt({"method": "retrieval"}, "classify", *files, tmp_path / "out", None, lambda stage, *_: reported.append(stage), lambda _: None)
    assert reported == []


def test_where_there_are_no_cases_no_folder_is_made(tmp_path: Path) -> None:
    greeting = [{"messages": [{"role": "assistant", "content": "Good evening!"}]}]
    with pytest.raises(DataError, match="there are no cases to go by"):
        made(tmp_path, "chat", greeting, orders(1, 3), method="retrieval")
    assert not (tmp_path / "out").exists()


@pytest.mark.timeout(300)
def test_a_model_is_shown_cases(tmp_path: Path) -> None:
    done, _ = made(tmp_path, "classify", intents(1, 16), intents(2, 8), method="prompting", num_examples=4)
    assert done.metrics["num_scored"] == 8
    assert {one["label"] for one in said(tmp_path, "classify", [{"text": "block my card"}, {"text": "pay"}])} <= {"card", "pay"}


@pytest.mark.timeout(600)
def test_a_race_keeps_the_best_and_names_the_cheapest(tmp_path: Path) -> None:
    settings = {"method": "best", "minutes": 0.3, "threads": 1, "num_examples": 2}
    done, told = made(tmp_path, "classify", intents(1, 32), intents(2, 16), **settings)
    race = json.loads((tmp_path / "out" / "race.json").read_text())
    assert done.metrics["method"] == race["best"]
    assert {lap["method"] for lap in race["rounds"][0]} == {"retrieval", "head", "contrast", "lora", "full", "prompting"}
    assert [len(laps) for laps in race["rounds"]] == [6, 3, 2]
    seconds = {lap["method"]: lap["seconds"] for laps in race["rounds"] for lap in laps if lap["score"] is not None}
    good = {method for method, told_of in race["against_the_best"].items() if not told_of["worse"]}
    assert race["best"] in good
    assert seconds[race["cheapest"]] <= min(seconds[method] for method in good) + 0.1  # rounded when written
    assert told[-1].startswith("Best: ")
    assert [one["label"] for one in said(tmp_path, "classify", [{"text": "I lost the card"}])] == ["card"]
    assert not (tmp_path / "out" / ".race").exists()


@pytest.mark.parametrize(
    ("task", "settings", "told"),
    [
        ("tag", {"method": "prompting"}, "not for the task 'tag'"),
        ("answer", {"method": "retrieval"}, "not for the task 'answer'"),
        ("classify", {"method": "retrieval", "votes": 3}, "`votes` is for"),
        ("classify", {"method": "retrieval", "rank": 3}, "rank"),
        ("classify", {"method": "best", "minutes": -1}, "minutes"),
        ("classify", {"method": "best", "lerning_rate": 1e-3}, "lerning_rate"),
        ("classify", {"method": "best", "rank": 0}, "rank"),
        ("classify", {"method": "best", "max_tokens": 9999}, "Give 512 or less"),
        ("classify", {"method": "best", "top_layers": 99}, "Give a number from 1 to"),
        ("classify", {"method": "best", "encoder": "typo"}, "No model 'typo'"),
        ("tools", {"method": "best", "thought": True}, "`thought` is for `--method prompting` of classify and answer"),
        ("tools", {"method": "best", "top_layers": 99}, "Give a number from 1 to 30"),
        ("classify", {"method": "retrieval", "encoder": "typo"}, "No model 'typo'"),
    ],
)
def test_what_a_method_cannot_do_is_refused_before_a_folder_is_made(tmp_path: Path, task: str, settings: dict[str, Any], told: str) -> None:
    rows: dict[str, list[dict[str, Any]]] = {
        "tag": [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["b"], "tags": ["B-X"]}],
        "answer": [{"question": "q?", "context": "c", "answers": {"text": [], "answer_start": []}}],
        "classify": intents(1, 6),
        "tools": orders(1, 6),
    }
    with pytest.raises(ConfigError, match=told):
        made(tmp_path, task, rows[task], rows[task], **settings)
    assert not (tmp_path / "out").exists()
