"""What the harness tells of documents, as columns that can be compared."""

import pytest

from noria.errors import DataError
from noria.lifecycle.harness import columns_of


def test_values_stand_by_task_metric_and_filter() -> None:
    rows = [
        {"doc_id": 0, "filter": "none", "metrics": ["acc", "perplexity"], "acc": True, "perplexity": (-3.0, 4)},
        {"doc_id": 1, "filter": "none", "metrics": ["acc", "perplexity"], "acc": 0, "perplexity": (-1.0, 2)},
    ]
    strict = [{"doc_id": 0, "filter": "strict", "metrics": ["exact_match"], "exact_match": 1.0}]
    assert columns_of({"a": rows, "b": strict}) == {"a/acc": {"0": 1.0, "1": 0.0}, "b/exact_match (strict)": {"0": 1.0}}


def test_a_task_without_such_values_is_told() -> None:
    rows = [{"doc_id": 0, "filter": "none", "metrics": ["perplexity"], "perplexity": (-3.0, 4)}]
    with pytest.raises(DataError, match="wiki: no metric has a value for each document"):
        columns_of({"wiki": rows})
