"""Tasks with a head from files to predictions, on the encoder that comes with Noria and on small ones made here."""

import json
import random
import shutil
import statistics
import time
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch

from noria.data import AnswerExample, ClassifyExample
from noria.data.examples import EXAMPLES
from noria.engine.heads import open_head, outputs_of
from noria.engine.heads.runners import GRAPH, open_runner, transformers_runner
from noria.errors import ConfigError, DataError, ModelError
from noria.lifecycle.adapt import adapt, predict_file
from noria.lifecycle.measure import measure
from noria.model import Shape, make_config, new_model, resolve, train_tokenizer
from noria.train.methods import unheeded
from noria.train.sentences import SentenceEncoder

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
    given = {name: value for name, value in given.items() if name not in unheeded(task, settings.get("method", "full"))}
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
    from noria.data import TagExample

    [one] = open_head(tmp_path / "out").predictions([TagExample(tokens=("my", "friend", "Anna", "Smith"))])
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


@pytest.mark.parametrize("method", ["full", "head", "lora"])
def test_numbers_are_learnt_in_their_own_unit(tmp_path: Path, method: str) -> None:
    """Payments are worth 500 and cards 100, the other way round they would not be ordered."""
    worth = {"pay": 500.0, "card": 100.0}
    rows = [{"text": row["text"], "score": worth[row["label"]]} for row in intents(random.Random(21), 90)]
    made, _ = tuned(tmp_path, "score", rows[:60], rows[60:], method=method, learning_rate={"head": 3e-2, "lora": 2e-3}.get(method))
    assert made.metrics["spearman"] > 0.7  # of two values; in any order it would be near 0
    asked = intents(random.Random(22), 20)
    data = write(tmp_path / "ask.jsonl", [{"text": row["text"]} for row in asked])
    predict_file(str(tmp_path / "out"), "score", data, tmp_path / "said.jsonl", lambda *_: None)
    scores = [json.loads(line)["score"] for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    card, pay = (statistics.median(score for score, row in zip(scores, asked, strict=True) if row["label"] == label) for label in ("card", "pay"))
    assert 0 < card < 300 < pay < 1000  # a single text may be judged beyond what any row was worth
    assert all((score > 300) == (row["label"] == "pay") for score, row in zip(scores, asked, strict=True))
    report = measure(
        None, str(tmp_path / "out"), "score", tmp_path / "dev.jsonl", against=str(tmp_path / "out"), out=tmp_path / "r.json", progress=lambda *_: None
    )
    assert (report["effect"], report["p"]) == (0.0, 1.0)
    assert report["metrics"]["mean_absolute_error"] < 150


SUBJECTS = ("boat", "sauna", "garage", "bicycle", "breakfast", "terrace", "garden", "library")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_texts_come_near_to_what_belongs_to_them(tmp_path: Path, method: str) -> None:
    """Questions about a subject belong to the answer about the next one: only learning can tell."""
    rng = random.Random(22)
    following = dict(zip(SUBJECTS, (*SUBJECTS[1:], SUBJECTS[0]), strict=True))
    rows = [{"text": f"{rng.choice(FILLERS)} the {name} {rng.randrange(99)}", "positive": f"about the {following[name]}"} for name in SUBJECTS * 12]
    made, _ = tuned(tmp_path, "embed", rows[:80], rows[80:], method=method, epochs={"full": 12.0, "lora": 20.0}[method])
    assert made.metrics["ndcg_at_10"] > 0.9
    out = tmp_path / "out"
    data = write(tmp_path / "ask.jsonl", [{"text": "the boat"}, {"text": "the sauna", "positive": "about the garage"}])
    predict_file(str(out), "embed", data, tmp_path / "said.jsonl", lambda *_: None)
    first, second = (json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines())
    assert np.linalg.norm(first["embedding"]) == pytest.approx(1, abs=1e-4)
    assert set(second) == {"embedding", "positive"}
    again = SentenceEncoder(resolve(str(out))).vectors(["the boat"])[0]
    np.testing.assert_allclose(again, first["embedding"], atol=0.02)  # the graph is in half precision
    modules = json.loads((out / "modules.json").read_text())
    assert [one["path"] for one in modules] == ["", "1_Pooling", "2_Normalize"]
    assert json.loads((out / "1_Pooling/config.json").read_text())["pooling_mode_mean_tokens"]


def test_equal_numbers_are_nothing_to_learn(tmp_path: Path, small: str) -> None:
    rows = [{"text": "a", "score": 2}, {"text": "b", "score": 2.0}]
    with pytest.raises(DataError, match="train.jsonl' has the score 2 in every row"):
        tuned(tmp_path, "score", rows, rows, base=small)
    assert not (tmp_path / "out").exists()


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


# What a base or a method is, and what is refused before anything is written.


def decoder(kind: Literal["llama", "gpt2"], folder: Path) -> str:
    """A decoder of some thousand weights that has read nothing."""
    folder.mkdir()
    words = train_tokenizer("bpe", [row["text"] for row in intents(random.Random(0), 300)], 400, "clm", at_most=True)
    shape = Shape(width=32, num_layers=2, num_heads=2, context=64)
    new_model(make_config(kind, shape, words.vocab_size, {"bos": words.bos_id or 0, "eos": words.eos_id, "pad": words.pad_id}), 0).save_pretrained(
        folder
    )
    words.save(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "method"), [("llama", "full"), ("llama", "lora"), ("llama", "head"), ("llama", "contrast"), ("gpt2", "full"), ("gpt2", "dora")]
)
def test_a_decoder_tells_intents_apart(tmp_path: Path, kind: Literal["llama", "gpt2"], method: str) -> None:
    rng = random.Random(1)
    base = decoder(kind, tmp_path / "base")
    made, _ = tuned(tmp_path, "classify", intents(rng, 64), intents(rng, 40), base=base, method=method, epochs=8.0, learning_rate=3e-3, dropout=0.1)
    assert made.metrics["accuracy"] > 0.8
    from transformers import AutoModelForSequenceClassification

    opened = open_head(tmp_path / "out")
    asked = intents(rng, 12)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    said = [one.output["label"] for one in opened.predictions([ClassifyExample(**row) for row in asked])]
    for one, label in zip(opened.reader.inputs([ClassifyExample(**row) for row in asked]), said, strict=True):
        with torch.no_grad():
            assert theirs.config.id2label[int(theirs(torch.tensor([one.token_ids])).logits.argmax())] == label


