"""The page of a report: curves stand in it, and rows are sliced by all that they hold."""

import base64
from pathlib import Path

import pytest

from noria.data import AnswerExample, ClassifyExample
from noria.data.examples import Answers
from noria.evaluate.report import details, write_page
from noria.evaluate.scores import score


def test_how_often_a_model_is_right_stands_beside_how_sure_it_is(tmp_path: Path) -> None:
    rows = [ClassifyExample(text=f"text {n}", label="a" if n < 30 else "b") for n in range(40)]
    said = [{"label": "a", "score": 0.95 if n < 20 else 0.55} for n in range(40)]
    found = score("classify", rows, said)
    told = details(rows, said, found, None)
    assert told["reliability"] == [
        {"n": 20, "confidence": pytest.approx(0.55), "accuracy": 0.5},
        {"n": 20, "confidence": pytest.approx(0.95), "accuracy": 1.0},
    ]
    report = {"task": "classify", "model": "m", "data": "d", "n": 40, "metrics": {}, "intervals": {}, **told}
    picture = b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>'
    write_page(report, tmp_path / "r.html", {"m": picture})
    page = (tmp_path / "r.html").read_text()
    assert "20 rows: 0.550 sure, 0.500 right" in page
    assert base64.b64encode(picture).decode() in page
    assert "<script" not in page


def test_what_has_no_probabilities_has_no_curve() -> None:
    rows = [ClassifyExample(text="a", label=("x", "y")), ClassifyExample(text="b", label=("x",))]
    said = [{"labels": ["x"], "scores": [0.7]}] * 2
    assert details(rows, said, score("classify", rows, said), None)["reliability"] == []


def test_questions_are_sliced_by_the_length_of_the_whole_context() -> None:
    lengths = (300, 3000, 30_000) * 3
    rows = [AnswerExample(question="Who?", context="Ada " + "x" * n, answers=Answers(text=("Ada",), answer_start=(0,))) for n in lengths]
    said = [{"answer": "Ada" if n == 300 else "", "start": 0, "score": 0.5} for n in lengths]
    told = details(rows, said, score("answer", rows, said), None)
    slices = {row["name"]: (row["n"], row["mean"]) for row in told["slices"] if row["slice"] == "length"}
    assert slices == {"shortest third": (3, 1.0), "middle third": (3, 0.0), "longest third": (3, 0.0)}
    assert all(len(row["text"]) <= 600 for row in told["examples"])
