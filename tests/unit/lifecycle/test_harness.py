"""What the harness tells of documents, as columns that can be compared."""

from typing import Any

import pytest

from noria.errors import DataError
from noria.evaluate.paired import holm
from noria.lifecycle.harness import columns_of, shared_columns, told_of


def rows(of: str, *documents: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"doc_id": number, "filter": of, "metrics": list(values), **values} for number, values in enumerate(documents)]


def test_values_stand_by_task_metric_and_filter() -> None:
    samples = {"a": rows("none", {"acc": True}, {"acc": 0}), "b": rows("strict", {"exact_match": 1.0}, {"exact_match": 0.0})}
    results = {"a": {"acc,none": 0.5}, "b": {"exact_match,strict": 0.5}}
    assert columns_of(samples, results) == ({"a/acc": {"0": 1.0, "1": 0.0}, "b/exact_match (strict)": {"0": 1.0, "1": 0.0}}, [])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([-2.0, -3.0], 12.18),  # perplexity: the harness raises e to the mean
        ([(-3.0, 4), (-1.0, 2)], 1.95),
        ([None, 1.0], 1.0),
        ([float("nan"), 1.0], float("nan")),
        ([0.5, 0.5], None),
    ],
)
def test_what_is_no_mean_over_documents_is_named_and_left_out(values: list[Any], told: Any) -> None:
    samples = {"a": rows("none", *({"acc": 1, "other": value} for value in values))}
    assert columns_of(samples, {"a": {"acc,none": 1.0, "other,none": told}}) == ({"a/acc": {"0": 1.0, "1": 1.0}}, ["a/other"])
    with pytest.raises(DataError, match="a: no metric is a mean"):
        columns_of({"a": rows("none", *({"other": value} for value in values))}, {"a": {"other,none": told}})


def test_a_metric_that_some_documents_have_is_their_mean() -> None:
    samples = {"a": rows("none", {"acc": 1}, {"acc": 0, "f1": 0.5}, {"acc": 1, "f1": 1.0})}
    columns, left_out = columns_of(samples, {"a": {"acc,none": 2 / 3, "f1,none": 0.75}})
    assert (columns["a/f1"], left_out) == ({"1": 0.5, "2": 1.0}, [])


def test_what_one_model_has_no_mean_of_is_compared_by_neither() -> None:
    both = {"a/acc": {"0": 1.0, "1": 0.0}}
    assert shared_columns([both | {"a/nll": {"0": 2.0, "1": 3.0}}, both]) == [both, both]
    with pytest.raises(DataError, match="no metric in common"):
        shared_columns([{"a/nll": {"0": 2.0, "1": 3.0}}, both])


def test_a_single_document_is_left_out() -> None:
    samples = {"a": rows("none", {"acc": 1}, {"acc": 0, "f1": 0.5})}
    assert columns_of(samples, {"a": {"acc,none": 0.5, "f1,none": 0.5}}) == ({"a/acc": {"0": 1.0, "1": 0.0}}, ["a/f1"])
    with pytest.raises(DataError, match="two documents or more"):
        columns_of({"a": rows("none", {"acc": 1})}, {"a": {"acc,none": 1.0}})


def test_a_share_under_the_name_of_a_verdict_stays_a_share() -> None:
    later, earlier = {"mc/acc": {"0": 0.45, "1": 0.4, "2": 1.0}}, {"mc/acc": {"0": 0.0, "1": 1.0, "2": 0.0}}
    for told in (told_of([later]), told_of([later, earlier])):
        assert told["metrics"]["mc/acc"] == pytest.approx(1.85 / 3)
    told = told_of([earlier, later])  # both sides are counted in one way
    assert told["test"].startswith("paired bootstrap")
    assert told["effect"] == pytest.approx(told["metrics"]["mc/acc"] - told["metrics_against"]["mc/acc"])


def test_several_metrics_are_corrected_for_their_number_and_none_speaks_for_all() -> None:
    names = [str(number) for number in range(12)]
    later = {"a/acc": dict.fromkeys(names, 1.0), "b/acc": {name: float(int(name) % 2) for name in names}}
    earlier = {"a/acc": dict.fromkeys(names, 0.0), "b/acc": {name: float(int(name) % 3 == 0) for name in names}}
    told = told_of([later, earlier])
    found = told["comparisons"].values()
    assert [one["p_holm"] for one in found] == holm([one["p"] for one in found])
    assert told["comparisons"]["a/acc"]["p_holm"] == 2 * told["comparisons"]["a/acc"]["p"] < 0.001
    assert not {"p", "effect", "interval", "test"} & told.keys()


def test_models_with_other_documents_are_not_compared() -> None:
    with pytest.raises(DataError, match="no metric in common"):
        shared_columns([{"a/acc": {"0": 1.0, "1": 0.0}}, {"a/acc": {"0": 1.0, "2": 0.0}}])
