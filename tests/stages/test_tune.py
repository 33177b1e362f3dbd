"""Tasks with a head from files to predictions, on the encoder that comes with Noria and on small ones made here."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from noria.errors import ConfigError, DataError
from noria.lifecycle.adapt import adapt, predict_file
from noria.lifecycle.measure import measure
from noria.model import Shape, make_config, new_model, train_tokenizer
from noria.train.heads import open_head
from noria.train.heads import predict as predictions_of

WORDS = {"pay": ["send money", "transfer funds", "pay my bill"], "card": ["my card is lost", "new card please", "block the card"]}
FILLERS = ["please", "today", "hello", "now", "thanks", "for me", "quickly", "again"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def intents(rng: random.Random, count: int) -> list[dict[str, Any]]:
    rows = []
    for _ in range(count):
        label = rng.choice(sorted(WORDS))
        rows.append({"text": f"{rng.choice(FILLERS)} {rng.choice(WORDS[label])} {rng.choice(FILLERS)} {rng.randrange(999)}", "label": label})
    return rows


def tuned(tmp_path: Path, task: str, train: list[dict[str, Any]], held_out: list[dict[str, Any]], **settings: Any) -> Any:
    files = write(tmp_path / "train.jsonl", train), write(tmp_path / "dev.jsonl", held_out)
    said: list[str] = []
    base = settings.pop("base", None)
    given = {"epochs": 3.0, "batch": 8, "num_validations": 2, "threads": 1, **settings}
    return adapt(given, task, *files, tmp_path / "out", base, lambda *_: None, said.append), said


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of some thousand weights that has read nothing, with the words of this file."""
    folder = tmp_path_factory.mktemp("small")
    texts = [row["text"] for row in intents(random.Random(0), 300)] + [" ".join(row["tokens"]) for row in names(random.Random(0), 300)]
    words = train_tokenizer("wordpiece", texts, 300, "mlm-nsp")
    ids = {"cls": words.role_id("cls_token"), "sep": words.role_id("sep_token"), "pad": words.pad_id, "bos": words.bos_id, "eos": words.eos_id}
    shape = Shape(width=32, num_layers=2, num_heads=2, context=64)
    new_model(make_config("bert", shape, words.vocab_size, {name: i for name, i in ids.items() if i is not None}), 0).save_pretrained(folder)
    words.save(folder)
    return str(folder)


