"""`/v1/classify` answers from a tuned folder as `noria predict` does, and says what is wrong with a request."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noria.lifecycle.adapt import adapt, predict_file

ROWS = [{"text": f"{words} {number}", "label": label} for number in range(6) for words, label in (("send money", "pay"), ("lost card", "card"))]


@pytest.fixture(scope="module")
def intents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("intents")
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    adapt({"method": "head", "threads": 1}, "classify", root / "rows.jsonl", root / "rows.jsonl", root / "out", None, lambda *_: None, lambda _: None)
    return root


def test_it_says_what_predict_writes(desk: Callable[..., Any], tmp_path: Path, intents: Path) -> None:
    made = desk([], settings='[serve]\nheads = { intents = "./intents" }\n')
    shutil.copytree(intents / "out", tmp_path / "desk" / "intents")
    texts = ["I lost my card", "please send the money"]
    told = made.post("/v1/classify", model="intents", input=texts).json()
    (tmp_path / "ask.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    predict_file(str(intents / "out"), "classify", tmp_path / "ask.jsonl", tmp_path / "said.jsonl", lambda *_: None)
    said = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert [one["label"] for one in told["data"]] == [one["label"] for one in said] == ["card", "pay"]
    assert [one["score"] for one in told["data"]] == pytest.approx([one["score"] for one in said], abs=1e-3)
    assert all(sum(one["probs"]) == pytest.approx(1, abs=1e-4) and one["num_classes"] == 2 for one in told["data"])
    assert told["usage"]["prompt_tokens"] > 8
    assert made.post("/v1/classify", input="a lost card").json()["data"][0]["label"] == "card"


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"model": "other", "input": "a"}, 404, "There is no head 'other'. There are: intents."),
        ({"input": []}, 400, "`input` has 0 entries"),
        ({"input": [{"words": "a"}]}, 400, "`input[0]`"),
        ({"input": 3}, 400, "input"),
        ({"input": "a"}, 503, "head.json"),
    ],
)
def test_a_wrong_request_is_told(desk: Callable[..., Any], tmp_path: Path, intents: Path, body: dict[str, Any], status: int, told: str) -> None:
    made = desk([], settings='[serve]\nheads = { intents = "./intents" }\n')
    if status != 503:
        shutil.copytree(intents / "out", tmp_path / "desk" / "intents")
    answer = made.post("/v1/classify", **body)
    assert (answer.status_code, told in answer.json()["error"]["message"]) == (status, True), answer.text