def test_a_decoder_that_reads_in_both_directions_sees_what_comes(tmp_path: Path) -> None:
    """The tag of a token is told by the next one alone: from left to right nothing can be known."""
    following = random.Random(31).choices(["ahead", "past"], k=120)
    rows = [{"tokens": ["river", word], "tags": ["B-X" if word == "ahead" else "O", "O"]} for word in following]
    words = train_tokenizer("bpe", [" ".join(row["tokens"]) for row in rows], 270, "clm", at_most=True)
    special = {name: i for name, i in {"bos": words.bos_id, "eos": words.eos_id, "pad": words.pad_id}.items() if i is not None}
    config = make_config("llama", Shape(width=32, num_layers=2, num_heads=2, context=32), words.vocab_size, special)
    new_model(config, 0).save_pretrained(tmp_path / "base")
    words.save(tmp_path / "base")
    given = {"base": str(tmp_path / "base"), "crf": False, "learning_rate": 3e-3, "epochs": 6.0}
    found = {}
    for bidirectional in (False, True):
        (tmp_path / str(bidirectional)).mkdir()
        made, _ = tuned(tmp_path / str(bidirectional), "tag", rows[:80], rows[80:], bidirectional=bidirectional, **given)
        found[bidirectional] = made.metrics["token_accuracy"]
    assert found[True] == 1
    assert found[False] < 0.9
    out = tmp_path / "True" / "out"
    assert json.loads((out / "config.json").read_text())["is_causal"] is False
    data = write(tmp_path / "ask.jsonl", [{"tokens": ["river", "ahead"]}, {"tokens": ["river", "past"]}])
    predict_file(str(out), "tag", data, tmp_path / "said.jsonl", lambda *_: None)
    assert [json.loads(line)["tags"][0] for line in (tmp_path / "said.jsonl").read_text().splitlines()] == ["B-X", "O"]


