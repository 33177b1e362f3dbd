"""`noria evaluate` on task files whose rows have one right answer: what is refused before a model runs, and that the figures are of one metric."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from noria.cli.main import run
from noria.errors import ConfigError, DataError
from noria.lifecycle.adapt import adapt
from noria.lifecycle.measure import measure
from noria.model import Shape, make_config, new_model, train_tokenizer
from noria.schema import GenerationRequest
from noria.testing import ScriptedGenerator
from noria.testing.openai_server import openai_server

CITIES, PEOPLE = ("Paris", "London", "Rome"), ("Anna", "Bob", "Carla")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def sentences(seed: int, count: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        known = rng.random() < 0.7
        tokens = ["lives", "in", rng.choice(CITIES), "with", rng.choice(PEOPLE)] if known else ["nobody", "is", "here"]
        rows.append({"tokens": [*tokens, str(rng.randrange(99))], "tags": [*(["O", "O", "B-LOC", "O", "B-PER"] if known else ["O"] * 3), "O"]})
    return rows


def intents(seed: int, count: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    texts = {"pay": "send money", "card": "my card is lost"}
    return [{"text": f"{texts[label]} {rng.randrange(999)}", "label": label} for label in rng.choices(["pay", "card"], k=count)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier, one of several labels, and two taggers that learnt for different times, on an encoder of some thousand weights."""
    folder = tmp_path_factory.mktemp("tuned")
    texts = [row["text"] for row in intents(0, 200)] + [" ".join(row["tokens"]) for row in sentences(0, 200)]
    words = train_tokenizer("wordpiece", texts, 200, "mlm-nsp")
    ids = {"cls": words.role_id("cls_token"), "sep": words.role_id("sep_token"), "pad": words.pad_id, "bos": words.bos_id, "eos": words.eos_id}
    config = make_config(
        "bert", Shape(width=32, num_layers=1, num_heads=2, context=64), words.vocab_size, {n: i for n, i in ids.items() if i is not None}
    )
    new_model(config, 0).save_pretrained(folder / "base")
    words.save(folder / "base")

    def tuned(name: str, task: str, rows: list[dict[str, Any]], **settings: Any) -> None:
        train, dev = write(folder / f"{name}.jsonl", rows[:-20]), write(folder / f"{name}-dev.jsonl", rows[-20:])
        given = {"batch": 8, "num_validations": 1, "threads": 1, "learning_rate": 5e-3, **settings}
        adapt(given, task, train, dev, folder / name, str(folder / "base"), lambda *_: None, lambda _: None)

    tuned("intents", "classify", intents(1, 60), epochs=1.0)
    tuned("several", "classify", [{**row, "label": [row["label"]]} for row in intents(1, 60)], epochs=1.0)
    tuned("poor", "tag", sentences(2, 60), epochs=1.0, crf=False)
    tuned("good", "tag", sentences(3, 120), epochs=8.0, crf=False)
    return folder


class NotCalled:
    """A progress report that no model may have made."""

    def __call__(self, *_: object) -> None:
        raise AssertionError("a model ran")


def test_the_effect_of_taggers_is_the_difference_of_their_f1(tmp_path: Path, folders: Path) -> None:
    data, said = write(tmp_path / "test.jsonl", sentences(4, 60)), list[str]()
    report = measure(
        None,
        str(folders / "good"),
        "tag",
        data,
        against=str(folders / "poor"),
        out=tmp_path / "report.json",
        progress=lambda *_: None,
        say=said.append,
    )
    assert report["metrics"]["f1"] > report["metrics_against"]["f1"]
    assert report["effect"] == pytest.approx(report["metrics"]["f1"] - report["metrics_against"]["f1"])
    assert report["p"] < 0.05
    assert set(report["intervals"]) == set(report["metrics"])
    assert any(sentence.startswith("60 rows: where two models differ on 30%") and f"{report['detectable']:.3f}" in sentence for sentence in said)
    assert json.loads((tmp_path / "report.json").read_text())["effect"] == report["effect"]
    page = (tmp_path / "report.html").read_text()
    assert "Effect on f1:" in page
    assert page.count('src="data:image/svg+xml;base64,') == 2, "how each of them was trained"