@pytest.mark.parametrize("method", ["full", "dora", "head", "contrast"])
def test_intents_are_told_apart_and_transformers_reads_the_folder(tmp_path: Path, method: str) -> None:
    rng = random.Random(1)
    made, _ = tuned(tmp_path, "classify", intents(rng, 32), intents(rng, 24), method=method, epochs=2.0)
    assert made.metrics["accuracy"] > 0.9
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    words = AutoTokenizer.from_pretrained(tmp_path / "out")
    asked = intents(rng, 12)
    with torch.no_grad():
        logits = model(**words([row["text"] for row in asked], padding=True, return_tensors="pt")).logits
    theirs = [model.config.id2label[int(index)] for index in logits.argmax(-1)]
    data = write(tmp_path / "ask.jsonl", [{"text": row["text"]} for row in asked])
    assert predict_file(str(tmp_path / "out"), "classify", data, tmp_path / "said.jsonl", lambda *_: None) == 12
    ours = [json.loads(line)["label"] for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert ours == theirs


def names(rng: random.Random, count: int) -> list[dict[str, Any]]:
    rows = []
    for _ in range(count):
        tokens, tags = [], []
        for _ in range(rng.randrange(1, 4)):
            if rng.random() < 0.5:
                tokens += ["my", "friend", rng.choice(["Anna", "Bob", "Carla"]), rng.choice(["Smith", "Jones"])]
                tags += ["O", "O", "B-PER", "I-PER"]
            else:
                tokens += ["lives", "in", rng.choice(["Paris", "London", "Rome"])]
                tags += ["O", "O", "B-LOC"]
        rows.append({"tokens": tokens, "tags": tags})
    return rows


@pytest.mark.parametrize(("crf", "method"), [(False, "full"), (True, "full"), (True, "lora")])
def test_names_are_tagged(tmp_path: Path, small: str, crf: bool, method: str) -> None:
    rng = random.Random(2)
    rate = 3e-3 if method == "full" else 1e-2
    made, _ = tuned(tmp_path, "tag", names(rng, 160), names(rng, 30), crf=crf, epochs=12.0, base=small, method=method, learning_rate=rate)
    assert made.metrics["f1"] > 0.9
    head, model = open_head(tmp_path / "out")
    from noria.data import TagExample

    [one] = predictions_of(head, model, [TagExample(tokens=("my", "friend", "Anna", "Smith"))])
    assert one.output["tags"] == ["O", "O", "B-PER", "I-PER"]


@pytest.mark.parametrize(
    ("task", "train", "held_out", "told"),
    [
        (
            "classify",
            [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}],
            [{"text": "c", "label": "z"}],
            r"dev.jsonl' line 1: the label 'z' is in no row",
        ),
        ("classify", [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], [{"text": "c", "label": "x"}], "has one label only"),
        ("classify", [{"text": " ", "label": "x"}], [{"text": "c", "label": "x"}], "line 1: field `text` is empty"),
        ("classify", [{"text": "a", "label": "x"}, {"text": "b"}], [{"text": "c", "label": "x"}], "line 2: field `label` is missing"),
        ("tag", [{"tokens": ["a"], "tags": ["I-PER"]}], [{"tokens": ["a"], "tags": ["O"]}], r"`tags\[0\]` is 'I-PER' at the beginning, which BIO"),
    ],
)
def test_files_that_would_mislead_are_refused(tmp_path: Path, task: str, train: Any, held_out: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        tuned(tmp_path, task, train, held_out)
    assert not (tmp_path / "out").exists()


def test_rows_in_both_files_are_counted_and_left_out_on_request(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = intents(rng, 24)
    _, said = tuned(tmp_path, "classify", rows, rows[:4], method="head")
    assert any("4 rows of" in sentence and "--drop-duplicates" in sentence for sentence in said)


def test_a_folder_is_used_for_the_task_it_was_tuned_for(tmp_path: Path) -> None:
    rng = random.Random(4)
    tuned(tmp_path, "classify", intents(rng, 16), intents(rng, 8), epochs=0.5, method="head")
    data = write(tmp_path / "ask.jsonl", [{"tokens": ["a"]}])
    with pytest.raises(ConfigError, match="was tuned for the task 'classify'"):
        predict_file(str(tmp_path / "out"), "tag", data, tmp_path / "said.jsonl", lambda *_: None)


def test_texts_of_no_label_are_told_by_a_threshold(tmp_path: Path) -> None:
    rng = random.Random(4)
    strange = [
        {"text": text, "label": "out_of_scope"}
        for text in ("the weather in spring", "a poem of the sea", "who won the match", "my cat sleeps all day")
    ]
    made, _ = tuned(tmp_path, "classify", intents(rng, 64), [*intents(rng, 24), *strange * 2], method="head")
    assert made.metrics["out_of_scope_recall"] > 0.7
    assert made.metrics["in_scope_accuracy"] > 0.8
    data = write(tmp_path / "ask.jsonl", [{"text": "the weather in spring"}, {"text": "please block the card now"}])
    predict_file(str(tmp_path / "out"), "classify", data, tmp_path / "said.jsonl", lambda *_: None)
    assert [json.loads(line)["label"] for line in (tmp_path / "said.jsonl").read_text().splitlines()] == ["out_of_scope", "card"]


def test_a_comparison_is_paired_and_written_as_json_and_page(tmp_path: Path) -> None:
    rng = random.Random(5)
    for name, rows in (("one", intents(rng, 64)), ("other", [{"text": "pay", "label": "card"}, {"text": "card", "label": "pay"}])):
        (tmp_path / name).mkdir()
        tuned(tmp_path / name, "classify", rows, intents(rng, 24), method="head")
    data = write(tmp_path / "test.jsonl", intents(rng, 40))
    report = measure(
        None, str(tmp_path / "one/out"), "classify", data, against=str(tmp_path / "other/out"), out=tmp_path / "report.json", progress=lambda *_: None
    )
    assert report["metrics"]["accuracy"] > 0.9
    assert report["effect"] == pytest.approx(report["metrics"]["accuracy"] - report["metrics_against"]["accuracy"])
    assert {"interval", "test", "p", "detectable", "slices", "confusions", "examples"} <= set(report)
    assert sum(row["n"] for row in report["slices"] if row["slice"] == "length") == 40
    page = (tmp_path / "report.html").read_text()
    assert "exact McNemar" in page
    assert f"{report['metrics']['accuracy']:.4f}" in page


def letters(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Texts of four words."""
    words = ["river", "stone", "light", "garden", "window", "paper"]
    return [{"text": " ".join(rng.choices(words, k=4))} for _ in range(count)]


def test_texts_are_rewritten(tmp_path: Path) -> None:
    rng = random.Random(6)
    rows = [{**row, "target": row["text"].split()[0]} for row in letters(rng, 40)]
    files = write(tmp_path / "train.jsonl", rows[:32]), write(tmp_path / "dev.jsonl", rows[32:])
    settings = {"method": "lora", "epochs": 2.0, "batch_tokens": 192, "threads": 1}
    made = adapt(settings, "rewrite", *files, tmp_path / "out", None, lambda *_: None, lambda _: None)
    assert made.metrics["held_out_loss"] < made.metrics["first_loss"]
    assert (tmp_path / "out/model.gguf").is_file()
    data = write(tmp_path / "ask.jsonl", [{"text": row["text"]} for row in rows[32:]])
    assert predict_file(str(tmp_path / "out"), "rewrite", data, tmp_path / "said.jsonl", lambda *_: None) == 8
    said = [json.loads(line)["target"] for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert sum(one == row["target"] for one, row in zip(said, rows[32:], strict=True)) >= 6
    assert adapt(settings, "rewrite", *files, tmp_path / "out", None, lambda *_: None, lambda _: None).metrics == made.metrics


def test_a_conversation_is_answered_with_a_message(tmp_path: Path) -> None:
    data = write(tmp_path / "ask.jsonl", [{"messages": [{"role": "user", "content": "Say hello."}]}])
    predict_file("smollm2-135m", "chat", data, tmp_path / "said.jsonl", lambda *_: None)
    message = json.loads((tmp_path / "said.jsonl").read_text())["message"]
    assert message["role"] == "assistant"
    assert message["content"]


class Killed(BaseException):
    pass


def test_a_search_that_was_killed_ends_as_an_unbroken_one(tmp_path: Path, small: str) -> None:
    rng = random.Random(7)
    files = write(tmp_path / "train.jsonl", intents(rng, 32)), write(tmp_path / "dev.jsonl", intents(rng, 24))
    settings = {"epochs": 4.0, "batch": 16, "num_validations": 2, "threads": 1}

    def searched(name: str, killed_after: int | None = None) -> Any:
        left = killed_after

        def report(*_: object) -> None:
            nonlocal left
            if left is not None:
                left -= 1
                if left < 0:
                    raise Killed

        return adapt(settings, "classify", *files, tmp_path / name, small, report, lambda _: None, num_trials=5)

    whole = searched("whole")
    for steps in (1, 3, 4, 6, 2):
        with pytest.raises(Killed):
            searched("cut", steps)
    cut = searched("cut")
    assert cut.metrics["score"] == whole.metrics["score"]
    one, other = (json.loads((tmp_path / name / "search.json").read_text()) for name in ("whole", "cut"))
    assert [(row["score"], row["settings"]) for row in one["trials"]] == [(row["score"], row["settings"]) for row in other["trials"]]
    assert (one["best"], len(one["trials"])) == (other["best"], 5)
    assert not (tmp_path / "cut/.search").exists()
