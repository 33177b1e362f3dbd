"""Tasks of lm-evaluation-harness through `noria evaluate`: own tasks without a network, paired with another model, wrong requests told."""

import json
from pathlib import Path
from typing import Any

import pytest

from noria.cli.main import run
from noria.model import Shape, load_checkpoint, make_config, new_model, plain_checkpoint, resolve, train_tokenizer

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'noria[harness]'")

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo", "Greece": "Athens", "Russia": "Moscow"}
TASK = """\
task: capitals
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "The capital of {{country}} is"
doc_to_choice: "{{choices}}"
doc_to_target: "{{right}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    cities = list(CAPITALS.values())
    rows = [
        {"country": country, "choices": [city, cities[(i + 2) % len(cities)], cities[(i + 4) % len(cities)]], "right": 0}
        for i, (country, city) in enumerate(CAPITALS.items())
    ]
    (folder / "capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "capitals.yaml").write_text(TASK.replace("DATA", str(folder / "capitals.jsonl")), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def untaught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder that was never trained."""
    folder = tmp_path_factory.mktemp("untaught")
    words = train_tokenizer("bpe", [f"The capital of {country} is {city}." for country, city in CAPITALS.items()] * 3, 300, "clm", at_most=True)
    ids = {"bos": words.bos_id, "eos": words.eos_id, "pad": words.pad_id}
    config = make_config(
        "llama", Shape(width=32, num_layers=1, num_heads=2, context=64), words.vocab_size, {n: i for n, i in ids.items() if i is not None}
    )
    new_model(config, 0).save_pretrained(folder)
    words.save(folder)
    return folder


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    code = run(["evaluate", *arguments, "--json"])
    told = capsys.readouterr()
    return code, json.loads(told.out) if code == 0 else {}, told.err


def test_own_tasks_run_and_two_models_are_compared_in_pairs(tmp_path: Path, tasks: Path, untaught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.json"
    asked = ("--task", "lm-eval:capitals", "--data", str(tasks), "--model", "smollm2-135m", "--against", str(untaught), "--out", str(out))
    code, report, errors = evaluated(capsys, *asked)
    assert code == 0, errors
    assert report["n"] == len(CAPITALS)
    assert report["main"] == "capitals/acc"
    assert report["metrics"]["capitals/acc"] == likeliest_share(tasks)
    assert report["test"].startswith("exact McNemar")
    assert report["effect"] == pytest.approx(report["metrics"]["capitals/acc"] - report["metrics_against"]["capitals/acc"])
    assert (report["limit"], report["num_shots"], report["higher_is_better"]) == (None, {"capitals": 0}, {"capitals": {"acc": True}})
    assert json.loads(out.read_text(encoding="utf-8")) == report


def likeliest_share(tasks: Path) -> float:
    """The share of rows whose right choice has the largest summed log-probability, computed without the harness."""
    import torch
    from transformers import AutoTokenizer

    folder = plain_checkpoint(resolve("smollm2-135m"))
    model, words = load_checkpoint(folder), AutoTokenizer.from_pretrained(str(folder))
    right = 0
    for row in map(json.loads, (tasks / "capitals.jsonl").read_text(encoding="utf-8").splitlines()):
        sums = []
        for choice in row["choices"]:
            context = words(f"The capital of {row['country']} is", add_special_tokens=False).input_ids
            ids = context + words(f" {choice}", add_special_tokens=False).input_ids
            with torch.inference_mode():
                logprobs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            sums.append(sum(float(logprobs[place - 1, ids[place]]) for place in range(len(context), len(ids))))
        right += max(range(3), key=sums.__getitem__) == row["right"]
    return right / len(CAPITALS)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("{{country}}", "{{contry}}"), "The harness could not run capitals: UndefinedError"),
        (("output_type:", "\toutput_type:"), "no task 'capitals', and no file in"),
        (("metric: acc,", "metric: bleu,"), "capitals"),
    ],
)
def test_a_broken_task_of_ones_own_is_told(
    tmp_path: Path, tasks: Path, untaught: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, str], says: str
) -> None:
    (tmp_path / "capitals.yaml").write_text((tasks / "capitals.yaml").read_text(encoding="utf-8").replace(*wrong), encoding="utf-8")
    code, _, errors = evaluated(capsys, "--task", "lm-eval:capitals", "--data", str(tmp_path), "--model", str(untaught))
    assert code == 2
    assert says in " ".join(errors.split())


def test_the_first_documents_alone(tasks: Path, untaught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report, errors = evaluated(capsys, "--task", "lm-eval:capitals", "--data", str(tasks), "--model", str(untaught), "--limit", "3")
    assert (code, report.get("n")) == (0, 3), errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "lm-eval:capitols", "--model", "smollm2-135m"], "names it. Did you mean capitals"),
        (["--task", "lm-eval:capitals", "--model", "http://localhost:1/v1"], "does not tell. Name a model folder"),
        (["--task", "lm-eval:capitals", "--model", "live"], "'live' does not tell"),
        (["--task", "lm-eval:capitals", "--model", "no-such"], "No model 'no-such'"),
        (["--task", "lm-eval:capitals", "--model", "smollm2-135m", "--sheet", "s.csv"], "have right answers"),
        (["--task", "classify", "--limit", "3"], "`--limit` is for tasks of lm-eval"),
    ],
)
def test_wrong_requests_are_told(tasks: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    code, _, errors = evaluated(capsys, *arguments, "--data", str(tasks))
    assert code == 2
    assert says in " ".join(errors.split())


def test_data_is_asked_for_where_it_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = evaluated(capsys, "--task", "classify", "--model", "x")
    assert code == 2
    assert "`--data` is missing" in errors