def test_a_model_against_itself_is_the_same(tmp_path: Path, folders: Path) -> None:
    data = write(tmp_path / "test.jsonl", sentences(4, 20))
    report = measure(None, str(folders / "poor"), "tag", data, against=str(folders / "poor"), out=None, progress=lambda *_: None)
    assert (report["effect"], report["p"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("rows", "against", "out", "error", "told"),
    [
        (20, "absent", None, ConfigError, "absent' holds no `head.json`"),
        (20, "intents", None, ConfigError, "was tuned for the task 'classify'"),
        (20, "poor", "report.html", ConfigError, r"Give '.*report.json'"),
        (1, "poor", None, DataError, "holds one row; a comparison needs two or more"),
    ],
)
def test_what_cannot_end_well_is_refused_before_a_model_runs(
    tmp_path: Path, folders: Path, rows: int, against: str, out: str | None, error: type[Exception], told: str
) -> None:
    data = write(tmp_path / "test.jsonl", sentences(4, rows))
    path = None if out is None else tmp_path / out
    with pytest.raises(error, match=told):
        measure(None, str(folders / "good"), "tag", data, against=str(folders / against), out=path, progress=NotCalled())


def test_rows_of_one_conversation_are_compared_together(tmp_path: Path, folders: Path) -> None:
    rows = [{**row, "metadata": {"conversation": str(i // 3)}} for i, row in enumerate(intents(5, 30))]
    data, said, model = write(tmp_path / "test.jsonl", rows), list[str](), str(folders / "intents")
    report = measure(None, model, "classify", data, against=model, out=None, progress=lambda *_: None, say=said.append)
    assert report["test"] == "exact sign-flip test of groups, two-sided"
    assert any("30 rows of 10 conversations, contexts or texts" in sentence for sentence in said)
    one = write(tmp_path / "one.jsonl", [{**row, "metadata": {"conversation": "a"}} for row in rows])
    with pytest.raises(DataError, match="rows of one conversation, context or text"):
        measure(None, model, "classify", one, against=model, out=None, progress=NotCalled())


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.html"])
def test_a_report_is_not_written_over_its_rows(tmp_path: Path, folders: Path, name: str) -> None:
    data = write(tmp_path / name, intents(5, 30))
    before = data.read_text()
    with pytest.raises(ConfigError, match=f"would write over .*{name}'"):
        out = data if name.endswith("jsonl") else data.with_suffix(".json")
        measure(None, str(folders / "intents"), "classify", data, against=None, out=out, progress=NotCalled())
    assert data.read_text() == before


@pytest.mark.parametrize(
    ("model", "label", "told"),
    [("intents", ["pay"], "test.jsonl' line 1: `label` is a list, but"), ("several", "pay", "test.jsonl' line 1: `label` is a text, but")],
)
def test_labels_of_the_other_kind_are_refused(tmp_path: Path, folders: Path, model: str, label: Any, told: str) -> None:
    data = write(tmp_path / "test.jsonl", [{"text": "send money", "label": label}] * 3)
    with pytest.raises(DataError, match=told):
        measure(None, str(folders / model), "classify", data, against=None, out=None, progress=NotCalled())


def test_rows_that_were_learnt_and_labels_that_were_not_are_told(tmp_path: Path, folders: Path) -> None:
    learnt = [json.loads(line) for line in (folders / "intents.jsonl").read_text().splitlines()[:4]]
    new = [{"text": "where am I", "label": "Card"}]
    data, said = write(tmp_path / "test.jsonl", [*new, *learnt]), list[str]()
    report = measure(None, str(folders / "intents"), "classify", data, against=None, out=None, progress=lambda *_: None, say=said.append)
    assert report["in_training_file"] == 4
    assert any("4 of 5 rows of" in sentence and "(line 2 first)" in sentence for sentence in said)
    assert any("does not know ('Card' in line 1 first)" in sentence for sentence in said)


def test_a_training_file_that_has_changed_is_not_counted(tmp_path: Path, folders: Path) -> None:
    data = write(tmp_path / "test.jsonl", sentences(2, 5))
    with (folders / "poor.jsonl").open("a") as file:
        file.write("\n")
    report = measure(None, str(folders / "poor"), "tag", data, against=None, out=None, progress=lambda *_: None)
    assert report["in_training_file"] is None


@pytest.mark.parametrize(("drop", "seen"), [(False, 8), (True, None)])
def test_rows_that_were_learnt_are_told_of_the_training_file_alone(tmp_path: Path, folders: Path, drop: bool, seen: int | None) -> None:
    """The evaluation file is needed where it told which rows of the other were left out."""
    train, dev, out = write(tmp_path / "train.jsonl", intents(5, 24)), write(tmp_path / "dev.jsonl", intents(6, 8)), tmp_path / "out"
    given = {"method": "head", "threads": 1}
    adapt(given, "classify", train, dev, out, str(folders / "base"), lambda *_: None, lambda _: None, drop_duplicates=drop)
    data = write(tmp_path / "test.jsonl", intents(5, 24)[:8])
    dev.unlink()
    assert measure(None, str(out), "classify", data, against=None, out=None, progress=lambda *_: None)["in_training_file"] == seen


def test_rows_that_chose_the_weights_are_told(tmp_path: Path, folders: Path) -> None:
    chosen_by = [json.loads(line) for line in (folders / "intents-dev.jsonl").read_text().splitlines()[:3]]
    data, said = write(tmp_path / "test.jsonl", [{"text": "where am I", "label": "card"}, *chosen_by]), list[str]()
    report = measure(None, str(folders / "intents"), "classify", data, against=None, out=None, progress=lambda *_: None, say=said.append)
    assert report["in_evaluation_file"] == 3
    assert any("3 of 4 rows of" in sentence and "by which" in sentence and "(line 2 first)" in sentence for sentence in said)


def test_rewordings_are_scored_and_compared(tmp_path: Path) -> None:
    """One model gives the right words back, the other leaves out the last."""
    rng = random.Random(6)
    rows = [{"text": text, "target": text} for text in (" ".join(rng.choices(["river", "stone", "light", "garden"], k=6)) for _ in range(12))]
    data = write(tmp_path / "test.jsonl", rows)

    def whole(request: GenerationRequest) -> str:
        return request.messages[-1].content.rpartition("\n\n")[2]

    def cut(request: GenerationRequest) -> str:
        return whole(request).rpartition(" ")[0]

    with openai_server(ScriptedGenerator(whole)) as one, openai_server(ScriptedGenerator(cut)) as other:
        names = f"{one.url}#whole", f"{other.url}#cut"
        report = measure(None, names[0], "rewrite", data, against=names[1], out=tmp_path / "report.json", progress=lambda *_: None)
    assert report["metrics"] == pytest.approx({"rouge1": 1, "rouge2": 1, "rougeL": 1, "bleu": 1})
    assert report["metrics_against"]["rougeL"] == pytest.approx(10 / 11)
    assert report["effect"] == pytest.approx(1 / 11)
    assert report["p"] < 0.01
    assert set(report["intervals"]) == set(report["metrics"])
    assert (tmp_path / "report.html").is_file()


def test_a_folder_that_writes_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/writing.json").write_text('{"task": "summarize", "instruction": "Summarize."}')
    data = write(tmp_path / "test.jsonl", [{"text": "a", "target": "b"}] * 2)
    with pytest.raises(ConfigError, match="was tuned for the task 'summarize'"):
        measure(None, str(tmp_path / "model"), "rewrite", data, against=None, out=None, progress=NotCalled())


def test_scores_of_a_suite_that_are_alike_are_not_told_apart(tmp_path: Path) -> None:
    items = [{"id": str(i), "kind": "score", "messages": [{"role": "user", "content": "Say it."}], "reference": "one two"[: 4 + i]} for i in range(4)]
    data, said = write(tmp_path / "suite.jsonl", items), list[str]()
    with openai_server(ScriptedGenerator(lambda _: "one")) as server:
        name = f"{server.url}#one"
        report = measure(None, name, "suite", data, against=name, out=None, progress=lambda *_: None, say=said.append)
    assert 0 < report["metrics"]["score"] < 1
    assert (report["effect"], report["p"], report["test"]) == (0.0, 1.0, "paired bootstrap (BCa), two-sided")
    assert said[0].startswith("4 rows: where two models differ on 30%")


def test_decisions_of_one_dialogue_are_compared_together(tmp_path: Path) -> None:
    """Every dialogue has two messages to learn; one server answers all of them, the other calls a tool that is not wanted."""
    turns = [{"role": role, "content": f"word {i}"} for i, role in enumerate(["user", "assistant"] * 2)]
    tools = [{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}}]
    data = write(tmp_path / "chat.jsonl", [{"id": str(i), "messages": turns, "tools": tools} for i in range(6)])
    with openai_server(ScriptedGenerator(lambda _: "word")) as one, openai_server(ScriptedGenerator(lambda _: {"look": {}})) as other:
        names = f"{one.url}#one", f"{other.url}#other"
        report = measure(None, names[0], "tools", data, against=names[1], out=None, progress=lambda *_: None)
    assert (report["n"], report["effect"], report["in_training_file"]) == (12, 1.0, None)
    assert report["test"] == "exact sign-flip test of groups, two-sided"
    assert report["p"] == pytest.approx(2 * 2**-6)


def test_a_second_model_that_is_not_there_is_found_first(tmp_path: Path) -> None:
    items = [{"id": str(i), "kind": "score", "messages": [{"role": "user", "content": "Say it."}], "reference": "one"} for i in range(4)]
    with pytest.raises(ConfigError, match="absent"):
        measure(
            None,
            "http://127.0.0.1:9/v1#none",
            "suite",
            write(tmp_path / "suite.jsonl", items),
            against="absent",
            out=None,
            progress=NotCalled(),
        )


def test_the_command_says_beforehand_what_it_can_find_and_prints_json_alone(
    tmp_path: Path, folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "test.jsonl", [{"tokens": ["nobody", "is", "here"], "tags": ["O", "O", "O"]}] * 5)
    command = ["evaluate", "--task", "tag", "--data", str(data), "--model", str(folders / "good"), "--against", str(folders / "good")]
    assert run([*command, "--json"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (told["effect"], told["p"], told["by_class"]) == (0.0, 1.0, {})
    assert "5 rows: where two models differ on 30%" in printed.err
    assert run(command) == 0
    assert "approximate randomization, two-sided, p 1" in capsys.readouterr().out
