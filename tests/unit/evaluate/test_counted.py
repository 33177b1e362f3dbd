"""Metrics from sums of counts are those of the libraries, of the whole file and of rows drawn anew."""

import json
import random
import time

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn

from noria.data import ClassifyExample, Example, ScoreExample, TagExample, TextPairExample
from noria.evaluate import counted
from noria.evaluate.counted import Counted
from noria.evaluate.intervals import intervals
from noria.evaluate.scores import Scores, score

LABELS = ("pay", "card", "limit", "other")


def classified(rng: random.Random, n: int) -> Scores:
    rows = [ClassifyExample(text="t", label=rng.choice(LABELS)) for _ in range(n)]
    said = [{"label": row.label if rng.random() < 0.8 else rng.choice(LABELS), "score": rng.random()} for row in rows]
    return score("classify", rows, said)


def several(rng: random.Random, n: int) -> Scores:
    rows = [ClassifyExample(text="t", label=tuple(rng.sample(LABELS, rng.randrange(3)))) for _ in range(n)]
    return score("classify", rows, [{"labels": rng.sample(LABELS, rng.randrange(3)), "scores": []} for _ in rows])


def tagged(rng: random.Random, n: int) -> Scores:
    tags = ("O", "B-PER", "B-LOC")
    rows: list[Example] = [TagExample(tokens=("a",) * 5, tags=tuple(rng.choices(tags, k=5))) for _ in range(n)]
    return score("tag", rows, [{"tags": rng.choices(tags, k=5)} for _ in rows])


def written(rng: random.Random, n: int) -> Scores:
    def text() -> str:
        return " ".join(rng.choices(["river", "stone", "light"], k=8))

    return score("rewrite", [TextPairExample(text="t", target=text()) for _ in range(n)], [{"target": text()} for _ in range(n)])


def scored(rng: random.Random, n: int) -> Scores:
    rows = [ScoreExample(text="t", score=rng.choice([1.0, 2.5, 4.0])) for _ in range(n)]
    return score("score", rows, [{"score": (row.score or 0.0) + rng.gauss(0, 1)} for row in rows])


@pytest.mark.parametrize("make", [classified, several, tagged, written, scored])
def test_sums_give_the_metrics_and_every_metric_has_an_interval_around_it(make: object) -> None:
    found = make(random.Random(1), 60)  # type: ignore[operator]
    of_sums = {name: one.value(name) for one in found.made for name in one.metrics}
    assert of_sums == pytest.approx(dict(found.metrics))
    around = intervals(found.made, [str(i) for i in range(60)])
    assert set(around) == set(found.metrics)
    for name, (low, high) in around.items():
        if name != "calibration_error":  # of fewer different rows it is larger
            assert low < found.metrics[name] < high, name


def test_a_share_of_rows_that_are_all_right_is_not_taken_for_certain() -> None:
    one = Counted.passed("accuracy", [True] * 20)
    wilson = stats.binomtest(20, 20).proportion_ci(method="wilson")
    assert intervals([one], [str(i) for i in range(20)])["accuracy"] == pytest.approx((wilson.low, wilson.high))
    low, high = intervals([one], [str(i // 4) for i in range(20)])["accuracy"]
    assert (low, high) == pytest.approx(tuple(stats.binomtest(5, 5).proportion_ci(method="wilson")))


def test_a_metric_that_some_draws_lack_has_the_quantiles_of_the_rest() -> None:
    asked = [True, True, *[False] * 40]
    low, high = intervals([Counted.passed("recall", [True, False, *[True] * 40], asked)], [*map(str, range(41)), "40"])["recall"]
    assert (low, high) == (0.0, 1.0)


def test_the_macro_f1_of_a_draw_is_of_the_labels_of_the_file() -> None:
    """A hundred labels of one row each, all right: a draw lacks a third of them, and is as right as the file."""
    rows = [ClassifyExample(text="t", label=str(i)) for i in range(100)]
    found = score("classify", rows, [{"label": row.label} for row in rows])
    assert intervals(found.made, [str(i) for i in range(100)])["macro_f1"] == (1.0, 1.0)


def test_draws_of_cells_are_draws_of_rows() -> None:
    rng = np.random.default_rng(2)
    right = rng.integers(0, 3, 80)
    said = np.where(rng.random(80) < 0.7, right, rng.integers(0, 3, 80))
    rows = [ClassifyExample(text="t", label=str(label)) for label in right]
    found = score("classify", rows, [{"label": str(label)} for label in said])
    picks = rng.integers(0, 80, size=(1_000, 80))
    theirs = np.quantile([sklearn.f1_score(right[pick], said[pick], average="macro") for pick in picks], [0.025, 0.975])
    assert intervals(found.made, [str(i) for i in range(80)])["macro_f1"] == pytest.approx(tuple(theirs), abs=0.015)


def test_rows_that_repeat_each_other_make_an_interval_wider() -> None:
    rng = random.Random(3)
    counts = [(rng.randrange(3), 3, 3) for _ in range(30) for _ in range(1)]
    table = [row for row in counts for _ in range(5)]
    one = Counted.of("ratio", table, {"f1": counted.f1})
    alone = intervals([one], [str(i) for i in range(150)])["f1"]
    together = intervals([one], [str(i // 5) for i in range(150)])["f1"]
    assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(5**0.5, rel=0.1)


def test_ten_thousand_draws_of_a_large_file_take_a_moment() -> None:
    rng = random.Random(4)
    labels = [str(i) for i in range(77)]
    rows = [ClassifyExample(text="t", label=rng.choice(labels)) for _ in range(3_080)]
    found = score("classify", rows, [{"label": row.label if rng.random() < 0.9 else rng.choice(labels)} for row in rows])
    started = time.process_time()
    intervals(found.made, [str(i) for i in range(len(rows))])
    assert time.process_time() - started < 10


def test_rows_without_entities_have_figures_that_json_can_hold() -> None:
    rows = [TagExample(tokens=("a", "b"), tags=("O", "O"))] * 3
    found = score("tag", rows, [{"tags": ["O", "O"]}] * 3)
    json.dumps({"metrics": dict(found.metrics), "by_class": found.by_class}, allow_nan=False)
    assert intervals(found.made, ["a", "b", "c"])["f1"] == (0.0, 0.0)
