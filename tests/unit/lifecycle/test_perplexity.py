"""Perplexity agrees with transformers' own loss, counts what is learnt alone, and is no reason for a report to fail."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from noria.data import ChatExample
from noria.data.task_checks import TaskFile
from noria.lifecycle.measure import as_conversation
from noria.lifecycle.perplexity import with_perplexity
from noria.model import Renderer, Shape, load_for_training, make_config, new_model, resolve, train_tokenizer
from noria.schema import Message

WORDS = ["river", "stone", "light", "garden"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    words = train_tokenizer("bpe", [f"{one} {other}" for one in WORDS for other in WORDS] * 20, 400, "clm", at_most=True)
    special = {"bos": words.bos_id, "eos": words.eos_id, "pad": words.pad_id}
    shape = Shape(width=32, num_layers=1, num_heads=2, context=64)
    config = make_config("llama", shape, words.vocab_size, {name: token for name, token in special.items() if token is not None})
    new_model(config, 0).save_pretrained(folder)
    words.save(folder)
    return folder


def chat(*said: str) -> ChatExample:
    messages = tuple(Message(role="user" if at % 2 == 0 else "assistant", content=text) for at, text in enumerate(said))
    return ChatExample(messages=messages, train=tuple(at % 2 == 1 for at in range(len(said))))


ROWS: dict[int, Any] = {1: chat("river", "stone"), 2: chat("light", "garden stone"), 5: chat("stone", "light", "river", "stone light")}


def reported(base: Path | str, rows: dict[int, Any]) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    report: dict[str, Any] = {"metrics": {"score": 0.5}, "intervals": {}, "n": len(rows)}
    file = TaskFile(path=Path("chat.jsonl"), rows=rows)
    return with_perplexity(report, str(base), None, file, lambda _: as_conversation, lambda *_: None, said.append), said


def test_it_is_what_transformers_says_of_the_answers(base: Path) -> None:
    model, tokenizer = load_for_training(resolve(str(base)))
    renderer, total, count = Renderer(tokenizer), 0.0, 0
    for row in ROWS.values():
        rendered = renderer.example(row.messages, (), row.train)
        labels = [token if learnt else -100 for token, learnt in zip(rendered.token_ids, rendered.loss_mask, strict=True)]
        num = sum(rendered.loss_mask)
        total += num * model(input_ids=torch.tensor([rendered.token_ids]), labels=torch.tensor([labels])).loss.item()
        count += num
    report, said = reported(base, ROWS)
    assert report["metrics"]["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
    low, high = report["intervals"]["perplexity"]
    assert low <= report["metrics"]["perplexity"] <= high
    assert (report["n_of"], said) == ({"perplexity": 3}, [])


def test_rows_longer_than_the_model_are_left_out_and_where_none_is_left_it_is_told(base: Path) -> None:
    long = chat("river", "stone " * 400)
    assert reported(base, {**ROWS, 9: long})[0]["n_of"] == {"perplexity": 3}
    report, said = reported(base, {1: long})
    assert report["metrics"] == {"score": 0.5}
    assert "every row is longer than the 64 tokens" in said[0]


def test_of_a_server_there_is_none() -> None:
    assert reported("http://127.0.0.1:9/v1#none", ROWS)[0]["metrics"] == {"score": 0.5}
