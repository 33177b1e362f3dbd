"""`/v1/classify` answers from a tuned folder as `noria predict` does, and says what is wrong with a request."""

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from noria.engine.heads import open_head
from noria.engine.heads.reader import Batch, Floats
from noria.errors import ServeError
from noria.lifecycle.adapt import adapt, predict_file
from noria.serve.heads import MAX_AT_ONCE, ClassifyBody, Heads

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


def test_what_is_not_read_is_told(desk: Callable[..., Any], tmp_path: Path, intents: Path) -> None:
    made = desk([], settings='[serve]\nheads = { intents = "./intents" }\n')
    shutil.copytree(intents / "out", tmp_path / "desk" / "intents")
    short, long = made.post("/v1/classify", input=["card", "card " * 900]).json()["data"]
    assert short["num_cut"] == 0
    assert 300 < long["num_cut"] < 900


def test_only_so_many_requests_are_taken_at_once(intents: Path) -> None:
    inside, go_on = threading.Semaphore(0), threading.Event()
    head = open_head(intents / "out")

    def slowly(batch: Batch) -> Mapping[str, Floats]:
        inside.release()
        assert go_on.wait(20)
        return head.runner(batch)

    heads = Heads({"intents": "x"}, Path(), lambda _: replace(head, runner=slowly))
    body = ClassifyBody(input="I lost my card")
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        running = [pool.submit(heads.answer, body) for _ in range(MAX_AT_ONCE)]
        assert all(inside.acquire(timeout=20) for _ in running)
        with pytest.raises(ServeError, match="requests are being answered") as refused:
            heads.answer(body)
        go_on.set()
        assert {one.result()["data"][0]["label"] for one in running} == {"card"}
    assert refused.value.status == 429
    assert heads.answer(body)["data"][0]["label"] == "card"


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"model": "other", "input": "a"}, 404, "There is no head 'other'. There are: intents."),
        ({"input": []}, 400, "`input` has 0 entries"),
        ({"input": [{"words": "a"}]}, 400, "`input[0]`"),
        ({"input": 3}, 400, "input"),
        ({"input": ["a", "\ud800"]}, 400, "`input[1]`: the text holds '\\ud800', half of a character pair"),
        ({"input": "a"}, 503, "head.json"),
    ],
)
def test_a_wrong_request_is_told(desk: Callable[..., Any], tmp_path: Path, intents: Path, body: dict[str, Any], status: int, told: str) -> None:
    made = desk([], settings='[serve]\nheads = { intents = "./intents" }\n')
    if status != 503:
        shutil.copytree(intents / "out", tmp_path / "desk" / "intents")
    answer = made.client.post("/v1/classify", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert (answer.status_code, told in answer.json()["error"]["message"]) == (status, True), answer.text


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("alike")
    rows = [{"text": f"{row['text']}", "positive": str(row["label"])} for row in ROWS]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = {"method": "lora", "threads": 1, "epochs": 1.0, "num_validations": 1}
    adapt(given, "embed", root / "rows.jsonl", root / "rows.jsonl", root / "out", None, lambda *_: None, lambda _: None)
    return root


def test_vectors_as_the_openai_client_asks_for_them(desk: Callable[..., Any], tmp_path: Path, alike: Path) -> None:
    made = desk([], settings='[serve]\nheads = { alike = "./alike" }\n')
    shutil.copytree(alike / "out", tmp_path / "desk" / "alike")
    with openai.OpenAI(base_url=f"{made.url}/v1", api_key="none") as client:  # it asks for base64 by itself
        told = client.embeddings.create(model="alike", input=["a lost card", "send money"])
        plain = client.embeddings.create(model="alike", input="a lost card", encoding_format="float")
    assert [one.index for one in told.data] == [0, 1]
    assert told.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-3)
    assert sum(value**2 for value in plain.data[0].embedding) == pytest.approx(1, abs=1e-3)
    assert told.usage.prompt_tokens > plain.usage.prompt_tokens > 2


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("embeddings", {"model": "alike", "input": []}, 400, "`input"),
        ("embeddings", {"model": "alike", "input": [[1, 2]]}, 400, "input"),
        ("embeddings", {"model": "alike", "input": "a", "dimensions": 64}, 400, "`dimensions` is 64; 'alike' has 384"),
        ("embeddings", {"model": "alike", "input": ["a", "card " * 900]}, 400, "`input[1]` has more than the"),
        ("embeddings", {"model": "intents", "input": "a"}, 400, "ask it by `POST /v1/classify`"),
        ("classify", {"model": "alike", "input": "a"}, 400, "ask it by `POST /v1/embeddings`"),
        ("embeddings", {"input": "a"}, 404, "`model` is not given. There are: alike, intents."),
    ],
)
def test_a_wrong_request_for_vectors_is_told(
    desk: Callable[..., Any], tmp_path: Path, alike: Path, intents: Path, path: str, body: dict[str, Any], status: int, told: str
) -> None:
    made = desk([], settings='[serve]\nheads = { alike = "./alike", intents = "./intents" }\n')
    shutil.copytree(alike / "out", tmp_path / "desk" / "alike")
    shutil.copytree(intents / "out", tmp_path / "desk" / "intents")
    answer = made.post(f"/v1/{path}", **body)
    assert (answer.status_code, told in answer.json()["error"]["message"]) == (status, True), answer.text