def test_a_label_that_all_rows_have_is_fitted_without_a_bias_too(tmp_path: Path) -> None:
    rows = [{**row, "label": [row["label"], "all"]} for row in intents(random.Random(1), 32)]
    made, _ = tuned(tmp_path, "classify", rows, rows[:8], base=decoder("llama", tmp_path / "base"), method="head")
    assert made.metrics["micro_f1"] > 0.7


@pytest.mark.parametrize(
    ("task", "settings", "error", "told"),
    [
        ("tag", {"method": "contrast"}, ConfigError, "is for classify"),
        ("several", {"method": "contrast"}, ConfigError, "with one label each"),
        ("classify", {"method": "prompt"}, ConfigError, "prompt"),
        ("classify", {"top_layers": 3}, ConfigError, "the model has 2 layers"),
        ("classify", {"max_tokens": 500}, ConfigError, "reads 64 tokens"),
        ("answer", {"base": "t5"}, ModelError, "cannot serve the task|has no configuration"),
    ],
)
def test_what_cannot_be_is_refused_before_the_folder_is_begun(
    tmp_path: Path, small: str, task: str, settings: dict[str, Any], error: type[Exception], told: str
) -> None:
    rng = random.Random(1)
    rows = {
        "classify": intents(rng, 8),
        "several": [{**row, "label": [row["label"]]} for row in intents(rng, 8)],
        "tag": names(rng, 8),
        "answer": places(rng, 8),
    }[task]
    given = {"base": small, **settings}
    if given["base"] == "t5":
        given["base"] = shutil.copytree(small, tmp_path / "t5")
        written = json.loads((tmp_path / "t5/config.json").read_text())
        (tmp_path / "t5/config.json").write_text(json.dumps({**written, "model_type": "vit", "architectures": ["ViTModel"]}))
    with pytest.raises(error, match=told):
        tuned(tmp_path, "classify" if task == "several" else task, rows, rows[:4], **{**given, "base": str(given["base"])})
    assert not (tmp_path / "out").exists()


def test_one_label_only_names_the_file(tmp_path: Path, small: str) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl' has one label only"):
        tuned(tmp_path, "classify", [{"text": "pay", "label": "x"}] * 2, [{"text": "c", "label": "x"}], base=small)


def test_transitions_learn_with_adapters(tmp_path: Path, small: str) -> None:
    rng = random.Random(2)
    tuned(tmp_path, "tag", names(rng, 32), names(rng, 8), base=small, method="lora", epochs=2.0)
    from safetensors.torch import load_file

    assert float(load_file(tmp_path / "out/transitions.safetensors")["between"].abs().sum()) > 0


def places(rng: random.Random, count: int, without: int = 0) -> list[dict[str, Any]]:
    """Questions where somebody lives; of the last `without` the context does not say it."""
    rows = []
    for number in range(count):
        place = rng.choice(["Paris", "London", "Rome"])
        context = f"my friend {rng.choice(['Anna', 'Bob'])} lives in {place} today" if number < count - without else "hello my friend thanks again"
        found = {"text": [place], "answer_start": [context.index(place)]} if number < count - without else {"text": [], "answer_start": []}
        rows.append({"question": "lives in", "context": context, "answers": found})
    return rows


