"""Comparing two systems on the same rows: of the metric that is printed, by a test that the kind of the metric chooses."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.data import AnswerExample, ClassifyExample, Example, TagExample
from noria.data.examples import Answers
from noria.evaluate import counted
from noria.evaluate.counted import Counted
from noria.evaluate.paired import compare, paired_bootstrap
from noria.evaluate.scores import Scores, score


def alone(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def compared(before: Scores, after: Scores, groups: Sequence[str] | None = None) -> dict[str, float]:
    return compare(before.compared, after.compared, groups or alone(len(before.values)), after.main)


@pytest.mark.parametrize("values", [(0.5, 1, 0.2, 1), (1, 0, 1, 1)])
def test_systems_that_answer_alike_are_not_told_apart(values: tuple[float, ...]) -> None:
    one = Counted.mean("f1", values)
    found = compare(one, one, alone(4), "f1")
    assert (found["effect"], found["interval"], found["p"]) == (0.0, (0.0, 0.0), 1.0)
    counts = Counted.of("ratio", [(1, 2, 2), (0, 1, 3), (2, 2, 2)], {"f1": counted.f1})
    assert compare(counts, counts, alone(3), "f1")["p"] == 1.0


def test_four_rows_cannot_tell_more_than_four_signs_can() -> None:
    better = paired_bootstrap([0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6])
    assert better.p_two_sided == pytest.approx(2 * 2**-4)


def test_few_scores_keep_the_level() -> None:
    rng = np.random.default_rng(9)
    found = [paired_bootstrap(np.zeros(10), rng.normal(0, 1, 10), num_resamples=999, seed=i).p_two_sided for i in range(2_000)]
    assert np.mean(np.array(found) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 2_000) ** 0.5


SCORES = st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]), min_size=12, max_size=12)


@settings(max_examples=30, deadline=None)
@given(SCORES, SCORES)
def test_a_p_value_is_never_zero_and_does_not_depend_on_the_order(before: list[float], after: list[float]) -> None:
    x, y = Counted.mean("f1", before), Counted.mean("f1", after)
    one, other = compare(x, y, alone(12), "f1"), compare(y, x, alone(12), "f1")
    assert 0 < one["p"] <= 1
    assert one["p"] == pytest.approx(other["p"], abs=0.02)
    assert one["effect"] == pytest.approx(-other["effect"])


def taggers() -> tuple[Scores, Scores]:
    """Ten rows, one of them with ten entities: the first tagger finds them all and invents three elsewhere, the second misses half."""
    rows: list[Example] = [TagExample(tokens=("a",) * 10, tags=("B-X",) * 10)] + [TagExample(tokens=("a",), tags=("O",))] * 9
    first = [{"tags": ["B-X"] * 10}, *[{"tags": ["B-X"]}] * 3, *[{"tags": ["O"]}] * 6]
    second = [{"tags": ["B-X"] * 5 + ["O"] * 5}, *[{"tags": ["O"]}] * 9]
    return score("tag", rows, first), score("tag", rows, second)


def several() -> tuple[Scores, Scores]:
    rows = [ClassifyExample(text="t", label=("a", "b", "c")), *[ClassifyExample(text="t", label=())] * 3]
    first = [{"labels": ["a", "b", "c"]}, *[{"labels": ["a"]}] * 3]
    return score("classify", rows, first), score("classify", rows, [{"labels": ["a"]}, *[{"labels": []}] * 3])


def labels() -> tuple[Scores, Scores]:
    rows = [ClassifyExample(text="t", label=label) for label in "aabbab"]
    return score("classify", rows, [{"label": one} for one in "aabbbb"]), score("classify", rows, [{"label": one} for one in "bbbbbb"])


def answers() -> tuple[Scores, Scores]:
    rows = [AnswerExample(question="Who?", context="Anna Lee Smith", answers=Answers(text=("Anna Lee",), answer_start=(0,)))] * 4
    first = [{"answer": text} for text in ("Anna", "Anna Lee", "Smith", "Anna Lee Smith")]
    return score("answer", rows, first), score("answer", rows, [{"answer": text} for text in ("Anna Lee", "Lee", "Anna", "")])


@pytest.mark.parametrize("make", [taggers, several, labels, answers])
@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "grouped"])
def test_the_effect_is_the_difference_of_the_metric(make: object, grouped: bool) -> None:
    before, after = make()  # type: ignore[operator]
    n = len(before.values)
    found = compared(before, after, [str(i // 2) for i in range(n)] if grouped else None)
    assert found["effect"] == pytest.approx(after.metrics[after.main] - before.metrics[before.main])


def test_rows_without_entities_do_not_turn_a_comparison_around() -> None:
    before, after = taggers()
    assert before.metrics["f1"] == pytest.approx(20 / 23)
    assert after.metrics["f1"] == pytest.approx(2 / 3)
    assert compared(before, after)["effect"] < 0
    assert compared(before, after)["p"] > 0.1


def test_the_test_goes_by_the_metric_and_not_by_the_values_found() -> None:
    rows: list[Example] = [TagExample(tokens=("a",), tags=("B-X",))] * 6
    whole = score("tag", rows, [{"tags": ["B-X"]}] * 6), score("tag", rows, [{"tags": ["O"]}] * 6)
    assert compared(*whole)["test"] == "approximate randomization, two-sided"
    assert compared(*labels())["test"] == "exact McNemar, two-sided"
    assert compared(*answers())["test"] == "paired bootstrap (BCa), two-sided"


@pytest.mark.parametrize("kind", ["pass", "score", "ratio"])
def test_rows_of_one_conversation_do_not_count_as_independent(kind: str) -> None:
    """Six conversations of ten rows that turn out alike: counted by row they are sure of what six draws cannot tell."""
    gains = np.repeat([1, 1, 1, 1, 1, 0], 10)
    groups = [str(i // 10) for i in range(60)]
    made = {
        "pass": lambda right: Counted.passed("m", list(right > 0)),
        "score": lambda right: Counted.mean("m", right * 0.5),
        "ratio": lambda right: Counted.of("ratio", np.column_stack([right, right, np.ones(60)]), {"m": counted.f1}),
    }[kind]
    before, after = made(1 - gains), made(gains)
    by_row, by_group = compare(before, after, alone(60), "m"), compare(before, after, groups, "m")
    assert by_row["effect"] == pytest.approx(by_group["effect"])
    assert by_row["p"] < 0.01 < by_group["p"]
    assert by_group["interval"][0] < by_row["interval"][0]
    assert "groups" in by_group["test"]


def test_swaps_are_counted_as_an_enumeration_counts_them() -> None:
    rng = random.Random(6)
    x = np.array([(rng.randrange(3), 3, 2 + rng.randrange(2)) for _ in range(8)], dtype=float)
    y = np.array([(rng.randrange(3), 3, row[2]) for row in x], dtype=float)
    found = compare(Counted.of("ratio", x, {"f1": counted.f1}), Counted.of("ratio", y, {"f1": counted.f1}), alone(8), "f1")
    gaps = []
    for mask in range(256):
        change = np.array([mask >> i & 1 for i in range(8)])[:, None]
        gaps.append(float(counted.f1((y + change * (x - y)).sum(0)) - counted.f1((x + change * (y - x)).sum(0))))
    assert found["p"] == pytest.approx(np.mean(np.abs(gaps) >= abs(found["effect"]) - 1e-12), abs=0.015)