def test_whether_an_answer_is_given_goes_by_the_held_out_rows(tmp_path: Path, small: str) -> None:
    rng = random.Random(8)
    told: dict[str, list[str]] = {}
    for name, without in (("all", 0), ("some", 12)):
        (tmp_path / name).mkdir()
        made, _ = tuned(tmp_path / name, "answer", places(rng, 40, 36), places(rng, 24, without), base=small, epochs=1.0)
        opened = open_head(tmp_path / name / "out")
        rows = [AnswerExample.model_validate(row) for row in places(rng, 20, 10)]
        told[name] = [one.output["answer"] for one in opened.predictions(rows)]
        assert json.loads((tmp_path / name / "out/head.json").read_text())["none_margin"] == (
            None if name == "all" else pytest.approx(opened.told.none_margin)
        )
    assert "" not in told["all"]
    assert made.metrics["f1"] >= 0.5  # no answer at all gives as much


def test_texts_that_are_cut_are_said(tmp_path: Path, small: str) -> None:
    rng = random.Random(1)
    rows = intents(rng, 16)
    _, said = tuned(tmp_path, "classify", [*rows, {"text": "please pay " * 300, "label": "pay"}], rows[:8], base=small, method="head")
    assert [sentence for sentence in said if "train.jsonl" in sentence and "1 of 17 rows have a text of more than 62 tokens" in sentence]
    assert said[-1].startswith(f"Method head on '{small}': `max_tokens` 64, `precision` ")


def test_dropout_is_set_by_the_name_that_a_base_has_for_it(tmp_path: Path, small: str) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    base = tmp_path / "base"
    shutil.copytree(small, base)
    (base / "model.safetensors").unlink()
    size = json.loads((base / "config.json").read_text())["vocab_size"]
    DistilBertModel(DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=64, vocab_size=size, max_position_embeddings=64)).save_pretrained(base)
    rng = random.Random(1)
    tuned(tmp_path, "classify", intents(rng, 16), intents(rng, 8), base=str(base), dropout=0.25, epochs=1.0)
    told = json.loads((tmp_path / "out/config.json").read_text())
    assert (told["dropout"], told["attention_dropout"]) == (0.25, 0.25)


def test_minutes_bound_the_validations_too(tmp_path: Path, small: str) -> None:
    rng = random.Random(1)
    began = time.monotonic()
    made, said = tuned(tmp_path, "classify", intents(rng, 40), intents(rng, 2000), base=small, minutes=0.1, epochs=500.0, num_validations=100)
    assert time.monotonic() - began < 12
    assert made.metrics["num_steps"] > 1
    assert any("it is done" in sentence and "not 100" in sentence for sentence in said)


@pytest.mark.parametrize("crf", [False, True])
def test_windows_inside_of_one_long_token_are_left_out_of_training(tmp_path: Path, small: str, crf: bool) -> None:
    rng = random.Random(2)
    rows = [*names(rng, 8), {"tokens": ["71" * 45, "\u200b"], "tags": ["B-LOC", "O"]}]
    made, _ = tuned(tmp_path, "tag", rows, rows, base=small, crf=crf, batch=1, epochs=2.0, max_tokens=16, stride=0)
    assert made.metrics["first_loss"] < 10


@pytest.mark.parametrize("task", ["classify", "tag", "answer"])
def test_the_graph_of_a_tuned_folder_says_what_its_weights_say(tmp_path: Path, small: str, task: str) -> None:
    rng = random.Random(9)
    rows: dict[str, list[dict[str, Any]]] = {"classify": intents(rng, 24), "tag": names(rng, 24), "answer": places(rng, 24, 8)}
    tuned(tmp_path, task, rows[task], rows[task], base=small, precision="float32", epochs=1.0)
    out = tmp_path / "out"
    opened = open_head(out)
    assert (out / GRAPH).is_file()
    examples = [EXAMPLES[cast(Any, task)].model_validate(row) for row in rows[task]]
    inputs = opened.reader.inputs(examples)
    mine, theirs = (outputs_of(opened.reader, run(out, opened.reader), inputs) for run in (open_runner, transformers_runner))
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-3)  # weights of the graph are in half precision
